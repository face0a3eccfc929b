from __future__ import annotations

from pathlib import Path

from suture.cli import exit_code
from suture.error import ExitCode

PAGE = Path(__file__).parents[2] / "docs/reference/exit-codes.md"


def test_every_code_has_a_meaning_and_no_two_share_one() -> None:
    assert set(exit_code.MEANING) == set(ExitCode)
    assert len(set(exit_code.MEANING.values())) == len(ExitCode)


def test_the_page_is_what_the_code_says() -> None:
    remedy = "run: python -m suture.cli.exit_code > docs/reference/exit-codes.md"
    assert PAGE.read_text() == exit_code.document(), remedy
