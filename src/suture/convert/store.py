"""Conversions on disk: one folder for each update, with its patches and what came of it. The facts come last, so that a
folder with them is whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from suture import whole_file
from suture.convert.result import Closing, Conversion, CveResult, FixResult, PatchResult
from suture.patch.manifest import plain
from suture.source import cache
from suture.source.update import Update

FACTS = "conversion.json"
FORMAT = 1


def folder_of(update: Update, output: Path) -> Path:
    """Where an update's patches and facts lie."""
    return output / update.source / f"{cache.safe(update.old)}-to-{cache.safe(update.new)}" / update.flavour


def is_done(update: Update, output: Path) -> bool:
    """Whether an update was converted before."""
    return (folder_of(update, output) / FACTS).is_file()


def as_json(conversion: Conversion) -> dict[str, Any]:
    """A conversion as plain JSON values, with the number of their format."""
    return {"format": FORMAT, **plain(asdict(conversion))}


def keep(conversion: Conversion, folder: Path) -> Path:
    """Write the facts of a conversion, whole or not at all; the path of the file."""
    whole_file.replace(folder / FACTS, f"{json.dumps(as_json(conversion), indent=1)}\n".encode())
    return folder / FACTS


def load(update: Update, output: Path) -> Conversion:
    """What came of an update that was converted before. Raises OSError where it was not."""
    return read(folder_of(update, output))


def read(folder: Path) -> Conversion:
    """What came of the update whose facts lie in a folder. Raises OSError where none do."""
    raw = json.loads((folder / FACTS).read_text())
    raw.pop("format")
    return Conversion(
        **{
            **raw,
            "fixes": tuple(FixResult.read(f) for f in raw["fixes"]),
            "cves": tuple(CveResult(**{**c, "closing": Closing(c["closing"])}) for c in raw["cves"]),
            "patches": tuple(PatchResult(**p) for p in raw["patches"]),
        }
    )
