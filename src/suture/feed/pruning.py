"""What is served and not needed any more. A host that began to read before a publication may still ask for files of the
state before, so they stay for two days. Roots stay for good, as hosts go from one to the next, and so do statements and
patches, which are small or may be wanted for a comparison."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

from tuf.api.metadata import Targets

from suture.feed.repository import Published, hashed
from suture.patch import statement
from suture.report.feed import Product

_KEPT = timedelta(days=2)
_VERSIONED = re.compile(r"([0-9]+)\.(.+)\.json")


def prune(state: Published, now: datetime) -> tuple[Path, ...]:
    """Remove older versions of metadata and indexes, and say which."""
    gone = [p for p in (*_metadata(state), *_indexes(state)) if _is_old(p, now)]
    for path in gone:
        path.unlink(missing_ok=True)
    return tuple(gone)


def _metadata(state: Published) -> list[Path]:
    snapshot = state.snapshot.signed
    versions = {name.removesuffix(".json"): meta.version for name, meta in snapshot.meta.items()}
    versions["snapshot"] = snapshot.version
    found = []
    for path in state.metadata.glob("*.json"):
        match = _VERSIONED.fullmatch(path.name)
        if match and int(match[1]) < versions.get(match[2], 0):
            found.append(path)
    return found


def _indexes(state: Published) -> list[Path]:
    found = []
    for product in Product:
        role = state.role(product.value, state.top.signed)
        if role is not None:
            folder = state.targets / product.value
            found += [p for p in folder.glob("*.index") if p != state.targets / _index(role, product)]
    return found


def _index(role: Targets, product: Product) -> str:
    path = statement.index_path(product)
    return hashed(path, role.targets[path].hashes["sha256"])


def _is_old(path: Path, now: datetime) -> bool:
    return path.stat().st_mtime < (now - _KEPT).timestamp()
