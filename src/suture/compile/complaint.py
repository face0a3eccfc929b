"""What a compiler says of a unit that it rejects, without the lines of files that are none of the build's business.

A fix may include whatever file it likes, and compilers quote the lines that they do not understand. Shown are those of
the tree, of the toolchain's headers and of the folders that the unit's command names; of other files it is said where
they were rejected.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Collection, Iterator

TOOLCHAIN = ("/usr", "/opt", "/lib", "/nix/store")
"""Where compilers and the headers of packages lie (hier(7))."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*[mK]")
# gcc, "Diagnostic Message Formatting Options", and clang; gas(1) leaves the column out
_PLACE = re.compile(r"([^\s:][^:]*):(\d+):")
_OWN = re.compile(r".*/cc\w{6}\.s")  # what gcc hands to the assembler
_LEAD = re.compile(
    r"In file included from |\s+from \S+?:\d+|[^\s|][^|]*: (?:In |At |Assembler messages)|\S+: (?:fatal )?error: "
)


def told(output: str, directory: str, places: Collection[str]) -> str:
    """`output` without what it quotes of files outside of `places` (absolute folders) and the toolchain's. `directory`
    is where the compiler ran."""
    return "\n".join(_kept(output.splitlines(), directory, (*places, *TOOLCHAIN)))


def _kept(lines: list[str], directory: str, places: Collection[str]) -> Iterator[str]:
    hidden = ""
    for line in lines:
        plain = _COLOUR.sub("", line)
        if found := _PLACE.match(plain):
            outside = _is_outside(found[1], directory, places)
            if outside and found[1] != hidden:
                yield f"{found[1]}:{found[2]}: error: it lies outside the tree, and its lines are not shown"
            hidden = found[1] if outside else ""
        elif _LEAD.match(plain):
            hidden = ""
        if not hidden:
            yield line


def _is_outside(name: str, directory: str, places: Collection[str]) -> bool:
    if name.startswith(("<", "{")) or _OWN.fullmatch(name):
        return False
    path = os.path.normpath(os.path.join(directory, name))
    return not any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)
