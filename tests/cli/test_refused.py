"""Refusals of a making, as a person sees them."""

from __future__ import annotations

import pytest

from suture.cli.make import print_refused
from suture.patch.manifest import RefusedFunction


def test_one_reason_is_printed_once_with_all_that_it_holds_for(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [RefusedFunction("f", "a.c", 7, "rare", "do this")]
    rows += [RefusedFunction("", f"{n}.sh", 0, "frequent", "do that") for n in range(3)]
    print_refused(rows)
    assert capsys.readouterr().out.splitlines() == [
        "refused (4):",
        "  frequent (3)",
        *(f"    {n}.sh" for n in range(3)),
        "    remedy: do that",
        "  rare",
        "    a.c:7: f",
        "    remedy: do this",
    ]
