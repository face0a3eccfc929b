from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from suture.patch import statement
from suture.patch.statement import BadStatement, Statement
from suture.report.feed import Offer, OfferState, Product
from suture.report.patch import PatchKind
from tests.feed.conftest import build_id
from tests.patch.document import changed, places

NOW = datetime(2026, 11, 1, tzinfo=UTC)
THEN = {"early": "2026-11-01T00:00:00Z", "stable": "2026-11-02T00:00:00Z"}


def offer(patch: str, *fixes: str, **more: Any) -> Offer:
    made = Offer(
        patch * 16, "zlib", PatchKind.PROCESS, Product.LIBRARIES, build_id(1), "libz.so.1", "zlib", "1.2-1",
        ("CVE-2099-1",), fixes, "safe", "passed", (), "a" * 64, 100, (), THEN, OfferState.OFFERED, "", "",
    )  # fmt: skip
    return replace(made, **more)


def said(*offers: Offer) -> Statement:
    found = Statement(Product.LIBRARIES, build_id(1), ())
    for one in offers:
        found = statement.add(found, one)
    return found


def ids(offers: tuple[Offer, ...]) -> str:
    return "".join(o.patch[0] for o in offers)


def test_what_is_written_is_read_back() -> None:
    one = said(offer("a", "x"), offer("b", "y", state=OfferState.HOLD, reason="why", since=THEN["early"]))
    assert statement.decode(statement.encode(one), one.product, one.build_id) == one


def test_a_field_of_a_newer_version_is_left_out() -> None:
    one = said(offer("a"))
    raw = json.loads(statement.encode(one))
    raw["new"] = raw["offers"][0]["new"] = 1
    assert statement.decode(json.dumps(raw).encode(), one.product, one.build_id) == one


@pytest.mark.parametrize("value", [None, 1, "", "../../x", [], {}, True, -1, 10**30], ids=str)
def test_a_statement_with_another_value_anywhere_is_read_or_refused(value: object) -> None:
    """Whatever is read names a file that a patch can be, for the binary that was asked for."""
    raw = json.loads(statement.encode(said(offer("a", "x"))))
    for place in places(raw):
        try:
            found = statement.decode(changed(raw, place, value), Product.LIBRARIES, build_id(1))
        except BadStatement:
            continue
        assert all(statement.patch_path(o) == f"patches/{'a' * 16}.suture.o" for o in found.offers)
        assert all(o.build_id == build_id(1) and 0 < o.bytes <= 64 << 20 for o in found.offers)


def test_a_statement_of_another_build_id_is_refused() -> None:
    with pytest.raises(BadStatement, match="it is for"):
        statement.decode(statement.encode(said(offer("a"))), Product.LIBRARIES, build_id(2))
    with pytest.raises(BadStatement):
        statement.decode(b"[" * 100_000, Product.LIBRARIES, build_id(1))


def test_a_statement_that_names_a_patch_twice_is_refused() -> None:
    twice = Statement(Product.LIBRARIES, build_id(1), (offer("a"), offer("a", state=OfferState.HOLD)))
    with pytest.raises(BadStatement, match="twice"):
        statement.decode(statement.encode(twice), Product.LIBRARIES, build_id(1))


def test_a_patch_with_all_fixes_of_another_takes_its_place() -> None:
    both = said(offer("a", "x"), offer("b", "x", "y"), offer("c", "z"))
    assert ids(statement.current(both, "early", NOW)) == "bc"


def test_a_withdrawn_patch_does_not_hold_its_place() -> None:
    both = said(offer("a", "x"), offer("b", "x", "y"))
    gone = statement.withdraw(both, "b" * 16, OfferState.REVERT, "fails", THEN["early"])
    assert ids(statement.current(gone, "early", NOW)) == "a"
    assert ids(statement.withdrawn([gone])) == "b"


def test_a_patch_that_a_channel_has_not_got_yet_does_not_take_the_place_of_one_that_it_has() -> None:
    both = said(offer("a", "x"), offer("b", "x", "y", channels={"stable": "2026-12-01T00:00:00Z"}))
    at = NOW + timedelta(days=2)
    assert ids(statement.current(both, "stable", at)) == "a" and ids(statement.waiting(both, "stable", at)) == "b"
    assert ids(statement.current(both, "stable", at + timedelta(days=60))) == "b"


def test_the_same_patch_said_anew_stands_once() -> None:
    assert [o.grade for o in said(offer("a", grade="review"), offer("a")).offers] == ["safe"]
