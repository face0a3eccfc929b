"""The crash guard: a mark on disk, beside the file of a kernel patch, that names the boot in which it is loaded.

It is written before the patch is loaded. It goes when the machine has run well for some minutes after that, or is shut
down in good order. A mark of an earlier boot tells that the machine died while it was loading the patch or soon after.
"""

from __future__ import annotations

from pathlib import Path

from suture import whole_file

SETTLED_MINUTES = 5
DIED = f"the machine died while loading it or within {SETTLED_MINUTES} minutes after"
SUFFIX = ".loading"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def begin(patch: Path) -> None:
    """Mark a patch that is about to be loaded; on disk when this returns. Raises OSError."""
    patch.parent.mkdir(parents=True, exist_ok=True)
    whole_file.replace_durably(_of(patch), _this_boot().encode(), 0o666)


def died(patch: Path) -> bool:
    """Whether a patch has the mark of an earlier boot."""
    mark = _of(patch)
    return mark.exists() and mark.read_text() != _this_boot()


def is_loading(patch: Path) -> bool:
    """Whether a patch has this boot's mark."""
    mark = _of(patch)
    return mark.exists() and mark.read_text() == _this_boot()


def drop(patch: Path) -> None:
    """The mark goes, whichever boot it names. Raises OSError."""
    if _of(patch).exists():
        _of(patch).unlink()
        whole_file.settle(patch.parent)


def _of(patch: Path) -> Path:
    return patch.with_suffix(SUFFIX)


def _this_boot() -> str:
    return _BOOT_ID.read_text().strip()
