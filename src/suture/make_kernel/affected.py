"""Which units a fix affects: C files that it changes, those that include them, and those that use what it changes in a
header.

Who may include a file tells the tree's include graph, who does the compiler (`suture.make_kernel.include`). All that
include a C file are taken. Of those that include a header, the units that write a name which the change touches,
directly or through macros and inline functions of any header (`suture.make_kernel.declaration`); more than a person can
look over are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from suture.command import run
from suture.error import Refused
from suture.make_kernel import built, include, unit
from suture.make_kernel.built import KernelBuild
from suture.make_kernel.declaration import Touched, argument, changed, depending, member, pasted, pasted_from, writes
from suture.make_kernel.include import Includes
from suture.make_kernel.prepare import ROOT, KernelTree
from suture.make_kernel.unit import KernelUnit, NotBuilt
from suture.progress import Progress, silent
from suture.source import cache
from suture.source.fix import FilePatch, Fix

_MOST = 120
_FEW = 400  # units whose includes are all asked for, to search no other files
_MOST_ASKED = 3000  # units that the compiler is asked of, 40 ms each
_TEXTS = ("Documentation/", "LICENSES/", "debian/", "tools/", "samples/", "scripts/", "usr/")
_TEXT_ENDS = (
    ".rst",
    ".txt",
    ".yaml",
    ".yml",
    ".md",
    ".dts",
    ".dtsi",
    ".json",
    ".gitignore",
    ".mailmap",
    ".cocci",
    ".config",
)
_RULES = re.compile(r"(?:.*/)?(?:Makefile|Kbuild|Kconfig)[^/]*$")
_ARCH = re.compile(r"arch/(?!x86/)")
_HAS_RUN = ("arch/x86/boot/", "drivers/firmware/efi/libstub/")
"""What runs before the kernel does, and not again."""
_SEARCHED = ("arch/x86", "block", "certs", "crypto", "drivers", "fs", "include", "init", "io_uring",
             "ipc", "kernel", "lib", "mm",
             "net", "security", "sound", "virt", "tools/lib/bpf")  # fmt: skip


@dataclass(frozen=True)
class Readers:
    """Who reads a changed file. `units` are sources of units that are compiled before and after; `outside` compiles of
    the file that run outside the kernel's text, and are not; `reason` tells why no unit reads it, or why it is
    `left_out`.
    """

    units: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    reason: str = ""
    is_rule: bool = False
    left_out: bool = False


ONLY_MODE = "only its mode changes"


@dataclass(frozen=True)
class KernelAffected:
    """What is compiled, and who reads each changed file. All units of the kernel that write one of `names` are
    compiled."""

    units: tuple[KernelUnit, ...] = ()
    readers: Mapping[str, Readers] = field(default_factory=dict)
    names: frozenset[str] = frozenset()


def units(tree: KernelTree, fixes: Sequence[Fix], layer: Path, progress: Progress = silent) -> KernelAffected:
    """Units in the order of their paths. `layer` holds the files of the fixes. Raises `Refused`."""
    parts = {p.path: p for p in sorted((p for f in fixes for p in f.files), key=lambda p: p.changes)}
    kernel, includes = built.read(tree), include.read(tree)
    search = _KernelSearch(tree, kernel, includes, layer / ROOT.lstrip("/"))
    found = {path: search.readers(part) for path, part in parts.items()}
    found |= {p.path: search.left_out(p) for f in fixes for p in f.left_out if p.path not in found}
    sources = sorted({s for r in found.values() for s in r.units})
    progress(f"asking kbuild for {len(sources)} commands")
    known = unit.units(tree, sources)
    lost = [s for s, u in known.items() if isinstance(u, NotBuilt)]
    if lost:
        raise Refused(f"{lost[0]}: kbuild lists it and does not compile it", "report this version of the kernel")
    return KernelAffected(
        tuple(u for u in known.values() if isinstance(u, KernelUnit)), found, frozenset(search.followed)
    )


class _KernelSearch:
    def __init__(self, tree: KernelTree, kernel: KernelBuild, includes: Includes, new: Path) -> None:
        self.tree, self.kernel, self.includes, self.new = tree, kernel, includes, new
        self.followed: set[str] = set()
        """Names of headers whose users have all been found."""

    def readers(self, part: FilePatch) -> Readers:
        path = part.path
        if not part.changes:
            return Readers(reason=ONLY_MODE)
        may = self.includes.units([path, part.source or path], self.kernel.compiles.keys())
        if may and (part.deletes or part.is_binary or part.source):
            what = "deletes" if part.deletes else "moves or copies" if part.source else "replaces the binary file"
            raise Refused(
                f"the fix {what} {path}; only changed text of files that stay can be patched",
                "name the other files with --only",
            )
        if part.is_link and not path.startswith(_TEXTS):
            raise Refused(f"{path}: the fix makes or changes a symbolic link", "name the other files with --only")
        if _RULES.match(path):
            if _ARCH.match(path) or path.startswith(_TEXTS):
                return Readers(reason="rules of what is no part of this kernel")
            return Readers(is_rule=True)
        if not may and part.creates and path.endswith(".c") and self._is_kernels(path):
            raise Refused(f"{path}: a new file", "put its functions into a file that exists, in the fix")
        if not may and part.creates and path.endswith(".h"):
            return Readers(reason="a new header: those that include it are changed by the fix too")
        if not may:
            return Readers(reason=self._why_unread(path))
        if path.endswith((".S", ".s")):
            raise Refused(f"{path}: changed assembly", "leave it out with --only, if the rest stands on its own")
        if path.endswith(".h"):
            return self._header(part, may)
        own = {path} & may
        return self._sorted(path, own | self._including(path, may - own))

    def left_out(self, part: FilePatch) -> Readers:
        """Of a file that a person leaves out: whether the kernel lacks its change."""
        path = part.path
        is_text = (
            path.startswith(_TEXTS) or path.endswith(_TEXT_ENDS) or "." not in Path(path).name or _ARCH.match(path)
        )
        if not self.includes.units([path], self.kernel.compiles.keys()) and is_text:
            return Readers(reason="no unit reads it")
        return Readers(reason="left out with --only", left_out=True)

    def _is_kernels(self, path: str) -> bool:
        return not path.startswith(_TEXTS) and not _ARCH.match(path)

    def _why_unread(self, path: str) -> str:
        if path.endswith((".c", ".h", ".S")):
            return "not part of this kernel: none of its units is or includes it"
        if path.startswith(_TEXTS) or path.endswith(_TEXT_ENDS) or "." not in Path(path).name or _ARCH.match(path):
            return "no unit reads it"
        raise Refused(f"{path}: neither C source nor header", "leave it out with --only, if the rest stands on its own")

    def _including(self, path: str, sources: Collection[str]) -> set[str]:
        """Those of some units that do include a file; what the compiler can't tell counts as included."""
        if len(sources) > _MOST_ASKED:
            raise Refused(
                f"{path}: {len(sources)} units may be affected by what changes in it, more than {_MOST_ASKED}",
                "change the fix so that new names are used",
            )
        real = include.real(self.tree, [self.kernel.compiles[s][0] for s in sorted(sources)])
        return {s for s, files in real.items() if files is None or path in files}

    def _sorted(self, path: str, sources: Collection[str]) -> Readers:
        if len(sources) > _MOST:
            raise Refused(
                f"{path}: {len(sources)} files use what changes in it, more than {_MOST}",
                "say with --only which files' copies of it matter, or change the fix so that new names are used",
            )
        inside = {s for s in sources if self.kernel.kernel(s)}
        others = {c.object for s in sources for c in self.kernel.compiles[s] if not c.is_kernel or not s.endswith(".c")}
        outside = sorted(o for o in others if not o.startswith(_HAS_RUN))
        reason = "" if inside or outside else "runs before the kernel does" if others else "no unit writes what changes"
        return Readers(tuple(sorted(inside)), tuple(outside), reason)

    def _header(self, part: FilePatch, may: set[str]) -> Readers:
        path = part.path
        old = self.tree.files / path
        before, after = (x.read_text(errors="replace") if x.exists() else "" for x in (old, self.new / path))
        if len(may) <= _FEW:
            may = self._including(path, may)
        near = (self._read_by(may) if len(may) <= _FEW else None) or self.includes.included(may)
        touched, parts, everyone, layouts = self._closed(path, changed(before, after), near)
        if path in everyone:
            return self._sorted(path, self._including(path, may))
        assembly = {s for s in may if not s.endswith(".c")}
        affected = (self._writing(touched, parts, may) | self.includes.units(everyone, may)) & may - assembly
        affected |= {s for s in may - assembly if not self.tree.has(s)}  # what is generated can't be searched
        affected |= {s for s in assembly if self.tree.has(s) and writes(self._text(s), touched, parts)}
        found = self._including(path, affected)
        for header in layouts:
            found |= self._witness(path, header, may - assembly, found)
        self.followed |= touched
        return self._sorted(path, found)

    def _read_by(self, sources: Collection[str]) -> set[str] | None:
        """All files that some units include; None when the compiler can't tell."""
        real = include.real(self.tree, [self.kernel.compiles[s][0] for s in sorted(sources)])
        found: set[str] = set(sources)
        for files in real.values():
            if files is None:
                return None
            found |= files
        return found

    def _closed(
        self, path: str, first: Touched, near: set[str]
    ) -> tuple[frozenset[str], frozenset[str], set[str], set[str]]:
        """All names that depend on a change, words that macros paste to one, headers that make everyone depend who
        includes them, and those with types that may. `near` are the only files that count: what the units that may be
        affected may include.
        """
        everyone = {path} if first.everyone else set()
        layouts = {path} if first.layouts else set()
        names = fresh = first.names
        while fresh:
            more, parts = frozenset[str](), pasted_from(fresh, *self._pasted)
            for file in self._naming(fresh, parts, near):
                is_included = file in self.includes.users
                if not is_included or file in everyone or file not in near:
                    continue
                if not file.endswith(".h"):
                    everyone.add(file)
                    continue
                for text in self._texts(file):
                    said = depending(text, fresh, parts)
                    more |= said.names
                    everyone |= {file} if said.everyone else set()
                    layouts |= {file} if said.layouts else set()
            fresh = more - names
            names |= fresh
            if len(names) > 2000:
                raise Refused(
                    f"{path}: very much depends on what changes in it", "change the fix so that new names are used"
                )
        return names, pasted_from(names, *self._pasted), everyone, layouts

    def _text(self, path: str) -> str:
        return (self.tree.files / path).read_text(errors="replace")

    def _texts(self, path: str) -> list[str]:
        places = [x / path for x in (self.tree.files, self.new, self.tree.room.layers[0] / ROOT.lstrip("/"))]
        return [x.read_text(errors="replace") for x in places if x.is_file()]

    def _naming(self, names: Collection[str], parts: Collection[str], near: Collection[str]) -> set[str]:
        """Those of the files `near` that write one of some names, or have one of the parts as an argument."""
        own = self.tree.room.layers[0] / ROOT.lstrip("/")
        members = {n for n in names if n.startswith(".")}
        plain = sorted(set(names) - members)
        searches = [(["--fixed-strings", "--word-regexp"], "\n".join(plain))] if plain else []
        searches += [(["--extended-regexp"], member(members))] if members else []
        searches += [(["--extended-regexp"], argument(parts))] if parts else []
        found: set[str] = set()
        for options, wanted in searches:
            for root in (self.tree.files, own):
                for some in _batches(sorted(near)):
                    said = run(
                        ["grep", "--text", "--files-with-matches", "--no-messages", *options, "--file=-", *some],
                        cwd=root, stdin=wanted.encode(), accept=frozenset({0, 1, 2}),
                    )  # fmt: skip
                    found |= {p for p in said.split("\n") if p}
        return found

    @cached_property
    def _folders(self) -> tuple[str, ...]:
        """Those of the kernel's folders that this version has."""
        return tuple(x for x in _SEARCHED if (self.tree.files / x).is_dir())

    @cached_property
    def _pasted(self) -> tuple[frozenset[str], frozenset[str]]:
        """What stands before and behind `##` in the tree's macros."""
        place = cache.root() / "object" / "kernel" / self.tree.key[:16] / "pasted-2.json"

        def make(path: Path) -> None:
            options = ["--recursive", "--text", "--files-with-matches", "--fixed-strings", "--include=*.[ch]"]
            said = run(["grep", *options, "##", *self._folders], cwd=self.tree.files, accept=frozenset({0, 1}))
            parts = [pasted(self._text(x)) for x in said.split("\n") if x]
            path.write_text(json.dumps([sorted({x for p in parts for x in p[side]}) for side in (0, 1)]))

        before, behind = json.loads(cache.item(place, make).read_text())
        return frozenset(before), frozenset(behind)

    def _writing(self, names: Collection[str], parts: Collection[str], near: Collection[str]) -> set[str]:
        return {p for p in self._naming(names, parts, near) if p.endswith(".c")}

    def _witness(self, path: str, header: str, may: set[str], found: set[str]) -> set[str]:
        """One unit that has the types of `header`, whose debug information tells whether their layout changes."""
        wanted = self.includes.units([header], self.kernel.compiles.keys()) & may
        folder = Path(path).parts
        order = sorted(
            (s for s in wanted if self.kernel.kernel(s)),
            key=lambda s: (s not in found, -sum(a == b for a, b in zip(Path(s).parts, folder, strict=False)), s),
        )
        for at in range(0, min(len(order), 64), 8):
            some = order[at : at + 8]
            real = include.real(self.tree, [self.kernel.compiles[s][0] for s in some])
            both = [s for s in some if (files := real[s]) is not None and {path, header} <= files]
            if both:
                return {both[0]}
        return set()


def _batches(paths: Sequence[str]) -> Iterator[list[str]]:
    for at in range(0, len(paths), 1000):
        yield list(paths[at : at + 1000])


def rules_are_the_same(tree: KernelTree, layer: Path) -> bool:
    """Whether changed build rules compile the same objects with the same flags, and leave the configuration as it
    is."""
    said = tree.room.with_layer(layer).enter(
        f"cp .config /tmp/before; {tree.make} olddefconfig >/dev/null; cmp -s .config /tmp/before || echo differs",
        directory=ROOT,
    )
    return not said.strip() and set(built.ask(tree, layer)) == {
        c for cs in built.read(tree).compiles.values() for c in cs
    }
