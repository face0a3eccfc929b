"""What the makefiles of CMake and the ninja files of CMake and meson say of links: outputs and what goes into each."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from suture.compile.call import Call

_SHARED = re.compile(r"\.so(\.[\d.]+)?$")
# ninja manual, "Build statements" and "Lexical syntax": $ and a newline go on, $ and another character is that
# character
_STATEMENT = re.compile(r"^build ((?:[^:\n$]|\$.)+): (\S*LINKER\S*)((?:[^\n$]|\$.)*)$", re.M | re.S)


@dataclass(frozen=True)
class Link:
    """Paths are relative to `directory`."""

    directory: str
    output: str
    inputs: tuple[str, ...]

    @property
    def is_shared(self) -> bool:
        return _SHARED.search(self.output) is not None


def links_in(build: Path) -> Iterator[Link]:
    """The links of a folder that was built in; none for another build system."""
    ninja = build / "build.ninja"
    if ninja.is_file():
        yield from _of_ninja(ninja.read_text(errors="surrogateescape"), str(build))
    for path in sorted(build.rglob("CMakeFiles/*.dir/link.txt")):
        yield from _of_make(path, path.parents[2])


def _of_ninja(text: str, directory: str) -> Iterator[Link]:
    for match in _STATEMENT.finditer(re.sub(r"\$\n\s*", "", text)):
        outputs, rest = _words(match[1]), _words(match[3].replace("||", "|"))
        if outputs:
            yield Link(directory, outputs[0], tuple(x for x in rest if x != "|"))


def _words(text: str) -> list[str]:
    found = re.findall(r"(?:[^\s$]|\$.)+", text, re.S)
    return [re.sub(r"\$(.)", r"\1", word, flags=re.S) for word in found]


def _of_make(path: Path, directory: Path) -> Iterator[Link]:
    for line in path.read_text(errors="surrogateescape").splitlines():
        words = shlex.split(line)
        if not words or words[0].endswith("ranlib"):
            continue
        call = Call.of(words[1:], _responses(words, directory))
        inputs = [x.path for x in call.inputs if "." in x.path]
        output = call.output or next(iter(inputs), None)
        if output is not None:
            yield Link(str(directory), output, tuple(x for x in inputs if x != output))


def _responses(words: list[str], directory: Path) -> Mapping[str, str]:
    named = [w[1:] for w in words if w.startswith("@")]
    return {
        n: Path(os.path.join(directory, n)).read_text() for n in named if Path(os.path.join(directory, n)).is_file()
    }
