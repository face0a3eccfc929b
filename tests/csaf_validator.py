"""The package csaf as the judge of CSAF documents: the standard's schema and its tests (section 6)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WHOLE = ("[PASS] schema", "[PASS] 6.1.33")
"""What is in its words about a document that was looked at by the schema and to the last mandatory test."""


def validated(path: Path) -> str:
    """What it says of a document: a line for each test, with PASS, FAIL (mandatory), WARN, INFO or SKIP."""
    words = [sys.executable, "-m", "csaf", "validate", "--spec-version", "v20", "--preset", "full", "--no-network"]
    return subprocess.run([*words, str(path)], capture_output=True, text=True, check=False).stdout


def is_valid(said: str) -> bool:
    """Whether nothing mandatory fails."""
    return all(word in said for word in WHOLE) and "[FAIL]" not in said
