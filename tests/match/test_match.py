"""What a match tells of a name: where it runs, and where code and data lead under it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from suture.error import ExitCode
from suture.match.book import Book
from suture.match.linker_edit import Kind
from suture.match.match import Match, MatchedFunction, NoMatch
from suture.match.proof import MatchedUnit
from suture.number import Vaddr


def match(*rows: tuple[Kind, str, int]) -> Match:
    book = Book("u.c")
    for kind, name, value in rows:
        book.add(kind, name, value, "a place")
    return Match(MatchedUnit("u.c", "u.o", True, (), ()), book)


def binary(plt: dict[int, int]) -> Any:
    return SimpleNamespace(plt=plt)


def test_a_function_lies_where_it_was_found_whatever_else_is_noted() -> None:
    one = match((Kind.ADDRESS, "f", 0x2000), (Kind.ADDRESS, "v", 0x3000), (Kind.CALL, "g", 0x4000))
    one.functions["f"] = MatchedFunction("f", Vaddr(0x1000), 16)
    assert (one.address_of("f"), one.address_of("v"), one.address_of("g")) == (0x1000, 0x3000, None)


def test_a_call_tells_more_than_an_address_and_a_plt_entry_tells_nothing() -> None:
    one = match((Kind.CALL, "f", 0x1000), (Kind.ADDRESS, "f", 0x2000), (Kind.ADDRESS, "v", 0x3000))
    assert (one.leads_to("f", binary({})), one.leads_to("v", binary({}))) == (0x1000, 0x3000)
    assert one.leads_to("f", binary({0x1000: 0x9000})) is None
    assert one.leads_to("v", binary({0x3000: 0x9000})) is None
    assert one.leads_to("other", binary({})) is None


def test_no_match_names_unit_binary_and_reason_and_what_to_check() -> None:
    problem = NoMatch("u.c", "libu.so", "found nowhere")
    assert problem.what == "u.c: not found in libu.so: found nowhere" and "compiler" in problem.remedy
    assert problem.exit_code is ExitCode.NO_MATCH
