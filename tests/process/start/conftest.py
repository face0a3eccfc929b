"""A file, and a process that opens it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Opens = Callable[[Path], "subprocess.Popen[str]"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("content")
    return path


@pytest.fixture
def opens() -> Opens:
    """Starts what prints a file."""
    return lambda path: subprocess.Popen(["sh", "-c", f"exec cat '{path}'"], stdout=subprocess.PIPE, text=True)
