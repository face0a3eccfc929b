"""Names of C++ functions, as compilers mangle them."""

from __future__ import annotations

import pytest

from suture.els.linker_name import in_source, is_one_of


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("png_read_row", "png_read_row"),
        ("_ZN15decoder_context10decode_NALEP8NAL_unit", "decoder_context::decode_NAL"),
        ("_ZN12_GLOBAL__N_11fEi", "f"),
        ("_ZZN1A3runEvENKUliE_clEi", "A::run"),
        ("_ZN1AC2Ev", "A::A"),
        ("_ZN3foo3barIiE1gEv", "foo::bar::g"),
        ("_ZThn16_N1A1fEv", "A::f"),
        ("_ZNSt6vectorIiSaIiEE5clearEv", "std::vector::clear"),
    ],
)
def test_a_name_is_as_the_source_writes_it(symbol: str, name: str) -> None:
    assert in_source(["main", symbol, "last"]) == ("main", name, "last")


def test_a_function_is_known_with_its_class_and_not_by_the_name_of_another_class() -> None:
    assert is_one_of("ns::A::run", {"A::run"}) and is_one_of("run", {"run"})
    assert is_one_of("A::run", {"run"})  # a file that defines it within the class says no more
    assert not is_one_of("B::run", {"A::run"}) and not is_one_of("run", {"A::run"})
