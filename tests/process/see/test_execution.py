"""Whether a program was executed."""

from __future__ import annotations

import subprocess

from suture.process.see.execution import Executions
from tests.process.see.test_crash import tracing

__all__ = ["tracing"]


def test_an_execution_is_told() -> None:
    executions = Executions()
    try:
        subprocess.run(["/bin/true"], check=True)
        assert executions.have_come()
    finally:
        executions.close()
