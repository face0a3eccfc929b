"""Compiler arguments as facts."""

from __future__ import annotations

from suture.compile.unit import Unit, value_of

ARGV = (
    "gcc",
    "-DX=1",
    "-I",
    "inc",
    "-MMD",
    "-MF",
    "x.d",
    "-MT",
    "x.o",
    "-Wp,-MD,y.d",
    "-O2",
    "-c",
    "-o",
    "x.o",
    "../x.c",
)


def test_a_command_keeps_all_that_decides_the_code_and_drops_outputs() -> None:
    unit = Unit("x.c", "x.o", "/b", ARGV, "c")
    assert unit.command == ("gcc", "-DX=1", "-I", "inc", "-O2", "../x.c")


def test_sources_and_outputs_are_told_from_values_of_options() -> None:
    assert value_of("-o", ["-ofirst", "-o", "last"]) == "last"
    assert value_of("-o", ["-O2"]) is None
