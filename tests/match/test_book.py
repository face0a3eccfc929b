from __future__ import annotations

from collections.abc import Callable

import pytest

from suture.match.book import Book, Contradiction
from suture.match.linker_edit import Kind


def test_places_that_agree_are_kept_together() -> None:
    book = Book("u.c")
    book.add(Kind.ADDRESS, "f", 0x1000, "one")
    book.add(Kind.ADDRESS, "f", 0x1000, "two")
    book.add(Kind.CALL, "f", 0x2000, "three")
    assert (book.get(Kind.ADDRESS, "f"), book.get(Kind.CALL, "f"), book.get(Kind.SLOT, "f")) == (0x1000, 0x2000, None)
    assert book.places(Kind.ADDRESS, "f") == ("one", "two")
    assert book.places(Kind.SLOT, "f") == ()
    book.check()
    assert list(book.items()) == [(Kind.ADDRESS, "f", 0x1000, ("one", "two")), (Kind.CALL, "f", 0x2000, ("three",))]


def test_places_that_disagree_are_an_error_and_never_a_vote() -> None:
    book = Book("u.c")
    book.add(Kind.CALL, "g", 1, "fine")
    for place, value in (("one", 0x2000), ("two", 0x1000), ("three", 0x2000)):
        book.add(Kind.ADDRESS, "f", value, place)
    looks: tuple[Callable[[], object], ...] = (lambda: book.get(Kind.ADDRESS, "f"), book.check)
    for look in looks:
        with pytest.raises(Contradiction) as caught:
            look()
        assert caught.value.what == "u.c: contradicting values for address of f: 0x1000 by two; 0x2000 by one"
    assert book.get(Kind.CALL, "g") == 1
    assert book.places(Kind.ADDRESS, "f") == ("one", "three", "two")


def test_what_is_not_known_agrees_with_anything() -> None:
    book = Book("u.c")
    book.add(Kind.ADDRESS, "f", 0x1000, "one")
    assert book.agrees(iter([(Kind.ADDRESS, "f", 0x1000), (Kind.ADDRESS, "g", 7), (Kind.CALL, "f", 8)]))
    assert not book.agrees(iter([(Kind.ADDRESS, "g", 7), (Kind.ADDRESS, "f", 0x1001)]))
    assert book.agrees(iter([]))


def test_what_is_an_address_of_the_file_is_told_as_one() -> None:
    book = Book("u.c")
    book.add(Kind.ADDRESS, "f", 0, "one")
    book.add(Kind.SLOT, "f", 0x3000, "two")
    assert (book.address(Kind.ADDRESS, "f"), book.address(Kind.SLOT, "f")) == (0, 0x3000)
    assert book.address(Kind.CALL, "f") is None and book.address(Kind.ADDRESS, "g") is None
