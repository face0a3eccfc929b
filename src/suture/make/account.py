"""The ledgers of one binary's patch: each changed line of each fix brought to account (delta/ledger.py).

A line with code belongs to the functions that hold its code, in any unit that reads the file; one without, inside a
function, to that function. Everything else (declarations, types, macros, comments) belongs to all functions that the
file changes: it is in the patch only if all of them are. A line is the same only if every unit that reads its file was
compiled before and after.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from suture.compile.affected import RECORD_WHOLE, Affected
from suture.compile.record import relative
from suture.compile.tree import Tree
from suture.compile.unit import Binary, Unit, Variant
from suture.delta.change import UnitChange
from suture.delta.compare import Difference
from suture.delta.ledger import Account, Fate, FileAccount, Ledger, ranges
from suture.delta.line import line_of
from suture.delta.line_table import LineTable
from suture.delta.outside import Outside
from suture.make.statement import PatchContents
from suture.patch.manifest import FixFact, NamedCve, RefusedFunction
from suture.refusal import RESTART, Refusal
from suture.source.changed_line import ChangedLines
from suture.source.fix import Fix

_NOT_CARRIED = Refusal("what it changes of {} is in no group of functions of this patch", RESTART)
_NO_CODE_LINES = "declarations, types, macros or comments"


@dataclass(frozen=True)
class Compared:
    """What came of compiling one unit before and after: a difference, or a failure. Neither: it is the same.

    `unmade`: it failed as it was shipped, so that the tree lacks something. `variant` is how post is compiled, and
    `unstored` are variables of post in which running code stores nothing (storage.py).
    """

    difference: Difference | None = None
    failure: Refusal | None = None
    outside: tuple[Outside, ...] = ()
    unmade: bool = False
    variant: Variant = Variant.SECTIONS
    unstored: frozenset[str] = frozenset()

    @property
    def is_same(self) -> bool:
        return self.difference is None and self.failure is None and not self.outside


@dataclass(frozen=True)
class Books:
    """All that the ledgers of one binary are made from. `failed` are its units that were not matched, by object;
    `lines` are by number of the fix and path."""

    tree: Tree
    affected: Affected
    compared: Mapping[str, Compared]
    lines: Mapping[tuple[int, str], ChangedLines]
    binary: Binary
    failed: Mapping[str, Refusal]

    def close(
        self,
        fixes: Sequence[Fix],
        changes: Sequence[UnitChange],
        carried: PatchContents,
        refused: Sequence[RefusedFunction],
    ) -> tuple[FixFact, ...]:
        """The fixes with their ledgers, once it is known what went in and what was refused. `changes` are the matched
        units."""
        closing = _Closing(self, changes, carried, refused)
        ledgers = closing.backed([closing.ledger(n, f) for n, f in enumerate(fixes)])
        whole = [self._with_gaps(x) for x in ledgers]
        return tuple(fact_of(f, one) for f, one in zip(fixes, whole, strict=True))

    def _with_gaps(self, ledger: Ledger) -> Ledger:
        """What no unit makes may read any file that is code."""
        if not self.tree.gap:
            return ledger
        gap, no_code = Account(Fate.MISSING, reason=self.tree.gap, remedy=RECORD_WHOLE), self.affected.no_code
        return Ledger(tuple(f if f.path in no_code else replace(f, accounts=(*f.accounts, gap)) for f in ledger.files))

    def members(self, fixes: Sequence[Fix], changes: Sequence[UnitChange]) -> list[frozenset[tuple[str, str]]]:
        """The functions that each fix changes, as (object, name in post). What a line is behind that holds no code may
        be any function of the units that read it, so that they are of all fixes with such lines."""
        closing = _Closing(self, changes, PatchContents(frozenset(), frozenset()), ())
        return [closing.members(n, f) for n, f in enumerate(fixes)]


def fact_of(fix: Fix, ledger: Ledger) -> FixFact:
    """A fix with its ledger, as manifests hold it."""
    named = tuple(NamedCve(n.cve, n.reason, n.is_part) for n in fix.named)
    return FixFact(fix.name, fix.cves, fix.sha256, ledger, named)


def others_of(
    tree: Tree, compared: Mapping[str, Compared], units: Iterable[Unit], binary: Binary | None = None
) -> tuple[str, ...]:
    """Names of the binaries of a tree, but `binary`, in which one of the units differs. A unit of none is named by its
    source."""
    sources = {u.object: u.source for u in units if not compared[u.object].is_same}
    differ = sources.keys()
    found = {posixpath.basename(b.file) for b in tree.binaries if b != binary and differ & b.objects}
    held = frozenset[str]().union(*(b.objects for b in tree.binaries))
    return tuple(sorted(found | {f"the binary with {sources[o]} in it" for o in differ - held}))


@dataclass(frozen=True)
class _Verdict:
    """What is told of a line, so that lines of which the same is told share an account."""

    fate: Fate
    functions: tuple[str, ...] = ()
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class _Unit:
    """A matched unit by names of functions in post: what changed, what is new and used by nothing, what was lost; what
    no function carries, by symbol or section (`named`); other refusals, and those of variables by side and line of
    their declaration (`data`)."""

    change: UnitChange
    changed: frozenset[str]
    unused: frozenset[str]
    lost: Mapping[str, Refusal]
    named: Mapping[str, Refusal]
    other: tuple[Refusal, ...]
    data: Mapping[tuple[int, int], Refusal]
    tables: tuple[LineTable, LineTable]

    @property
    def problem(self) -> Refusal | None:
        lost = (self.lost[n] for n in sorted(self.lost))
        return next(iter([*self.named.values(), *self.other, *lost]), None)

    def name(self, function: str) -> str:
        """As the manifest calls it: a replaced function by its name in the binary."""
        return self._old_names.get(function, function)

    @cached_property
    def _old_names(self) -> Mapping[str, str]:
        pre, post, pairs = self.change.pre, self.change.post, self.change.pairs.pre_of
        return {
            post.function_of[new].name: pre.function_of[old].name
            for new, old in pairs.items()
            if new in post.function_of and old in pre.function_of
        }

    @cached_property
    def new_names(self) -> Mapping[str, str]:
        return {old: new for new, old in self._old_names.items()}


class _Closing:
    def __init__(
        self, books: Books, changes: Sequence[UnitChange], carried: PatchContents, refused: Sequence[RefusedFunction]
    ) -> None:
        self.books = books
        self.carried = carried
        self.files: dict[tuple[str, int, str], list[str]] = {}
        self.named = {
            r.symbol for c in changes for a in c.post.atoms.values() for r in a.references if r.section is None
        }
        self.units = {c.object: self._unit(c, refused) for c in changes}

    def _unit(self, change: UnitChange, refused: Sequence[RefusedFunction]) -> _Unit:
        changed = change.replaced | change.new
        said = {r.function: Refusal(r.reason, r.remedy) for r in refused if r.file == change.source}
        left = {n for n in changed if (change.object, n) not in self.carried.functions}
        unused = {n for n in left & change.new if n not in said and not self._is_used(change, n)}
        lost = {n: said.get(n) or Refusal(_NOT_CARRIED.reason.format(n), _NOT_CARRIED.remedy) for n in left - unused}
        beside = [o for o in self.books.compared[change.object].outside if not self._holds(o)]
        named = {o.label: Refusal(o.reason, o.remedy) for o in beside}
        rows = tuple(r for name, r in said.items() if name not in changed)
        data: dict[tuple[int, int], Refusal] = {}
        for side, obj in enumerate((change.pre, change.post)):
            data |= {(side, line_of(obj.elf, name)): r for name, r in said.items() if name and name not in changed}
        tables = (LineTable(change.pre.elf), LineTable(change.post.elf))
        return _Unit(change, changed, frozenset(unused), lost, named, rows, data, tables)

    def _is_used(self, change: UnitChange, name: str) -> bool:
        """Whether something in the changed units refers to a new function."""
        function = change.post.functions[name]
        inside = change.post.users.get(function.hot.index, frozenset()) - {name}
        return bool(inside or self.named & set(function.aliases))

    def _holds(self, one: Outside) -> bool:
        return one.exported and one.label in self.carried.names

    def ledger(self, number: int, fix: Fix) -> Ledger:
        paths = dict.fromkeys(p.path for p in (*fix.files, *fix.left_out))
        return Ledger(tuple(FileAccount(path, tuple(self._accounts(number, path))) for path in paths))

    def backed(self, ledgers: Sequence[Ledger]) -> list[Ledger]:
        """The ledgers, none of which is complete while a unit that reads its files has lost something of unknown
        lines."""
        readers = self.books.affected.readers
        paths: set[str] = set()
        for unit in (u for u in self.units.values() if u.problem is not None):
            read = {p for p, units in readers.items() if unit.change.object in {x.object for x in units}}
            rows = [f for one in ledgers for f in one.files if f.path in read]
            if not any(a.fate is Fate.MISSING for f in rows for a in f.accounts):
                paths |= read
        found = []
        for one in ledgers:
            files = [
                replace(f, accounts=(*f.accounts, self._lost_of(f.path))) if f.path in paths else f for f in one.files
            ]
            found.append(Ledger(tuple(files)))
        return found

    def _lost_of(self, path: str) -> Account:
        mine = [u for u in self.books.affected.readers[path] if u.object in self.units]
        verdict = self._of_all(mine)
        return Account(Fate.MISSING, units=len(mine), reason=verdict.reason, remedy=verdict.remedy)

    def _accounts(self, number: int, path: str) -> Iterator[Account]:
        facts = self.books.affected
        lines = self.books.lines.get((number, path), ChangedLines({}, {}, False))
        mine = [u for u in facts.readers.get(path, ()) if u.object in self.books.binary.objects]
        others = self._others(facts.readers.get(path, ()))
        verdict = self._of_file(path, mine, others)
        if verdict is not None:
            removed, added = ranges(lines.removed), ranges(lines.added)
            units = len(mine or facts.readers.get(path, ()))
            yield Account(verdict.fate, removed, added, (), units, others, verdict.reason, verdict.remedy)
            return
        by_verdict: dict[_Verdict, tuple[list[int], list[int]]] = {}
        for side, texts in enumerate((lines.removed, lines.added)):
            known: dict[int, _Verdict] = {}
            for n, text in texts.items():
                known[n] = (
                    known[n - 1]
                    if not text.strip() and n - 1 in known
                    else self._of_line(side, path, n, text, mine, lines.exact)
                )
                by_verdict.setdefault(known[n], ([], []))[side].append(n)
        if not by_verdict:
            by_verdict[self._of_all(mine)] = ([], [])
        for one, (removed_lines, added_lines) in by_verdict.items():
            yield Account(
                one.fate,
                ranges(removed_lines),
                ranges(added_lines),
                one.functions,
                len(mine),
                others,
                one.reason,
                one.remedy,
            )

    def _others(self, readers: Sequence[Unit]) -> tuple[str, ...]:
        """Other binaries of the tree in which a unit that reads the file differs."""
        return others_of(self.books.tree, self.books.compared, readers, self.books.binary)

    def _of_file(self, path: str, mine: Sequence[Unit], others: Sequence[str]) -> _Verdict | None:
        """What is told of all lines of a file at once; None where each line has to be looked at."""
        facts, compared = self.books.affected, self.books.compared
        if path in facts.missing:
            return _Verdict(Fate.MISSING, (), facts.missing[path].reason, facts.missing[path].remedy)
        if path in facts.no_code:
            return _Verdict(Fate.NO_CODE, (), facts.no_code[path])
        if path in facts.same:
            return _Verdict(Fate.SAME, (), facts.same[path])
        if not mine:
            return _Verdict(Fate.ELSEWHERE if others else Fate.SAME)
        failure = next((r for u in mine if (r := self._failure(u)) is not None), None)
        if failure is not None:
            return _Verdict(Fate.MISSING, (), failure.reason, failure.remedy)
        return _Verdict(Fate.SAME) if all(compared[u.object].is_same for u in mine) else None

    def _failure(self, unit: Unit) -> Refusal | None:
        """Why a unit could not be compared, matched or looked into."""
        one = self.books.compared[unit.object]
        if one.failure is not None or unit.object in self.books.failed:
            return one.failure or self.books.failed[unit.object]
        if one.difference is None and one.outside:
            return Refusal(one.outside[0].reason, one.outside[0].remedy)
        return None

    def _changed_units(self, mine: Iterable[Unit]) -> list[_Unit]:
        return [self.units[u.object] for u in mine if u.object in self.units]

    def _of_all(self, mine: Sequence[Unit]) -> _Verdict:
        """Of a line without code outside of functions: it may be behind anything that changes in the units that read
        it."""
        units = self._changed_units(mine)
        problem = next((u.problem for u in units if u.problem is not None), None)
        if problem is not None:
            return _Verdict(Fate.MISSING, (), problem.reason, problem.remedy)
        names = sorted({u.name(n) for u in units for n in u.changed if (u.change.object, n) in self.carried.functions})
        return _Verdict(Fate.PATCHED, tuple(names), _NO_CODE_LINES)

    def _of_line(self, side: int, path: str, n: int, text: str, mine: Sequence[Unit], exact: bool) -> _Verdict:
        if not exact or text.lstrip().startswith("#"):
            return self._of_all(mine)
        for unit in self._changed_units(mine):
            if unit.change.source == path and (side, n) in unit.data:
                problem = unit.data[side, n]
                return _Verdict(Fate.MISSING, (), problem.reason, problem.remedy)
        names: set[str] = set()
        found = False
        for unit in self._changed_units(mine):
            for function in sorted(self._functions(side, unit, path, n), key=lambda name: name or ""):
                if function is None:
                    return self._of_all(mine)
                found = True
                lost = unit.lost.get(function) or unit.named.get(function)
                if function in unit.unused and lost is None:
                    lost = next(iter(unit.named.values()), None)
                if lost is not None:
                    return _Verdict(Fate.MISSING, (unit.name(function),), lost.reason, lost.remedy)
                if function in unit.changed - unit.unused:
                    names.add(unit.name(function))
        if not found:
            return self._of_all(mine)
        return _Verdict(Fate.PATCHED, tuple(sorted(names))) if names else _Verdict(Fate.SAME)

    def members(self, number: int, fix: Fix) -> frozenset[tuple[str, str]]:
        """Functions of the units that a fix changes, or may."""
        facts = self.books.affected
        found: set[tuple[str, str]] = set()
        for path in (p.path for p in fix.files if p.path not in facts.same and p.path not in facts.no_code):
            lines = self.books.lines.get((number, path), ChangedLines({}, {}, False))
            units = self._changed_units(facts.readers[path]) if path in facts.readers else list(self.units.values())
            exact = lines.exact and path in facts.readers
            rows = [(s, n, t) for s, texts in enumerate((lines.removed, lines.added)) for n, t in texts.items()]
            for side, n, text in (r for r in rows if r[2].strip()):
                exact = exact and not text.lstrip().startswith("#")
                held = [(u, f) for u in units for f in self._functions(side, u, path, n)] if exact else []
                exact = exact and bool(held) and all(f is not None for _, f in held)
                found |= {(u.change.object, f) for u, f in held if f in u.changed}
            if not exact:
                found |= {(u.change.object, f) for u in units for f in u.changed}
        return frozenset(found)

    def _functions(self, side: int, unit: _Unit, path: str, n: int) -> set[str | None]:
        """Functions of a unit, by their names in post, that a line belongs to; None for one that the fix removes."""
        table, obj = unit.tables[side], (unit.change.pre, unit.change.post)[side]
        found: set[str | None] = set()
        for file in self._files(unit, side, path):
            sections = table.sections[file].get(n) or table.around(file, n)
            names = {obj.function_of[s].name for s in sections if s in obj.function_of}
            found |= {unit.new_names.get(x) for x in names} if side == 0 else names
        return found

    def _files(self, unit: _Unit, side: int, path: str) -> list[str]:
        """What a unit's debug information calls a file of the source."""
        key = (unit.change.object, side, path)
        if key not in self.files:
            self.files[key] = self._look_up(unit, side, path)
        return self.files[key]

    def _look_up(self, unit: _Unit, side: int, path: str) -> list[str]:
        tree = self.books.tree
        directory = next(u.directory for u in tree.units if u.object == unit.change.object)
        wanted = {path} | tree.names_of(path)
        return [
            f for f in unit.tables[side].sections if {relative(tree.root, directory, f), posixpath.normpath(f)} & wanted
        ]
