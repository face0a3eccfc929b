"""The small program and its patch of tests/process."""

from tests.process.conftest import library, patch, program, start

__all__ = ["library", "patch", "program", "start"]
