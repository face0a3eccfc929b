"""All that differs between two versions of the kernel, and which of it a change needs besides what was drawn.

A change of one file rarely stands alone: its commit touched headers and other files too. What the compiler says leads to them. For each
name that it misses, or knows otherwise, the first of these that brings anything is taken in, after the `#include` lines that a file
of the change gains:

1. hunks of headers that take nothing away and have the name on a changed line;
2. hunks of headers that define the name;
3. changes of C files that define a function of this name;
4. changes, with the name on a changed line, of the very file that the compiler rejects;
5. all that has the name on a changed line.

At most `MOST_FOR_A_NAME` hunks for a name (but 4.), and `MOST` in all, so that it stays the change that was drawn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel_change import single_changes

from suture.make_kernel import built
from suture.make_kernel.prepare import KernelTree
from suture.make_kernel.target import Target
from suture.source import cache
from suture.source.difference import tree_difference

MOST_FOR_A_NAME = 10
MOST = 100
HUNKS = re.compile(r"^(?=@@ )", re.MULTILINE)
_WORD = re.compile(r"\w+")
_QUOTED = re.compile("\u2018(?:struct |union |enum )?([A-Za-z_]\\w{3,})\u2019")
_ERROR = re.compile(r"^\S+:\d+:\d+: (?:fatal )?error: (.*)$")
_NOTE = re.compile(r"^\S+:\d+:\d+: note: (.*)$")
_NEAR = re.compile("near initialization for \u2018\\w+(?:\\[\\d+\\])?\\.(\\w+)\u2019")

Parts = dict[str, list[str]]
"""Hunks of a change by their file."""


@dataclass(frozen=True)
class Need:
    """A name that the compiler misses or knows otherwise, and the file that it rejects for it (none: the kernel has no such symbol)."""

    name: str
    file: str = ""


@dataclass(frozen=True)
class Pool:
    """For each file that differs the head of its difference, and its changes as lists of hunks."""

    heads: Mapping[str, str]
    changes: Mapping[str, Sequence[Sequence[str]]]

    @classmethod
    def read(cls, target: Target, tree: KernelTree, newer: Path, changed: Sequence[str], to: str) -> Pool:
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
        return cls({n: r[0] for n, r in rows.items()}, {n: r[1] for n, r in rows.items()})

    def with_more(self, parts: Parts, needs: Sequence[Need]) -> Parts | None:
        """The change with what it needs; None when the difference has nothing for it, or too much."""
        found: Parts = {p: list(hs) for p, hs in parts.items()}
        includes = [(p, h) for p in parts for hs in self.changes.get(p, ()) if all(map(_only_includes, hs)) for h in hs]
        if any(needs) and _take(found, includes):
            return found
        for need in needs:
            for rows, most in self._offers(need):
                if any(h in found.get(p, ()) and h not in parts.get(p, ()) for p, h in rows):
                    break  # another name has brought it
                if len(_fresh(found, rows)) <= most and _take(found, rows):
                    break
        return found if parts != found and sum(map(len, found.values())) <= MOST else None

    def _offers(self, need: Need) -> Iterator[tuple[list[tuple[str, str]], int]]:
        """What may bring a name, in the order of the module's list, and how many hunks of it may be taken."""
        headers = [p for p in self.changes if p.endswith(".h")]
        defined = _definition(need.name)
        begun = re.compile(rf"^\+[A-Za-z_][^;\n]*\b{need.name}\([^;\n]*$", re.MULTILINE)
        for places, wanted in (
            (headers, lambda h: _names(h, need.name) and not _has(h, "-")),
            (headers, lambda h: defined.search(h) is not None),
            (self.changes, lambda h: begun.search(h) is not None),
        ):
            yield [x for p in places for x in self._of(p, wanted)], MOST_FOR_A_NAME
        yield self._of(need.file, lambda h: _names(h, need.name)), MOST
        yield [x for p in self.changes for x in self._of(p, lambda h: _names(h, need.name))], MOST_FOR_A_NAME

    def _of(self, path: str, wanted: Callable[[str], object]) -> list[tuple[str, str]]:
        """All hunks of a file's changes that have one which is wanted."""
        return [(path, h) for hunks in self.changes.get(path, ()) if any(map(wanted, hunks)) for h in hunks]

    def text(self, parts: Parts, head: str) -> str:
        """A patch file; `head` for a file that the pool lacks."""
        return "".join(
            self.heads.get(p, head) + "".join(sorted(hs, key=lambda h: int(re.match(r"@@ -(\d+)", h)[1])))  # type: ignore[index]
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
        member = re.search("has no member named \u2018(\\w+)\u2019", said)
        names = [member[1]] if member is not None else _QUOTED.findall(said)
        if not names:  # of types alone: what is written there
            names = [
                w for x in lines[number + 1 : number + 2] for w in re.findall(r"[A-Za-z_]\w{3,}", x.partition("|")[2])
            ]
        found |= dict.fromkeys(names)
    found |= {n: None for line in lines if (m := _NOTE.match(line)) is not None for n in _QUOTED.findall(m[1])}
    return list(found)


def _definition(name: str) -> re.Pattern[str]:
    """A gained line that defines a type, a macro, an enumerator, an inline function, or declares a function or variable."""
    return re.compile(
        rf"^\+(?:(?:typedef )?(?:struct|union|enum) {name} \{{|#\s*define\s+{name}\b|\s*{name}\s*(?:=[^=\n]*)?,"
        rf"|[A-Za-z_][^=;\n]*\b{name}\(|extern [^;\n]*\b{name}\b|typedef [^\n]*\b{name}\b)",
        re.MULTILINE,
    )


def _changed_lines(hunk: str) -> list[str]:
    return [x for x in hunk.split("\n")[1:] if x[:1] in ("+", "-")]


def _has(hunk: str, sign: str) -> bool:
    return any(x.startswith(sign) for x in _changed_lines(hunk))


def _names(hunk: str, name: str) -> bool:
    return any(name in _WORD.findall(x) for x in _changed_lines(hunk))


def _only_includes(hunk: str) -> bool:
    lines = [x for x in _changed_lines(hunk) if x[1:].strip()]
    return bool(lines) and all(x.startswith("+#include") for x in lines)


def read_text(path: Path) -> str:
    return path.read_text(errors="surrogateescape")
