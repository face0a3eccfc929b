"""How passwords are kept; the tests beside this one use a quicker hash (conftest.py)."""

from __future__ import annotations

import subprocess
import sys

HASHED = "from suture.fleet import account; print(account._NOBODY)"


def test_passwords_are_hashed_as_rfc_9106_recommends_for_little_memory() -> None:
    shown = subprocess.run([sys.executable, "-c", HASHED], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
