"""A fix of a newer release made in an older one, file by file, and what speaks against it.

Each file is merged whole and function by function, and patch(1) is asked as well. What two ways make differently is
nobody's to choose: it is handed to a person, like whatever a check finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from patiencediff import PatienceSequenceMatcher

from suture.els.finding import Finding
from suture.els.merge import Merged, merged
from suture.els.outline import changed, sections
from suture.els.patching import patched
from suture.els.token import bare, code, names
from suture.report.els import CarriedBy, Objection
from suture.source.path_kind import PathKind, classify

_LEAST = 8  # tokens that code which is looked for elsewhere has at least
_LEAST_IN_FUNCTION = 6  # and code that is looked for in the same function: `if (!p) return;` has 7


Knows = Callable[[frozenset[str]], frozenset[str]]
"""Which of some words stand anywhere in the code of a source."""


@dataclass(frozen=True)
class FileChange:
    """What a fix does to one file of the newer release; None where the file is not there before or after."""

    path: str
    before: str | None
    after: str | None

    @property
    def is_code(self) -> bool:
        """Whether it can change what runs: no document, no test."""
        return classify(self.path) is not PathKind.IGNORED


@dataclass(frozen=True)
class CarriedFile:
    """One file of the older release with the fix: its path there, its text before and after, and the first of the ways
    that made it."""

    path: str
    before: str | None
    after: str | None
    way: CarriedBy


@dataclass(frozen=True)
class Backport:
    """A fix carried to an older release: the files that change, what was left out because it is no code, and what
    speaks against it. Without findings it may go on to be built."""

    carried: tuple[CarriedFile, ...]
    left_out: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def is_whole(self) -> bool:
        return not self.findings and bool(self.carried)


@dataclass(frozen=True)
class Old:
    """The older release's source: the text of a path (None for no file), the paths that end in a file name, and which
    of some words stand anywhere in its code."""

    read: Callable[[str], str | None]
    named: Callable[[str], Sequence[str]]
    knows: Knows


def backport(changes: Sequence[FileChange], old: Old, newer_knows: Knows) -> Backport:
    """The fix in the older release. `newer_knows` says which words stand in the newer release before the fix."""
    carried: list[CarriedFile] = []
    left_out: list[str] = []
    findings: list[Finding] = []
    for change in changes:
        if not change.is_code:
            left_out.append(change.path)
            continue
        one = _carried(change, old)
        if isinstance(one, Finding):
            findings.append(one)
        elif one.before != one.after:
            carried.append(one)
            findings += _against(change, one)
        elif code(change.before or "") != code(change.after or ""):
            findings.append(Finding(Objection.THERE, change.path, "", "the old release has this already"))
    findings += _unknown(changes, old, newer_knows)
    return Backport(tuple(carried), tuple(left_out), tuple(findings))


def _carried(change: FileChange, old: Old) -> CarriedFile | Finding:
    path = _counterpart(change, old)
    ours = old.read(path) if path else None
    if change.before is None:
        if ours is None:
            return CarriedFile(change.path, None, change.after, CarriedBy.COPY)
        return Finding(Objection.THERE, change.path, "", "the fix brings this file, and the old release has one")
    if ours is None or path is None:
        return Finding(Objection.ABSENT, change.path, "", "the old release has no such file")
    if change.after is None:
        return Finding(Objection.REMOVED, change.path, "", "the fix removes this file")
    return _one_text(change, path, ours)


def _one_text(change: FileChange, path: str, ours: str) -> CarriedFile | Finding:
    """The file's text, if all ways that reach one agree on its code."""
    base, theirs = change.before or "", change.after or ""
    exact = patched(base, ours, theirs, fuzz=0)
    whole = merged(base, ours, theirs)
    found = [
        (CarriedBy.PATCH, exact),
        (CarriedBy.MERGE if not whole.by_tokens else CarriedBy.TOKENS, None if whole.conflicts else whole.text),
    ]
    if exact is None or whole.conflicts or whole.by_tokens:
        found.append((CarriedBy.FUNCTIONS, _by_function(change.path, base, ours, theirs)))
        found.append((CarriedBy.PATCH, patched(base, ours, theirs, fuzz=2)))
    made = [(way, text) for way, text in found if text is not None]
    if exact is None and all(way is CarriedBy.PATCH for way, _ in made):
        return _conflict(change, whole)
    if len({code(text) for _, text in made}) > 1:
        ways = " and ".join(dict.fromkeys(way.value for way, _ in made))
        return Finding(Objection.DISAGREE, change.path, "", f"{ways} make different code of it")
    way, text = made[0]
    return CarriedFile(path, ours, text, way)


def _conflict(change: FileChange, whole: Merged) -> Finding:
    places = [x.base.strip().split("\n")[0].strip() for x in whole.conflicts]
    shown = "; ".join(p for p in places[:3] if p)
    return Finding(Objection.CONFLICT, change.path, "", f"{len(places)} places differ in the old release: {shown}")


def _by_function(path: str, base: str, ours: str, theirs: str) -> str | None:
    """Each section that the fix changes merged with the old release's section of the same key; None for a conflict, and
    where there is none."""
    old, new = ({s.key: s.text for s in sections(path, x)} for x in (base, theirs))
    mine = sections(path, ours)
    keys = [k for k in dict.fromkeys([*old, *new]) if code(old.get(k, "")) != code(new.get(k, ""))]
    if len(old) == 1 or not keys or any(k not in {s.key for s in mine} for k in keys):
        return None
    if any(k not in old or k not in new for k in keys if not k.startswith(" ")):
        return None
    made = [merged(old.get(s.key, ""), s.text, new.get(s.key, "")) if s.key in keys else None for s in mine]
    if any(m is not None and m.conflicts for m in made):
        return None
    return "".join(s.text if m is None else m.text for s, m in zip(mine, made, strict=True))


def _against(change: FileChange, one: CarriedFile) -> list[Finding]:
    """What speaks against a text that was reached: other functions change than the fix means to, what it removes stands
    elsewhere too, or what it adds was there before."""
    base, theirs, ours, made = change.before or "", change.after or "", one.before or "", one.after or ""
    meant, done = changed(change.path, base, theirs), changed(change.path, ours, made)
    found = []
    if [k for k in meant if not k.startswith(" ")] != [k for k in done if not k.startswith(" ")]:
        shown = ", ".join(k for k in (*meant, *done) if k.strip() and (k in meant) != (k in done))
        found.append(Finding(Objection.ELSEWHERE, change.path, shown, "the change lands in another function"))
    after, expected = code(made), code(theirs)
    for gone in _removed(base, theirs):
        if _count(after, gone) > _count(expected, gone):
            shown = " ".join(gone[:12])
            found.append(Finding(Objection.REMAINS, change.path, shown, "code that the fix replaces stays elsewhere"))
    twice = [k for k in done if _has_already(k, change, ours)]
    if twice:
        found.append(
            Finding(Objection.THERE, change.path, ", ".join(twice), "the old release has code that the fix adds")
        )
    return found


def _has_already(key: str, change: FileChange, ours: str) -> bool:
    """Whether a section of the old release has more often than the newer release's before the fix what the fix adds to
    it: the same fix, made under another name and at another line."""
    base, theirs, own = (
        next((s.text for s in sections(change.path, text) if s.key == key), "")
        for text in (change.before or "", change.after or "", ours)
    )
    added = (code("\n".join(new)) for _, new in _runs(base, theirs))
    mine, before = code(own), code(base)
    return any(len(r) >= _LEAST_IN_FUNCTION and _count(mine, r) > _count(before, r) for r in added)


def _removed(base: str, theirs: str) -> list[tuple[str, ...]]:
    """Runs of code that the fix takes out, long enough to mean something."""
    runs = (code("\n".join(old)) for old, _ in _runs(base, theirs))
    return [r for r in runs if len(r) >= _LEAST]


def _added(base: str, theirs: str) -> list[str]:
    """The lines of code that the fix brings."""
    return [line for _, new in _runs(bare(base), bare(theirs)) for line in new]


def _runs(base: str, theirs: str) -> Iterator[tuple[list[str], list[str]]]:
    """The lines that go and those that come in their place, for each place where two texts differ."""
    old, new = base.split("\n"), theirs.split("\n")
    for tag, a, b, c, d in PatienceSequenceMatcher(None, old, new).get_opcodes():
        if tag != "equal":
            yield old[a:b], new[c:d]


def _count(text: Sequence[str], run: Sequence[str]) -> int:
    first = run[0]
    places = (n for n, t in enumerate(text) if t == first)
    return sum(tuple(text[n : n + len(run)]) == tuple(run) for n in places)


def _unknown(changes: Sequence[FileChange], old: Old, newer: Knows) -> list[Finding]:
    """Words that the fix uses, the newer release has, and the old one has not: something has to come before the fix."""
    added = frozenset[str]()
    for change in (c for c in changes if c.is_code):
        added |= names("\n".join(_added(change.before or "", change.after or "")))
    missing = sorted(newer(added - old.knows(added)))
    if not missing:
        return []
    where, shown = PurePosixPath(changes[0].path).name, ", ".join(missing[:5])
    return [Finding(Objection.UNKNOWN, where, shown, "names that the old release has not")]


def _counterpart(change: FileChange, old: Old) -> str | None:
    """The old release's path of a file: the same, or the file of that name with the most lines in common."""
    if old.read(change.path) is not None or change.before is None:
        return change.path
    own = set(change.before.split("\n"))
    alike = [(len(own & set((old.read(p) or "").split("\n"))) / len(own), p) for p in old.named(change.path)]
    best = max(alike, default=(0.0, ""))
    return best[1] if best[0] >= 0.5 else None
