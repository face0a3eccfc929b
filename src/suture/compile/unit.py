"""Translation units and the binaries that their objects go into, as facts of a built or recorded tree."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

Language = Literal["c", "c++", "asm"]
LANGUAGES: Mapping[str, Language] = {
    ".c": "c", ".i": "c",
    ".cc": "c++", ".cpp": "c++", ".cxx": "c++", ".C": "c++", ".c++": "c++", ".ii": "c++",
    ".S": "asm", ".s": "asm", ".sx": "asm",
}  # fmt: skip

WITH_VALUE = frozenset(
    {"-o", "-MF", "-MT", "-MQ", "-I", "-D", "-U", "-x", "-include", "-isystem", "-idirafter", "-iquote", "-imacros"}
    | {
        "-Xlinker",
        "-Xassembler",
        "-Xpreprocessor",
        "-T",
        "-L",
        "-l",
        "-u",
        "-z",
        "-e",
        "-h",
        "--param",
        "-aux-info",
        "-A",
    }
)
_DROPPED = frozenset({"-MD", "-MMD", "-MP", "-MG", "-M", "-MM", "-c", "-fdebug-types-section"})
# every option that begins with -g is about debug information (gcc, clang: "Options for Debugging Your Program")
_DROPPED_BEGINNINGS = ("-MF", "-MT", "-MQ", "-Wp,-MD", "-Wp,-MMD", "-g", "-save-temps")
_DROPPED_WITH_VALUE = frozenset({"-o", "-MF", "-MT", "-MQ"})

_ABSOLUTE = re.compile(r"(?!-[DU])(?:-I|-isystem|-iquote|-idirafter|-include|-imacros|-B|@|[\w-]+=)?(/.+)", re.S)


class Variant(Enum):
    """Flags that are added to the archive's own.

    A unit that makes names out of `__LINE__` (glibc's localeinfo.h does) is rejected by the compiler as COMPARE.
    """

    PLAIN = ("-g0",)  # the archive's code, without the debug information that no match looks at
    # to cut functions out, and strings, which at -O0 are otherwise one section that does not tell where one ends
    # with a description of its types, which a comparison needs whatever the build has
    SECTIONS = ("-ffunction-sections", "-fdata-sections", "-fmerge-constants", "-g2", "-gz=none")
    COMPARE = (*SECTIONS, "-g0", "-D__LINE__=7", "-w")  # line numbers do not count as a change
    # every variable that some code uses has its place, be it never written or never read (gcc(1))
    STORED = (*SECTIONS, "-fno-ipa-reference-addressable")
    COMPARE_STORED = (*COMPARE, "-fno-ipa-reference-addressable")
    # code that knows of other functions no more than their prototypes: what they change and return, and what they are
    # given (gcc(1)); gcc before 11 has no modref
    APART_OLD = (
        *SECTIONS, "-fno-ipa-pure-const", "-fno-ipa-vrp", "-fno-ipa-bit-cp", "-fno-ipa-cp", "-fno-ipa-reference",
        "-fno-ipa-reference-addressable",
    )  # fmt: skip
    APART = (*APART_OLD, "-fno-ipa-modref")

    def flags_for(self, unit: Unit) -> tuple[str, ...]:
        """The flags for one unit. Compilers describe a C++ class only where its key function is, unless they are told
        to; that changes no code."""
        own: tuple[str, ...] = self.value
        if self not in (Variant.SECTIONS, Variant.STORED) or unit.language != "c++":
            return own
        return (*own, "-fstandalone-debug" if "clang" in unit.argv[0] else "-femit-class-debug-always")


@dataclass(frozen=True)
class Unit:
    """One translation unit as the build compiles it.

    `source` and `object` are relative to the tree's root, `directory` is where the compiler runs (absolute, in the
    room), `argv` the compiler's recorded arguments, the compiler's name first.
    """

    source: str
    object: str
    directory: str
    argv: tuple[str, ...]
    language: Language

    @property
    def command(self) -> tuple[str, ...]:
        """`argv` without `-c`, the output and dependency options, and those for debug information, which change no
        code: what the flags of a `Variant` and `-c -o`, `-E` or `-M` are added to."""
        kept: list[str] = []
        value_of = ""
        for argument in self.argv[1:]:
            if value_of:
                if value_of not in _DROPPED_WITH_VALUE:
                    kept.append(argument)
                value_of = ""
            elif argument in WITH_VALUE:
                value_of = argument
                if argument not in _DROPPED_WITH_VALUE:
                    kept.append(argument)
            elif argument.startswith("-Wa,"):
                words = [w for w in argument.split(",") if not w.startswith("--compress-debug-sections")]
                kept += [",".join(words)] if len(words) > 1 else []
            elif argument not in _DROPPED and not argument.startswith(_DROPPED_BEGINNINGS):
                kept.append(argument)
        return (*self.argv[:1], *kept)

    @property
    def named(self) -> tuple[str, ...]:
        """Absolute paths that the command names: folders of headers, files."""
        found = (m for w in self.argv[1:] if (m := _ABSOLUTE.fullmatch(w)))
        return tuple(dict.fromkeys(os.path.normpath(m[1]) for m in found))


@dataclass(frozen=True)
class Binary:
    """A shipped file of a package, and the objects (paths relative to the tree's root) that it is linked from."""

    package: str
    file: str
    objects: frozenset[str]


def value_of(option: str, arguments: Iterable[str]) -> str | None:
    """The value of `-o x` or `-ox` (the last one counts)."""
    value = None
    take = False
    for argument in arguments:
        if take:
            value, take = argument, False
        elif argument == option:
            take = True
        elif argument.startswith(option) and len(option) == 2:
            value = argument[2:]
    return value
