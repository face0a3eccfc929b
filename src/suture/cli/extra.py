"""Packages from elsewhere that only some verbs need, as extras of the installation; and the error when one is
missing."""

from __future__ import annotations

import sys
from pathlib import Path

from suture import __version__
from suture.error import ExitCode, SutureError

EXTRA_OF = {
    "capstone": "make",
    "debian": "make",
    "merge3": "els",
    "patiencediff": "els",
    "tree_sitter": "make",
    "tree_sitter_c": "make",
    "tree_sitter_cpp": "make",
    "tuf": "feed",
    "securesystemslib": "feed",
    "cryptography": "feed",
    "fastapi": "fleet",
    "sqlalchemy": "fleet",
    "alembic": "fleet",
    "uvicorn": "fleet",
    "jinja2": "fleet",
    "argon2": "fleet",
    "starlette": "fleet",
    "weasyprint": "fleet",
}
"""The extra in pyproject.toml that brings a module, for the modules that ours import at their top."""


DEBIAN_PACKAGE = Path("/usr/lib/suture/packages")
"""Where the Debian package for hosts has its Python packages, and nobody adds any."""


def is_debian_package() -> bool:
    """Whether this is the Debian package's Suture."""
    return Path(__file__).is_relative_to(DEBIAN_PACKAGE)


class MissingExtra(SutureError):
    """This installation can't do what was asked for: it is one for hosts that only apply patches."""

    exit_code = ExitCode.NOT_FOUND

    def __init__(self, module: str, extra: str) -> None:
        add = f"add it: {sys.executable} -m pip install 'suture[{extra}]=={__version__}'"
        super().__init__(
            f"this installation of Suture lacks the Python package of {module}, which the extra {extra!r} brings",
            "do this on another machine, with the wheel (docs/how-to/install.md)" if is_debian_package() else add,
        )


def missing(error: ModuleNotFoundError) -> MissingExtra | None:
    """The error that a person can act on, for a module that an extra brings; None for any other."""
    module = (error.name or "").partition(".")[0]
    return MissingExtra(module, EXTRA_OF[module]) if module in EXTRA_OF else None
