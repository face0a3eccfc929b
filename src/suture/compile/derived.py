"""The recipe of a package that has none: what its own debian/rules does, recorded in one of two ways.

With stand-ins for the compilers, which takes seconds and does not get through a build that needs more than its own
generators to go on; or built once for real. Only dh tells its steps before it takes them, so it configures for real and
is recorded then (`STAND_IN`, `BUILD`). Any other debian/rules is run as a whole (`RULES_STAND_IN`, `RULES`), and the
stand-ins tell a configuration's tests from the build. Which link becomes which shipped file is found afterwards
(`suture.make.pairing`), so such a recipe names no binary.
"""

from __future__ import annotations

import re
from enum import Enum

from suture.compile.recipe import Recipe, parse_derived
from suture.source.archive import SourceVersion


class Way(Enum):
    """How the commands of a build become known; the text is kept with the tree, so that a change makes trees anew."""

    STAND_IN = (
        "# generators are made for real when they run, and CMake calls compilers by name\n"
        '[build]\nconfigure = "dh_configure"\nrecord = "dh_build"\n'
    )
    BUILD = '# as above\n[build]\nconfigure = "dh_configure"\nrecord = "dh_build"\nreal = true\n'
    RULES_STAND_IN = '# tests of a configuration are made for real\n[build]\nconfigure = ":"\nrecord = "call_rules"\n'
    RULES = '[build]\nconfigure = ":"\nreal = true\nrecord = "call_rules"\n'

    @property
    def is_stand_in(self) -> bool:
        """Whether nothing is compiled for real, so that what follows may bring more."""
        return self in (Way.STAND_IN, Way.RULES_STAND_IN)


def ways(source: SourceVersion, real: bool = False) -> tuple[Way, ...]:
    """The ways to try in turn, without stand-ins where `real`."""
    rules = source.tree / "debian" / "rules"
    text = rules.read_text(errors="surrogateescape") if rules.is_file() else ""
    uses_dh = re.search(r"^\t[@+-]*\s*(?:(?:\w+=\S*|\$\(\w+\))\s+)*dh\s+.*\$", text, re.M) is not None
    found = (Way.STAND_IN, Way.BUILD) if uses_dh else (Way.RULES_STAND_IN, Way.RULES)
    return found[1:] if real else found


def recipe(source: SourceVersion, way: Way) -> Recipe:
    """The recipe for one way."""
    return parse_derived(way.value, source.name)
