"""Progress of long work, as libraries report it: one short line per step that begins.

Libraries take `progress: Progress = silent` and call it as `progress("compiling crypto/cms/cms_pwri.c")`: present
participle, lower case, no full stop. `suture.cli.output` decides whether and how a person sees it.
"""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]


def silent(step: str) -> None:
    """Report nothing; the default wherever a `Progress` is taken."""
