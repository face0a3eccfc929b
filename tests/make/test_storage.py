"""How post is compiled where a variable would lose its storage, and what becomes of it with a compiler that cannot be
told."""

from __future__ import annotations

from suture.compile.unit import Variant
from suture.delta.compare import difference
from suture.make.storage import stored
from tests.delta.compiled import unit
from tests.delta.test_storage import FOLDS, REMOVES, WRITES


def compiles(post: str, refused: frozenset[Variant] = frozenset()):  # type: ignore[no-untyped-def]
    def of(variant: Variant):  # type: ignore[no-untyped-def]
        flags = tuple(f for f in variant.value if f not in ("-ffunction-sections", "-fdata-sections"))
        return None if variant in refused else (unit(WRITES, *flags), unit(post, *flags))

    return of


def found(post: str):  # type: ignore[no-untyped-def]
    return difference(*compiles(post)(Variant.COMPARE))


def test_only_what_writes_the_variable_changes_and_post_keeps_it() -> None:
    way = stored(compiles(FOLDS), found(FOLDS))
    assert found(FOLDS).changed == {"get", "put"}
    assert (way.variant, way.difference.changed, way.problem) == (Variant.STORED, {"put"}, None)


def test_a_variable_that_the_fix_removes_changes_nothing() -> None:
    way = stored(compiles(REMOVES), found(REMOVES))
    assert (way.variant, way.difference, way.unstored) == (Variant.SECTIONS, found(REMOVES), frozenset())


def test_a_unit_that_cannot_be_compared_without_its_lines_is_compared_with_them() -> None:
    refused = frozenset({Variant.COMPARE, Variant.COMPARE_STORED})
    assert stored(compiles(FOLDS, refused), found(FOLDS), Variant.SECTIONS).difference.changed == {"put"}


def test_a_compiler_that_cannot_be_told_gets_no_patch_of_what_it_may_have_folded() -> None:
    refused = frozenset({Variant.STORED, Variant.COMPARE_STORED})
    problem = stored(compiles(FOLDS, refused), found(FOLDS)).problem
    assert problem is not None and "v, w" in problem.reason and "gcc 10" in problem.remedy
    assert stored(compiles(REMOVES, refused), found(REMOVES)).problem is None
