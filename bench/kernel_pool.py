"""All that differs between two versions of the kernel, and which of it a change needs besides what was drawn.

A change of one file rarely stands alone: its commit touched headers and other files too. What the compiler says leads
to them. For each name that it misses, or knows otherwise, the first of these that brings anything is taken in, after
the `#include` lines that a file of the change gains (headers are those that the rejected file may include):

1. hunks of headers that define the name, first those that take nothing away;
2. hunks of headers that take nothing away and have the name in a changed statement;
3. changes of C files that define a function of this name;
4. changes, with the name in a changed statement, of the very file that the compiler rejects;
5. all that has the name in a changed statement.

A header that only the newer version has is taken as it is there, where the compiler misses it.

At most `MOST_FOR_A_NAME` hunks for a name (but 4.), and `MOST` in all, so that it stays the change that was drawn.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kernel_change import single_changes

from suture.make_kernel import built, include
from suture.make_kernel.prepare import KernelTree
from suture.make_kernel.target import ArchiveKernel
from suture.source import cache
from suture.source.difference import tree_difference

MOST_FOR_A_NAME = 10
MOST = 200
HUNKS = re.compile(r"^(?=@@ )", re.MULTILINE)
_WORD = re.compile(r"\w+")
_QUOTED = re.compile("\u2018(?:struct |union |enum )?([A-Za-z_]\\w{3,})\u2019")
_CALLED = re.compile("\u2018[^\u2019]*(?:->|\\.)(\\w+)\u2019")
_ERROR = re.compile(r"^\S+:\d+:\d+: (?:fatal )?error: (.*)$")
_ABSENT = re.compile(r"^(\S+\.h): No such file or directory$")
_NEAR = re.compile("near initialization for \u2018\\w+(?:\\[\\d+\\])?\\.(\\w+)\u2019")

_KEYWORDS = frozenset(
    [
        "break",
        "case",
        "char",
        "const",
        "continue",
        "default",
        "double",
        "else",
        "enum",
        "extern",
        "false",
        "float",
        "goto",
        "inline",
        "long",
        "NULL",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "true",
        "typedef",
        "typeof",
        "union",
        "unsigned",
        "void",
        "volatile",
        "while",
    ]
)

Parts = dict[str, list[str]]
"""Hunks of a change by their file."""


@dataclass(frozen=True)
class Need:
    """A name that the compiler misses or knows otherwise, and the file that it rejects for it (none: the kernel has no
    such symbol)."""

    name: str
    file: str = ""


@dataclass(frozen=True)
class Pool:
    """For each file that differs the head of its difference, and its changes as lists of hunks. `newer` is the later
    version's tree."""

    heads: Mapping[str, str]
    changes: Mapping[str, Sequence[Sequence[str]]]
    newer: Path
    includes: include.Includes

    @classmethod
    def read(cls, target: ArchiveKernel, tree: KernelTree, newer: Path, changed: Sequence[str], to: str) -> Pool:
        """Remembered, since it compares each file."""
        kernel = built.read(tree)
        mine = [
            p
            for p in changed
            if kernel.kernel(p) or (p.endswith(".h") and not re.match(r"arch/(?!x86/)|tools/|scripts/", p))
        ]

        def make(path: Path) -> None:
            rows = {}
            for name in mine:
                whole = tree_difference(tree.files, newer, name, (name,)).files[0].text
                head, *hunks = HUNKS.split(whole)
                if name.endswith(".c"):
                    parts = single_changes(whole, read_text(tree.files / name), read_text(newer / name))
                    rows[name] = [head, [HUNKS.split(p)[1:] for p in parts]]
                else:
                    rows[name] = [head, [[h] for h in hunks]]
            path.write_text(json.dumps(rows))

        place = cache.root() / "bench" / cache.safe(f"kernel-pool-{target.version}-{to}.json")
        rows = json.loads(cache.item(place, make).read_text())
        return cls({n: r[0] for n, r in rows.items()}, {n: r[1] for n, r in rows.items()}, newer, include.read(tree))

    def with_more(self, parts: Parts, needs: Sequence[Need]) -> Parts | None:
        """The change with what it needs; None when the difference has nothing for it, or too much."""
        found: Parts = {p: list(hs) for p, hs in parts.items()}
        includes = [(p, h) for p in parts for hs in self.changes.get(p, ()) if all(map(_only_includes, hs)) for h in hs]
        if any(needs) and _take(found, includes):
            return found
        for need in needs:
            if need.name.endswith(".h"):
                _take(found, self._new_header(need))
                continue
            for rows, most in self._offers(need):
                if any(h in found.get(p, ()) and h not in parts.get(p, ()) for p, h in rows):
                    break  # another name has brought it
                if len(_fresh(found, rows)) <= most and _take(found, rows):
                    break
        return found if parts != found and sum(map(len, found.values())) <= MOST else None

    def _offers(self, need: Need) -> Iterator[tuple[list[tuple[str, str]], int]]:
        """What may bring a name, in the order of the module's list, and how many hunks of it may be taken."""
        naming = [p for p, words in self._words.items() if need.name in words]
        near = self.includes.included([need.file]) if need.file else naming
        headers = [p for p in naming if p.endswith(".h") and p in near]
        defined = _definition(need.name)
        begun = re.compile(rf"^\+[A-Za-z_][^;\n]*\b{need.name}\([^;\n]*$", re.MULTILINE)
        for places, wanted in (
            (headers, lambda h: defined.search(statements(h)) is not None and not _has(h, "-")),
            (headers, lambda h: defined.search(statements(h)) is not None),
            (headers, lambda h: _names(h, need.name) and not _has(h, "-")),
            (naming, lambda h: begun.search(h) is not None),
        ):
            yield [x for p in places for x in self._of(p, wanted)], MOST_FOR_A_NAME
        own = [need.file] if need.file in naming else []
        for places, most in ((own, MOST), (naming, MOST_FOR_A_NAME)):
            yield [x for p in places for x in self._of(p, lambda h: _names(h, need.name))], most

    @cached_property
    def _words(self) -> Mapping[str, set[str]]:
        """The words of each file's changed statements."""
        return {p: {w for hs in c for h in hs for w in _WORD.findall(statements(h))} for p, c in self.changes.items()}

    def _new_header(self, need: Need) -> list[tuple[str, str]]:
        """A header that only the newer version has, as one hunk."""
        for folder in ("include", str(Path(need.file).parent), "arch/x86/include"):
            path = posixpath.normpath(f"{folder}/{need.name}")
            if (self.newer / path).is_file() and path not in self.changes:
                lines = read_text(self.newer / path).split("\n")[:-1]
                return [(path, "\n".join([f"@@ -0,0 +1,{len(lines)} @@", *(f"+{x}" for x in lines), ""]))]
        return []

    def _of(self, path: str, wanted: Callable[[str], object]) -> list[tuple[str, str]]:
        """All hunks of a file's changes that have one which is wanted."""
        return [(path, h) for hunks in self.changes.get(path, ()) if any(map(wanted, hunks)) for h in hunks]

    def text(self, parts: Parts, head: str) -> str:
        """A patch file; `head` for the file that was drawn. What the pool lacks besides is new."""
        heads = {p: f"--- /dev/null\n+++ b/{p}\n" for p in parts if p.endswith(".h")} | dict(self.heads)
        return "".join(
            heads.get(p, head) + "".join(sorted(hs, key=lambda h: int(re.match(r"@@ -(\d+)", h)[1])))  # type: ignore[index]
            for p, hs in sorted(parts.items())
        )


def _fresh(found: Parts, rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(p, h) for p, h in rows if h not in found.get(p, ())]


def _take(found: Parts, rows: Sequence[tuple[str, str]]) -> bool:
    """Add hunks; whether any of them was new."""
    fresh = _fresh(found, rows)
    for path, hunk in fresh:
        found.setdefault(path, []).append(hunk)
    return bool(fresh)


def needs(logs: Mapping[str, str]) -> list[Need]:
    """What the compiler misses in each file that it rejects."""
    return [Need(name, source) for source, log in logs.items() for name in _missed(log)]


def _missed(log: str) -> list[str]:
    """Names that an output of gcc complains of, the first first; what it proposes in place of one is none."""
    found: dict[str, None] = {}
    lines = log.split("\n")
    for number, line in enumerate(lines):
        error = _ERROR.match(line)
        if error is None:
            near = _NEAR.search(line)
            found |= {near[1]: None} if near is not None else {}
            continue
        said = error[1].partition("; did you mean")[0]
        absent = _ABSENT.match(said)
        if absent is not None:
            found |= {absent[1]: None}
            continue
        member = re.search("has no member named \u2018(\\w+)\u2019", said)
        names = [member[1]] if member is not None else _QUOTED.findall(said) or _CALLED.findall(said)
        if not names:  # of types alone: what is written there
            names = [
                w for x in lines[number + 1 : number + 2] for w in re.findall(r"[A-Za-z_]\w{3,}", x.partition("|")[2])
            ]
        found |= dict.fromkeys(n for n in names if n not in _KEYWORDS)
    return list(found)


def _definition(name: str) -> re.Pattern[str]:
    """A line that defines a type, a macro, an enumerator, an inline function, or declares a function, variable or
    member."""
    return re.compile(
        rf"^[+ ](?:(?:typedef )?(?:struct|union|enum) {name} \{{|#\s*define\s+{name}\b|\s*{name}\s*(?:=[^=\n]*)?,"
        rf"|[A-Za-z_][^=;\n]*\b{name}\(|extern [^;\n]*\b{name}\b|typedef [^\n]*\b{name}\b"
        rf"|\s[^(\n]*\(\*{name}\)\(|\s[^(;\n]*\b{name}(?:\[[^\]\n]*\])*(?:\s*:\s*\d+)?;)",
        re.MULTILINE,
    )


def _changed_lines(hunk: str) -> list[str]:
    return [x for x in hunk.split("\n")[1:] if x[:1] in ("+", "-")]


def _has(hunk: str, sign: str) -> bool:
    return any(x.startswith(sign) for x in _changed_lines(hunk))


def statements(hunk: str) -> str:
    """The lines of a hunk, each with its sign, of statements and declarations that have a changed line."""
    found: list[str] = []
    own: list[str] = []
    for line in [*hunk.split("\n")[1:], ""]:
        own.append(line)
        if line[1:].rstrip().endswith((";", "{", "}", ":", "*/")) or not line[1:].strip() or line[1:2] == "#":
            found += own if any(x[:1] in ("+", "-") for x in own) else []
            own = []
    return "\n".join(found)


def _names(hunk: str, name: str) -> bool:
    return name in _WORD.findall(statements(hunk))


def _only_includes(hunk: str) -> bool:
    lines = [x for x in _changed_lines(hunk) if x[1:].strip()]
    return bool(lines) and all(x.startswith("+#include") for x in lines)


def read_text(path: Path) -> str:
    return path.read_text(errors="surrogateescape")
