from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from suture.feed import settings
from suture.feed.settings import BadSettings
from suture.report.feed import Product
from suture.report.patch import PatchKind

PATH = Path("feed.toml")
DEFAULT = settings.parse(tomllib.loads(settings.default()), PATH)


@pytest.mark.parametrize(
    ("kind", "source", "binary", "product"),
    [
        (PatchKind.KERNEL, "linux", "", Product.KERNEL),
        (PatchKind.PROCESS, "postgresql-15", "postgres", Product.DATABASES),
        (PatchKind.PROCESS, "mariadb", "mariadbd", Product.DATABASES),
        (PatchKind.PROCESS, "qemu", "qemu-system-x86_64", Product.VIRTUALISATION),
        (PatchKind.PROCESS, "zlib", "libz.so.1.2.13", Product.LIBRARIES),
        (PatchKind.PROCESS, "nginx", "nginx", Product.OTHER),
        (PatchKind.PROCESS, "own", "libso", Product.OTHER),
    ],
)
def test_which_product_a_patch_belongs_to(kind: PatchKind, source: str, binary: str, product: Product) -> None:
    assert DEFAULT.product(kind, source, binary) is product


def test_when_each_channel_gets_a_patch() -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    first, second, third = "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", "2026-11-08T00:00:00Z"
    assert DEFAULT.due(start) == {"early": first, "stable": second, "delayed": third}
    assert DEFAULT.due(start, "stable") == {"early": first, "stable": first, "delayed": "2026-11-07T00:00:00Z"}


@pytest.mark.parametrize(
    "change",
    [
        ("root = 365", "root = 0"), ("root = 365", "root = '1'"), ("root = 365", ""),
        ("early = 0", "Early = 0"),
        ("early = 0", "early = -1"), ("[channels]", "[chanels]"),
        ('databases = ["', 'database = ["'), ("[days]", "[days"),
        ('databases = ["', 'databases = [1, "'),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_told(tmp_path: Path, change: tuple[str, str]) -> None:
    path = tmp_path / "feed.toml"
    path.write_text(settings.default())
    settings.load(path)
    assert change[0] in settings.default()
    path.write_text(settings.default().replace(*change))
    with pytest.raises(BadSettings, match=r"feed\.toml"):
        settings.load(path)
