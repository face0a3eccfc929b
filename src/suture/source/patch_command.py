"""patch(1) on files of a source. A hunk that does not fit leaves no .rej or .orig file behind."""

from __future__ import annotations

from pathlib import Path

from suture.command import run

_OPTIONS = ("--strip=1", "--force", "--no-backup-if-mismatch", "--reject-file=-", "--quiet")


def apply_patch(tree: Path, text: str, *, fuzz: int = 0, reverse: bool = False, dry_run: bool = False) -> None:
    """Change the files of a tree as a unified diff says, with `fuzz` lines of context left aside. Raises
    `CommandFailed` where a hunk does not apply; others may have by then, unless it is a dry run."""
    more = [name for name, given in (("--reverse", reverse), ("--dry-run", dry_run)) if given]
    run(["patch", *_OPTIONS, f"--fuzz={fuzz}", *more], cwd=tree, stdin=text.encode(errors="surrogateescape"))
