"""Why a fix, or a part of it, can't become a livepatch: with the place in the source and what a person can do."""

from __future__ import annotations

from suture.error import Refused
from suture.patch.manifest import RefusedFunction


class NoChange(Refused):
    """Nothing of a fix is code that runs in this kernel, so there is nothing to do live and nothing is lost."""


class KernelRefused(Refused):
    """A fix as a whole. A kernel patch holds all of a fix or is not made, since its parts may need one another."""

    def __init__(self, name: str, refused: tuple[RefusedFunction, ...]) -> None:
        rows = [
            f"  {r.file}{f':{r.line}' if r.line else ''}{f': {r.function}' if r.function else ''}: {r.reason}\n"
            f"    remedy: {r.remedy}"
            for r in refused[:20]
        ]
        if len(refused) > 20:
            rows.append(f"  and {len(refused) - 20} more")
        super().__init__(
            "\n".join([f"{name}: no livepatch is made ({len(refused)} reasons):", *rows]),
            "follow the remedies; --only PATH makes a patch of a part that stands on its own",
        )
        self.refused = refused


class NoFunctionChanges(KernelRefused, NoChange):
    """Units change, and the code of no function that runs."""
