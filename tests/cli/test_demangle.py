"""Names of C++ for people; c++filt is the judge, and its absence no error."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.cli.demangle import plain_names

NAMES = ["main", "_ZN3foo3barEi", "odd\udcff", "_ZN3foo3barEi", "_Znonsense"]


def test_names_keep_their_order_and_only_those_of_cxx_change() -> None:
    assert plain_names(NAMES) == ["main", "foo::bar(int)", "odd\udcff", "foo::bar(int)", "_Znonsense"]


def test_names_stay_where_there_is_no_such_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert plain_names(NAMES) == NAMES


def test_no_program_is_asked_for_names_of_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suture.cli.demangle.run", lambda *words, **more: pytest.fail("asked"))
    assert plain_names(["main", "f"]) == ["main", "f"]
