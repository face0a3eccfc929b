"""All that differs between two versions of the kernel, and which of it a change needs besides what was drawn.

A change of one file rarely stands alone: its commit touched headers and other files too. What the compiler says leads
to them. It is taken in by runs (kernel_run.py), the smallest parts of a difference, since a hunk, a type or a function
may hold parts of several commits. Of a C file the runs that share a name that comes or goes are one change. For the
names of each complaint, the first of these that brings anything is taken in, after the `#include` lines that a file of
the change gains (headers are those that the rejected file may include):

1. runs of headers that define the name, first those that take nothing away;
2. changes of C files that define a function of this name;
3. runs of the very function that the compiler rejects, with the name in a changed statement (first of all for what
   belongs to it: a variable, a label, what it returns);
4. runs of headers that take nothing away and have the name in a changed statement;
5. changes, with the name in a changed statement, of the very file that the compiler rejects;
6. where nothing was brought for any complaint: the same for the other members on the line that is rejected, then all
   that has one of the names in a changed statement.

A header that only the newer version has is taken as it is there, where the compiler misses it.

At most `MOST_FOR_A_NAME` runs for a name (but 3. and 5.), and `MOST` in all, so that it stays the change that was
drawn.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kernel_run import Run, groups, runs, whole, written

from suture.make_kernel import built, include
from suture.make_kernel.prepare import KernelTree
from suture.make_kernel.target import ArchiveKernel
from suture.source import cache
from suture.source.difference import tree_difference

MOST_FOR_A_NAME = 10
MOST = 200
_QUOTED = re.compile("\u2018(?:struct |union |enum )?([A-Za-z_]\\w*)\u2019")
_CALLED = re.compile("\u2018[^\u2019]*(?:->|\\.)(\\w+)\u2019")
_ERROR = re.compile(r"^(?:\./)?(\S+):\d+:\d+: (?:fatal )?error: (.*)$")
_INSIDE = re.compile("^\\S+: (?:In function \u2018(\\w+)|At top level:)")
_ABSENT = re.compile(r"^(\S+\.h): No such file or directory$")
_NEAR = re.compile("near initialization for \u2018\\w+(?:\\[\\d+\\])?\\.(\\w+)\u2019")
_SYNTAX = re.compile("expected |\u2018else\u2019 without |invalid storage class|stray |unterminated ")
_LOCAL = re.compile("undeclared|^label |\u2018return\u2019|^control reaches end")
_SHORT = 4  # letters of a name that may mean anything anywhere: below it only the function itself is looked at

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

Parts = dict[str, list[Run]]
"""Runs of a change by their file."""


@dataclass(frozen=True)
class Need:
    """One complaint of the compiler: names of which it misses one or knows it otherwise, and the unit that it rejects
    for it (none: the kernel has no such symbol).

    `place` is the file with the line in question, `function` the one that holds it, and `is_local` tells that what is
    missed belongs to it. `beside` are other members on the line. Without names it is the function that can't be read.
    """

    names: tuple[str, ...]
    file: str = ""
    place: str = ""
    function: str = ""
    is_local: bool = False
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pool:
    """For each file that differs its changes as lists of runs. `older` and `newer` are the two versions' trees."""

    changes: Mapping[str, Sequence[Sequence[Run]]]
    older: Path
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
            rows = {n: [[_row(r) for r in own] for own in _changes(n, tree.files, newer)] for n in mine}
            path.write_text(json.dumps(rows))

        place = cache.root() / "bench" / cache.safe(f"kernel-runs-{target.version}-{to}.json")
        rows = json.loads(cache.item(place, make).read_text())
        changes = {n: [[Run(*map(_tupled, r)) for r in own] for own in cs] for n, cs in rows.items()}
        return cls(changes, tree.files, newer, include.read(tree))

    def drawn(self, path: str, difference: str) -> Parts:
        """The runs of a difference that was drawn."""
        return {path: list(runs(difference, *(read_text(x / path) for x in (self.older, self.newer))))}

    def with_more(self, parts: Parts, needs: Sequence[Need]) -> Parts | None:
        """The change with what it needs; None when the difference has nothing for it, or too much."""
        found: Parts = {p: list(rs) for p, rs in parts.items()}
        includes = [
            (p, r) for p in parts for rs in self.changes.get(p, ()) if all(x.only_includes for x in rs) for r in rs
        ]
        if any(needs) and _take(found, includes):
            return found
        for offers in (self._near, self._beside, self._anywhere):
            for need in needs:
                self._bring(offers(need), parts, found)
            if parts != found:
                return found if sum(map(len, found.values())) <= MOST else None
        return None

    def _bring(self, offers: Iterator[_Offer], parts: Parts, found: Parts) -> None:
        for some, most in offers:
            if any(r in found.get(p, ()) and r not in parts.get(p, ()) for p, r in some):
                return  # another complaint has brought it
            rows = self._whole(some)
            if len(_fresh(found, rows)) <= most and _take(found, rows):
                return

    def _whole(self, rows: Sequence[tuple[str, Run]]) -> list[tuple[str, Run]]:
        """With what keeps the braces of their functions matched."""
        return list(dict.fromkeys((p, x) for p, r in rows for x in self._partners(p).get(r, (r,))))

    def _partners(self, path: str) -> Mapping[Run, tuple[Run, ...]]:
        if path not in self._known:
            own = sorted((r for rs in self.changes.get(path, ()) for r in rs), key=lambda r: (r.at, r.to))
            self._known[path] = whole(own)
        return self._known[path]

    @cached_property
    def _known(self) -> dict[str, Mapping[Run, tuple[Run, ...]]]:
        return {}

    def _near(self, need: Need) -> Iterator[_Offer]:
        """What may bring one of the names, in the order of the module's list, and how many runs of it may be taken."""
        if need.names and need.names[0].endswith(".h"):
            yield self._new_header(need), MOST
            return
        if need.is_local:
            yield self._inside(need), MOST
        names = [n for n in need.names if n not in _KEYWORDS and len(n) >= _SHORT]
        for defined in (self._declared(False), self._declared(True), self._begun):
            for name in names:
                yield defined(name, need), MOST_FOR_A_NAME
        yield self._inside(need), MOST
        for name in names:
            yield self._headers(need, name, _writing(name, with_less=False)), MOST_FOR_A_NAME
        for path in dict.fromkeys((need.place, need.file)):
            for name in names:
                yield self._of(path, _writing(name)), MOST

    def _beside(self, need: Need) -> Iterator[_Offer]:
        return self._near(replace(need, names=need.beside, is_local=False)) if need.beside else iter(())

    def _anywhere(self, need: Need) -> Iterator[_Offer]:
        """All that has a name in a changed statement."""
        for name in need.names:
            if name not in _KEYWORDS and len(name) >= _SHORT:
                yield (
                    [x for p in self._naming(name) for x in self._of(p, _writing(name))],
                    MOST_FOR_A_NAME,
                )

    def _inside(self, need: Need) -> list[tuple[str, Run]]:
        """Runs of the function in question that have one of the names in a changed statement."""
        own = [
            r for rs in self.changes.get(need.place, ()) for r in rs if need.function and need.function in r.functions
        ]
        return [(need.place, r) for r in own if not need.names or not r.words.isdisjoint(need.names)]

    def _headers(self, need: Need, name: str, wanted: Callable[[Run], object]) -> list[tuple[str, Run]]:
        """Runs of headers that the rejected unit may include."""
        naming = [p for p in self._naming(name) if p.endswith(".h")]
        near = self.includes.included([need.file]) if need.file and naming else naming
        return [x for p in naming if p in near for x in self._of(p, wanted)]

    def _declared(self, with_less: bool) -> Callable[[str, Need], list[tuple[str, Run]]]:
        """What defines a name in headers; unless `with_less`, only what takes nothing away."""

        def offer(name: str, need: Need) -> list[tuple[str, Run]]:
            defined = _definition(name)
            return self._headers(need, name, lambda r: defined.search(r.said) and (with_less or not r.removed))

        return offer

    def _begun(self, name: str, need: Need) -> list[tuple[str, Run]]:
        """Functions of C files that have the name."""
        begun = re.compile(rf"^[+ ][A-Za-z_][^;\n]*\b{name}\([^;\n]*$", re.MULTILINE)
        return [x for p in self._naming(name) if p.endswith(".c") for x in self._of(p, lambda r: begun.search(r.said))]

    def _naming(self, name: str) -> list[str]:
        return [p for p, words in self._words.items() if name in words]

    @cached_property
    def _words(self) -> Mapping[str, set[str]]:
        """The words of each file's changed statements."""
        return {p: {w for rs in c for r in rs for w in r.words} for p, c in self.changes.items()}

    def _new_header(self, need: Need) -> list[tuple[str, Run]]:
        """A header that only the newer version has, as one run."""
        for folder in ("include", str(Path(need.place or need.file).parent), "arch/x86/include"):
            path = posixpath.normpath(f"{folder}/{need.names[0]}")
            if (self.newer / path).is_file() and path not in self.changes:
                return [(path, Run(0, 0, (), tuple(read_text(self.newer / path).split("\n")[:-1])))]
        return []

    def _of(self, path: str, wanted: Callable[[Run], object]) -> list[tuple[str, Run]]:
        """All runs of a file's changes that have one which is wanted."""
        return [(path, r) for own in self.changes.get(path, ()) if any(map(wanted, own)) for r in own]

    def text(self, parts: Parts) -> str:
        """A patch file. What the older version lacks is new."""
        return "".join(
            written(p, read_text(self.older / p) if (self.older / p).is_file() else "", rs)
            for p, rs in sorted(parts.items())
        )


_Offer = tuple[list[tuple[str, Run]], int]


def _writing(name: str, with_less: bool = True) -> Callable[[Run], bool]:
    """Whether a run has a name in a changed statement; unless `with_less`, only one that takes nothing away."""
    return lambda r: name in r.words and (with_less or not r.removed)


def _changes(path: str, older: Path, newer: Path) -> list[list[Run]]:
    """What differs in a file: of a header each run alone."""
    old, new = read_text(older / path), read_text(newer / path)
    own = runs(tree_difference(older, newer, path, (path,)).files[0].text, old, new)
    return groups(own, old, new) if path.endswith(".c") else [[r] for r in own]


def _row(run: Run) -> list[object]:
    return [run.at, run.to, run.removed, run.added, run.said, run.functions]


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _fresh(found: Parts, rows: Sequence[tuple[str, Run]]) -> list[tuple[str, Run]]:
    return [(p, r) for p, r in rows if r not in found.get(p, ())]


def _take(found: Parts, rows: Sequence[tuple[str, Run]]) -> bool:
    """Add runs; whether any of them was new."""
    fresh = _fresh(found, rows)
    for path, run in fresh:
        found.setdefault(path, []).append(run)
    return bool(fresh)


def needs(logs: Mapping[str, str]) -> list[Need]:
    """What the compiler misses in each file that it rejects, in the order that it says so."""
    return list(dict.fromkeys(n for source, log in logs.items() for n in _missed(source, log)))


def _missed(source: str, log: str) -> list[Need]:
    """The complaints in an output of gcc; what it proposes in place of a name is none."""
    found: list[Need] = []
    place, function = source, ""
    lines = log.split("\n")
    for number, line in enumerate(lines):
        inside, error, near = _INSIDE.match(line), _ERROR.match(line), _NEAR.search(line)
        function = inside[1] or "" if inside is not None else function
        if near is not None and found and near[1] not in found[-1].names:
            found[-1] = replace(found[-1], names=(*found[-1].names, near[1]))
        if error is None:
            continue
        place, said = error[1], error[2].partition("; did you mean")[0]
        absent = _ABSENT.match(said)
        if absent is not None:
            found.append(Need((absent[1],), source, place, function))
        elif _SYNTAX.match(said):
            return [*found, Need((), source, place, function, True)]  # what it says behind that is of no use
        else:
            quoted = lines[number + 1].partition("|")[2] if number + 1 < len(lines) else ""
            names = tuple(dict.fromkeys(_named(said, quoted)))
            beside = tuple(n for n in re.findall(r"(?:->|\.)(\w+)", quoted) if n not in names)
            found.append(Need(names, source, place, function, _LOCAL.search(said) is not None, beside))
    return [n for n in found if n.names or n.beside]


def _named(said: str, quoted: str) -> list[str]:
    """The names of one complaint: those in it, else those on the line that it quotes."""
    if said.startswith("control reaches end"):
        return ["return"]
    member = re.search("has no member named \u2018(\\w+)\u2019", said)
    names = [member[1]] if member is not None else _QUOTED.findall(said) or _CALLED.findall(said)
    if names:
        return names
    return [w for w in re.findall(r"[A-Za-z_]\w{3,}", quoted) if w not in _KEYWORDS and not w.endswith("__")]


def _definition(name: str) -> re.Pattern[str]:
    """A line that defines a type, a macro, an enumerator, an inline function, or declares a function, variable or
    member.
    """
    return re.compile(
        rf"^[+ ](?:(?:typedef )?(?:struct|union|enum) {name} \{{|#\s*define\s+{name}\b|\s*{name}\s*(?:=[^=\n]*)?,"
        rf"|[A-Za-z_][^=;\n]*\b{name}\(|extern [^;\n]*\b{name}\b|typedef [^\n]*\b{name}\b"
        rf"|\s[^(\n]*\(\*{name}\)\(|\s[^(;\n]*\b{name}(?:\[[^\]\n]*\])*(?:\s*:\s*\d+)?;)",
        re.MULTILINE,
    )


def read_text(path: Path) -> str:
    return path.read_text(errors="surrogateescape")
