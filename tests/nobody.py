"""Suture as a user without rights runs it: from a copy that everybody may read, because a checkout may lie in a folder
of root's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import suture

NOBODY = 65534
_PYTHON = "/usr/bin/python3"
_NEEDED = ("debian", "charset_normalizer", "typing_extensions.py")  # what suture.source and suture.compile import
FEED = ("tuf", "securesystemslib", "cryptography", "cffi", "_cffi_backend*", "pycparser", "urllib3")
"""What suture.feed imports."""


def run_as_nobody(
    program: str, folder: Path, env: Mapping[str, str] | None = None, needed: Sequence[str] = _NEEDED
) -> subprocess.CompletedProcess[str]:
    """Run a Python program as nobody with no other environment; `folder` gets the copy, and is opened to everybody."""
    copy = folder / "for-nobody"
    if not copy.exists():
        quiet = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(suture.__file__).parent, copy / "suture", ignore=quiet)
        for found in (p for name in needed for p in Path(sysconfig.get_path("purelib")).glob(name)):
            name = found.name
            if found.is_dir():
                shutil.copytree(found, copy / name, ignore=quiet)
            else:
                shutil.copy(found, copy / name)
    top = Path(tempfile.gettempdir())
    for path in (p for p in (folder, *folder.parents) if top in p.parents):
        path.chmod(path.stat().st_mode | 0o755)
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    own = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(copy), **(env or {})}
    return subprocess.run(
        [*drop, _PYTHON, "-B", "-c", program], env=own, cwd="/", capture_output=True, text=True, check=False
    )
