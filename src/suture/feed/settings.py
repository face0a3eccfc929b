"""How a feed is kept: how long its metadata holds, when each channel gets a patch, which source packages belong to
which product. `feed.toml` in the feed's folder, for the one who publishes; hosts never see it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any

from suture.error import ExitCode, SutureError
from suture.report.feed import Product
from suture.report.patch import PatchKind

FILE = "feed.toml"
LIVES = ("root", "targets", "products", "snapshot", "timestamp")
_CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,31}")
_MOST_DAYS, _MOST_HOURS = 3650, 24 * 365
_TEXT = """\
# How this feed is kept. `suture feed publish` reads it each time.

# Days until metadata expires. `suture feed publish` renews it when half of the time is over, so let it run by itself
# more often than that.
[days]
root = 365
targets = 90
products = 90
snapshot = 7
timestamp = 2

# Hours after its publication in which a patch reaches each channel.
[channels]
early = 0
stable = 24
delayed = 168

# Source packages of each product; shell patterns. What is in none of them is `libraries` when it is a shared library,
# else `other`. `suture feed add --product NAME` says it for one patch.
[products]
"""


class BadSettings(SutureError):
    """feed.toml does not say what it has to."""

    exit_code = ExitCode.USAGE

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}", "correct the file; docs/how-to/feed.md shows one")


@dataclass(frozen=True)
class Settings:
    """`lives` by role (`LIVES`), `channels` the delay of each, `products` patterns of source packages by product."""

    lives: Mapping[str, timedelta]
    channels: Mapping[str, timedelta]
    products: Mapping[Product, tuple[str, ...]]

    def due(self, start: datetime, at_once: str = "") -> dict[str, str]:
        """When each channel gets a patch that is published at `start`: after its delay; or the channel `at_once` and
        all that are quicker at once, and the others so much earlier."""
        first = self.channels.get(at_once, timedelta())
        return {name: stamp(start + max(wait - first, timedelta())) for name, wait in self.channels.items()}

    def product(self, kind: PatchKind, source: str, binary: str) -> Product:
        """Which product a patch belongs to."""
        if kind is PatchKind.KERNEL:
            return Product.KERNEL
        for product, patterns in self.products.items():
            if any(fnmatchcase(source, p) for p in patterns):
                return product
        return Product.LIBRARIES if re.search(r"\.so(\.|$)", binary) else Product.OTHER


def stamp(time: datetime) -> str:
    """A time as statements write it."""
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


def default() -> str:
    """The text of a new feed's settings."""
    return _TEXT + (resources.files("suture") / "recipes/feed/products.toml").read_text()


def load(path: Path) -> Settings:
    """Raises `BadSettings`."""
    try:
        raw = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise BadSettings(path, str(problem)) from problem
    return parse(raw, path)


def parse(raw: Mapping[str, Any], path: Path) -> Settings:
    """Raises `BadSettings`."""
    if raw.keys() != {"days", "channels", "products"}:
        raise BadSettings(path, "has not the tables days, channels and products, and those alone")
    days = _numbers(raw["days"], path, "days", 1, _MOST_DAYS)
    hours = _numbers(raw["channels"], path, "channels", 0, _MOST_HOURS)
    if days.keys() != set(LIVES):
        raise BadSettings(path, f"days: has not {', '.join(LIVES)}, and those alone")
    if not hours or not all(_CHANNEL.fullmatch(c) for c in hours):
        raise BadSettings(path, "channels: none, or one with a name that is not of small letters, digits and hyphens")
    return Settings(
        {name: timedelta(days=n) for name, n in days.items()},
        {name: timedelta(hours=n) for name, n in hours.items()},
        _patterns(raw["products"], path),
    )


def _numbers(table: Any, path: Path, name: str, least: int, most: int) -> dict[str, int]:
    if not isinstance(table, dict) or not all(type(n) is int and least <= n <= most for n in table.values()):
        raise BadSettings(path, f"{name}: a value is no whole number from {least} to {most}")
    return table


def _patterns(table: Any, path: Path) -> dict[Product, tuple[str, ...]]:
    named = {p.value: p for p in Product}
    rows = table.items() if isinstance(table, dict) else [("", None)]
    if not all(k in named and isinstance(v, list) and all(isinstance(t, str) for t in v) for k, v in rows):
        raise BadSettings(path, f"products: a list of patterns for some of {', '.join(named)} is what it may hold")
    return {named[k]: tuple(v) for k, v in table.items()}
