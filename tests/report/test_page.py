"""The page and the schema of docs/reference are what the code says."""

from __future__ import annotations

import json
from pathlib import Path

from suture.report.document import DOCUMENTS
from suture.report.meaning import KINDS, MEANING
from suture.report.page import page
from suture.report.reason import Reason
from suture.report.schema import schema

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"


def test_the_page_is_up_to_date() -> None:
    assert (FOLDER / "report.md").read_text() == page(), "run: python -m suture.report.page >docs/reference/report.md"


def test_the_schema_is_up_to_date() -> None:
    assert json.loads((FOLDER / "report.schema.json").read_text()) == schema(), (
        "run: suture schema >docs/reference/report.schema.json"
    )


def test_every_identifier_has_a_meaning() -> None:
    assert set(KINDS) == {r for r in Reason if "." not in r}
    assert set(MEANING) == {r for r in Reason if "." in r}


def test_every_kind_of_document_is_on_the_page() -> None:
    text = page()
    assert all(f'"kind": "{d.kind}"' in text for d in DOCUMENTS)
