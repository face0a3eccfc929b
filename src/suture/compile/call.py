"""One call of a compiler, linker or archiver: what it reads, what it makes, and the command of each source that it
compiles."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from suture.compile.unit import LANGUAGES, WITH_VALUE, Language, value_of

_SPOKEN: Mapping[str, Language] = {
    "c": "c", "cpp-output": "c", "c++": "c++", "c++-cpp-output": "c++", "assembler": "asm", "assembler-with-cpp": "asm",
}  # fmt: skip
_MEMBERS = (".a", ".o", ".lo", ".obj", ".os")
_NESTED = 10


@dataclass(frozen=True)
class Input:
    """A file that is named, at its place among the arguments. `language` is None for what is not compiled."""

    at: int
    path: str
    language: Language | None


@dataclass(frozen=True)
class Call:
    """`arguments` without the program's name, response files put in."""

    arguments: tuple[str, ...]

    @classmethod
    def of(cls, arguments: Sequence[str], responses: Mapping[str, str]) -> Call:
        """`responses` are the contents of response files by the names that the call uses; one that is not there is no
        such file."""
        return cls(tuple(_expanded(arguments, responses, _NESTED)))

    @property
    def output(self) -> str | None:
        return value_of("-o", self.arguments)

    @property
    def compiles_only(self) -> bool:
        return "-c" in self.arguments

    @property
    def is_shared(self) -> bool:
        """Whether a link makes a library that others load, not one whose objects become theirs."""
        return not {"-shared", "-Wl,-shared", "-Wl,-Bshareable"}.isdisjoint(self.arguments)

    @property
    def soname(self) -> str:
        """The name that a link gives its library, "" for none (ld(1), -soname)."""
        words = [x for w in self.arguments for x in (w.split(",")[1:] if w.startswith("-Wl,") else [w])]
        for at, word in enumerate(words):
            name, sign, value = word.partition("=")
            if name in {"-soname", "--soname", "-h"} and (sign or at + 1 < len(words)):
                return value if sign else next((w for w in words[at + 1 :] if w != "-Xlinker"), "")
        return ""

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """All files that are named, a `-` for standard input among them (gcc(1), -x)."""
        found: list[Input] = []
        spoken: str | None = None
        option = ""
        for at, word in enumerate(self.arguments):
            if option:
                spoken = word if option == "-x" else spoken
                option = ""
            elif word in WITH_VALUE:
                option = word
            elif word.startswith("-x") and len(word) > 2:
                spoken = word[2:]
            elif word == "-" or not word.startswith("-"):
                if spoken in {None, "none"}:
                    found.append(Input(at, word, LANGUAGES.get(posixpath.splitext(word)[1])))
                else:
                    found.append(Input(at, word, _SPOKEN.get(spoken or "")))
            elif word.startswith("-Wl,"):
                found += [Input(at, x, None) for x in word.split(",")[1:] if x.endswith(_MEMBERS)]
        return tuple(found)

    @property
    def sources(self) -> tuple[Input, ...]:
        return tuple(x for x in self.inputs if x.language is not None)

    def command_of(self, source: Input) -> tuple[str, ...]:
        """The arguments that compile one of the sources alone."""
        others = {x.at for x in self.inputs if not self.arguments[x.at].startswith("-Wl,")} - {source.at}
        return tuple(word for at, word in enumerate(self.arguments) if at not in others)

    def object_of(self, source: Input) -> str:
        """The object that a source becomes; that of a call which links at once has no name of its own and gets one
        here."""
        stem = posixpath.splitext(posixpath.basename(source.path))[0]
        if not self.compiles_only:
            output = self.output or "a.out"
            return posixpath.join(posixpath.dirname(output), f"{posixpath.basename(output)}-{stem}.o")
        return self.output or f"{stem}.o"

    @property
    def libraries(self) -> tuple[tuple[str, ...], ...]:
        """For each `-l` the files that it may mean, in the order in which the linker looks through the folders of `-L`
        (ld(1))."""
        folders = tuple(_values("-L", self.arguments))
        kinds = ("lib{}.a",) if "-static" in self.arguments else ("lib{}.so", "lib{}.a")
        return tuple(
            tuple(
                posixpath.join(folder, name[1:] if name.startswith(":") else kind.format(name))
                for folder in folders
                for kind in kinds
            )
            for name in _values("-l", self.arguments)
        )


def _values(option: str, arguments: Sequence[str]) -> Iterator[str]:
    take = False
    for word in arguments:
        if take:
            take = False
            yield word
        elif word == option:
            take = True
        elif word.startswith(option):
            yield word[len(option) :]


def _expanded(arguments: Sequence[str], responses: Mapping[str, str], depth: int) -> Iterator[str]:
    for word in arguments:
        text = responses.get(word[1:]) if word.startswith("@") and depth else None
        if text is None:
            yield word
        else:
            yield from _expanded(words_of(text), responses, depth - 1)


def words_of(text: str) -> list[str]:
    """The arguments in a response file: any character after a backslash stands for itself, also within quotes
    (libiberty, buildargv)."""
    found: list[str] = []
    for match in re.finditer(r"""(?:[^\s\\'"]|\\.|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")+""", text, re.S):
        pieces = re.findall(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|((?:[^\s\\'"]|\\.)+)""", match[0], re.S)
        found.append("".join(re.sub(r"\\(.)", r"\1", a or b or c, flags=re.S) for a, b, c in pieces))
    return found
