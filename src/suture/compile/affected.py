"""What each file that fixes change is to a tree: which units read it, before or after, or why none has to.

Units are found by what the compiler says, never by a file's name or folder. A name decides one thing: whether a file
that no unit reads may be what code is generated or built from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from suture.command import CommandFailed
from suture.compile.generate import Generated
from suture.compile.preparation import anew
from suture.compile.tree import Tree
from suture.compile.unit import Unit
from suture.error import Refused
from suture.progress import Progress, silent
from suture.refusal import RESTART, Refusal
from suture.source.fix import FilePatch, Fix
from suture.source.path_kind import CODE, PathKind

_WHOLE = "make the patch without --only"
_NO_CODE = "a document, a test or a changelog: no unit reads it"
_MODE = "only its mode changes"
_SAME = "no unit reads it, and configuring and generating anew with it gives the same code and commands"
_UNREAD = {
    PathKind.SOURCE: "no unit of the recorded build compiles or includes it",
    PathKind.HEADER: "no unit of the recorded build includes it",
    PathKind.ASSEMBLY: "no unit of the recorded build assembles or includes it",
    PathKind.GENERATED: "no unit reads it, and it may be the input of a generator; what that makes is not made anew",
    PathKind.BUILD: "it is a build file; a different build is not a live patch",
    PathKind.OTHER: "no unit reads it, and it is of a kind that is not known to be no code",
}
_RECIPE = "a recipe can tell which link becomes which shipped file (docs/reference/recipes.md)"
RECORD_WHOLE = (
    "record the whole build after a clean: make clean, then suture record -- make; and take the binary that it links"
)
_RECORD = (
    "if the binary is built from it, record the whole build after a clean (suture record -- make); else it is safe "
    "to leave it out"
)


@dataclass(frozen=True)
class Affected:
    """`post` is the tree with the fixes. Every changed path is in one of the four: `readers` (units that read it),
    `missing` (can't be handled), `same` (proved to change nothing), `no_code`."""

    post: Tree
    readers: Mapping[str, tuple[Unit, ...]]
    missing: Mapping[str, Refusal]
    same: Mapping[str, str]
    no_code: Mapping[str, str]

    @property
    def units(self) -> tuple[Unit, ...]:
        """All that has to be compiled before and after, whatever binary it is for."""
        found = {u.object: u for units in self.readers.values() for u in units}
        return tuple(found[o] for o in sorted(found))


Anew = Callable[[Tree, Fix], Generated | None]
"""What the generators of a tree make of a fix, as `anew` tells it."""


def affected(tree: Tree, fixes: Sequence[Fix], progress: Progress = silent, generators: Anew = anew) -> Affected:
    """Ask for every file that the fixes change. Raises `Refused` for a hunk that does not apply."""
    return _Search(tree, fixes, progress, generators).result()


@dataclass
class _Search:
    tree: Tree
    fixes: Sequence[Fix]
    progress: Progress
    generators: Anew
    readers: dict[str, tuple[Unit, ...]] = field(default_factory=dict)
    missing: dict[str, Refusal] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    no_code: dict[str, str] = field(default_factory=dict)

    def result(self) -> Affected:
        parts: dict[str, list[FilePatch]] = {}
        for fix in self.fixes:
            for part in fix.files:
                parts.setdefault(part.path, []).append(part)
        self.tree.ask_ahead(parts)
        for path, rows in parts.items():
            self._ask(path, rows)
        created = [p for p, rows in parts.items() if rows[0].creates and self._applies(p, rows)]
        applied = [p for p in parts if p in self.readers or p in created]
        post = self.tree.post(self._only(applied))
        for path in created:
            self.readers[path] = post.units_of(path)
        unread = [p for p in parts if not self.readers.get(p) and not self._is_settled(p)]
        for path in unread:
            self.readers.pop(path, None)
            self._settle(path, parts[path])
        inputs = [p for p in unread if not self._is_settled(p)]
        if self.tree.is_prepared:
            inputs += [p for p in self.readers if parts[p][0].kind is PathKind.GENERATED]
        generated = self._generated(applied, inputs) if inputs else None
        for left in (x for fix in self.fixes for x in fix.left_out):
            if left.path not in parts and not left.changes:
                self.no_code[left.path] = _MODE
            elif left.path not in parts and (left.kind is not PathKind.IGNORED or self.tree.units_of(left.path)):
                self.missing[left.path] = Refusal("it was left out with --only", _WHOLE)
            elif left.path not in parts:
                self.no_code[left.path] = _NO_CODE
        if generated is not None and generated.files:
            post = self.tree.post(self._only(applied), generated)
        for path in self.missing:
            self.readers.pop(path, None)
        return Affected(post, self.readers, self.missing, self.same, self.no_code)

    def _only(self, paths: Sequence[str]) -> Fix:
        """All fixes as one, cut down to paths."""
        wanted = frozenset(paths)
        files = tuple(part for fix in self.fixes for part in fix.files if part.path in wanted)
        return Fix("+".join(f.name for f in self.fixes), files)

    def _is_settled(self, path: str) -> bool:
        return path in self.missing or path in self.same or path in self.no_code

    def _applies(self, path: str, parts: Sequence[FilePatch]) -> bool:
        return not self._is_settled(path) and (parts[0].kind is not PathKind.IGNORED or not self.tree.has(path))

    def _ask(self, path: str, parts: Sequence[FilePatch]) -> None:
        """Who reads a file before the fix, and whether its change can be compiled at all."""
        units = self.tree.units_of(path)
        if _needs_file(parts[0]) and not self.tree.has(path):
            raise Refused(f"{path}: the source has no such file", "check that the fix belongs to this version")
        moved = next((p.source for p in parts if p.source), "")
        if moved and (units or parts[0].kind is not PathKind.IGNORED):
            self.missing[path] = Refusal(f"the fix makes this file out of {moved}", "make the fix without moving files")
        elif any(p.is_link for p in parts) and (units or parts[0].kind is not PathKind.IGNORED):
            self.missing[path] = Refusal("the fix makes or changes a symbolic link", RESTART)
        elif any(p.is_binary for p in parts) and (units or parts[0].kind is not PathKind.IGNORED):
            self.missing[path] = Refusal("the fix changes a binary file", RESTART)
        elif units and any(p.deletes for p in parts):
            self.missing[path] = Refusal("the fix deletes the file; a unit that is gone can't be patched", RESTART)
        elif not any(p.changes for p in parts):
            self.no_code[path] = _MODE
        elif units and self.tree.may_be_in_unpaired(path):
            self.missing[path] = self._unpaired("it is compiled a second time")
        elif units:
            self.readers[path] = units

    def _settle(self, path: str, parts: Sequence[FilePatch]) -> None:
        """A file that no unit reads: what its name and the tree tell of it. Left open is what only generating anew can
        tell."""
        kind = parts[0].kind
        if path.startswith("debian/patches/") and path != "debian/patches/series":
            reason = "it is a patch of the package's own series, which is not unpacked here"
            self.missing[path] = Refusal(reason, "give that patch itself: suture make --fix FILE")
        elif self.tree.takes_in(path):
            self.missing[path] = Refusal("assembly takes its bytes in (.incbin)", RESTART)
        elif kind is PathKind.IGNORED:
            self.no_code[path] = _NO_CODE
        elif self.tree.unpaired and (kind in CODE or kind is PathKind.ASSEMBLY):
            self.missing[path] = self._unpaired("no unit of the other binaries reads it")
        elif not self.tree.is_prepared or path == "debian/control":
            remedy = _RECORD if kind in CODE or kind is PathKind.ASSEMBLY else RESTART
            self.missing[path] = Refusal(_UNREAD[kind], remedy)

    def _unpaired(self, why: str) -> Refusal:
        """A file whose code may be in a shipped binary of which it is not known what it was linked from."""
        return Refusal(f"{why}, and what the build links as {_few(self.tree.unpaired)} is not known", _RECIPE)

    def _generated(self, applied: Sequence[str], inputs: Sequence[str]) -> Generated | None:
        """Configure and generate anew with the files that may be inputs; which of them made a difference nobody can
        tell."""
        self.progress(f"configuring and generating anew with {len(inputs)} changed file{'s' * (len(inputs) != 1)}")
        reason, found = "what is generated from it can't be made anew", None
        try:
            found = self.generators(self.tree, self._only([*applied, *inputs]))
        except (Refused, CommandFailed) as problem:
            reason = f"{reason}: {problem.what.splitlines()[0]}"
        if found is None:
            self.missing.update({p: Refusal(reason, RESTART) for p in inputs})
            return None
        for names, told in (
            (found.gone, "the fix removes the generated code {}"),
            (found.linked, "the fix changes {}, which the linker reads"),
            (found.commands, "the fix changes how {} is compiled or linked"),
        ):
            if names:
                self.missing.update({p: Refusal(told.format(_few(names)), RESTART) for p in inputs})
        post = self.tree.post(self._only(applied), found)
        units = [u for path in found.files for u in (*self.tree.units_of(path), *post.units_of(path))]
        for path in (p for p in inputs if p not in self.missing):
            own = {u.object: u for u in (*self.readers.get(path, ()), *units)}
            if own:
                self.readers[path] = tuple(own[o] for o in sorted(own))
            else:
                self.same[path] = _SAME
        return found


def _needs_file(part: FilePatch) -> bool:
    return part.has_hunks and not (part.creates or part.source or part.kind is PathKind.IGNORED)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
