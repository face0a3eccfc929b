"""One translation unit of the kernel: its compile command as kbuild has it, its objects before and after a fix, its
module.

kbuild tells the command once (`.NAME.o.cmd`); later compiles run that command, objtool included, without make. Post is
compiled at the same path with the fix's files over the tree.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from suture.compile import complaint
from suture.compile.job import CompileFailed, RejectedUnit
from suture.compile.room import INSIDE, Room
from suture.elf.file import ElfFile
from suture.error import ExitCode, SutureError
from suture.make_kernel import overlay
from suture.make_kernel.image import module_name
from suture.make_kernel.prepare import ROOT, KernelTree
from suture.source import cache

SECTIONS = ("-ffunction-sections", "-fdata-sections")
_STORED = "-fno-ipa-reference-addressable"
_READ_KEYS = """\
/* SPDX-License-Identifier: GPL-2.0 */
/* A test of a static key reads the key: -1 while it is being switched on (static_key_count() in
 * kernel/jump_label.c). */
#include <linux/jump_label.h>
#undef static_branch_likely
#undef static_branch_unlikely
#define static_branch_likely(x) likely_notrace(READ_ONCE((x)->key.enabled.counter) != 0)
#define static_branch_unlikely(x) unlikely_notrace(READ_ONCE((x)->key.enabled.counter) != 0)
"""


class NotBuilt(SutureError):
    """The file is not part of this kernel."""

    exit_code = ExitCode.REFUSED


@dataclass(frozen=True)
class KernelUnit:
    """`command` compiles it in the tree's root; `modules` are what the kernel calls those that it goes into, none for
    vmlinux.

    `depends` are the files that it includes, relative to the tree's root; `made` holds those that kbuild made for it
    alone.
    """

    source: str
    command: str
    modules: tuple[str, ...]
    depends: tuple[str, ...]
    made: Path

    @property
    def object(self) -> str:
        return str(Path(self.source).with_suffix(".o"))


@dataclass(frozen=True)
class _Way:
    """How units are compiled beside their own commands: what is read before each, and flags."""

    head: str
    flags: tuple[str, ...]

    @property
    def key(self) -> str:
        return self.head + " ".join(self.flags[len(SECTIONS) :])


def units(tree: KernelTree, sources: Sequence[str]) -> dict[str, KernelUnit | NotBuilt]:
    """The units of C files, asked of kbuild once each. Their plain objects are kept too."""
    store = cache.root() / "object" / "kernel" / tree.key[:16]
    store.mkdir(parents=True, exist_ok=True)
    paths = {s: store / cache.safe(s) for s in sources}
    with cache.together([p for p in paths.values() if not p.exists()]):
        missing = [s for s, p in paths.items() if not p.exists()]
        if missing:
            cache.scratch(cache.root() / "run", lambda folder: _ask(tree, missing, folder, paths))
    return {s: _read(s, paths[s]) for s in sources}


def plain(tree: KernelTree, unit: KernelUnit) -> ElfFile:
    """The object as the archive compiled it."""
    return ElfFile.read(cache.root() / "object" / "kernel" / tree.key[:16] / cache.safe(unit.source) / "plain.o")


def _ask(tree: KernelTree, sources: Sequence[str], folder: Path, paths: Mapping[str, Path]) -> None:
    out, objects = f"{INSIDE}/out", [str(Path(s).with_suffix(".o")) for s in sources]
    wanted = " ".join(shlex.quote(o) for o in objects)
    # what kbuild can't make is told by its missing object
    script = [
        f"mkdir {out}/made; touch {out}/start; {tree.make_unit} --keep-going -j2 {wanted} >{out}/log 2>&1 || true\n"
    ]
    for number, obj in enumerate(objects):
        command = f"{Path(obj).parent}/.{Path(obj).name}.cmd"
        script.append(
            f"if [ -e {shlex.quote(obj)} ]; then cp {shlex.quote(obj)} {out}/{number}.o"
            f" && cp {shlex.quote(command)} {out}/{number}.cmd; fi\n"
        )
    script.append(f"find . -type f -name '*.[ch]' -newer {out}/start -exec cp --parents -t {out}/made {{}} +\n")
    tree.room.enter("".join(script), directory=ROOT, outputs=[(folder, out)])
    for number, source in enumerate(sources):
        _keep(tree, source, folder, number, paths[source])


def _keep(tree: KernelTree, source: str, folder: Path, number: int, place: Path) -> None:
    def make(target: Path) -> None:
        target.mkdir()
        command = folder / f"{number}.cmd"
        if not command.exists():
            # The archive compiled all that its configuration has, so what does not compile is not among it.
            (target / "unit.json").write_text("null")
            return
        text = command.read_text()
        line = re.search(r"^(?:saved)?cmd_\S+ := (.*)$", text, re.M)
        assert line is not None
        module = re.search(r"-DKBUILD_MODNAME='\"([^\"]*)\"'", line[1])
        is_module = " -DMODULE " in line[1]
        depends = sorted(set(re.findall(r"^\s+(?:\$\(wildcard )?([\w./-]+\.[ch])\)? \\?$", text, re.M)))
        facts = [
            line[1].replace("$(pound)", "#").replace("$$", "$"),
            module[1] if module and is_module else "",
            depends,
        ]
        (target / "unit.json").write_text(json.dumps(facts))
        for path in (p for p in (source, *depends) if not tree.has(p)):
            made = folder / "made" / path
            if cache.is_plain(made) and cache.is_inside(made, folder / "made"):
                (target / "made" / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(made, target / "made" / path)
        (folder / f"{number}.o").rename(target / "plain.o")

    cache.item(place, make)


def _read(source: str, place: Path) -> KernelUnit | NotBuilt:
    facts = json.loads((place / "unit.json").read_text())
    if facts is None:
        return NotBuilt(f"{source}: not compiled for this kernel", "leave it out with --only; nothing that runs has it")
    modules = tuple(module_name(n) for n in facts[1].split(":") if n)
    depends = tuple(posixpath.normpath(d.removeprefix(f"{ROOT}/")) for d in facts[2])
    return KernelUnit(source, facts[0], modules, depends, place / "made")


def compile_sections(
    tree: KernelTree,
    chosen: Sequence[KernelUnit],
    layer: Path | None,
    key: str,
    read_keys: bool = False,
    stored: bool = False,
) -> list[Path]:
    """Objects of units with a section for each function and datum, in parallel; `layer` holds the files over the tree,
    `key` is its key. They are kept by what each unit reads of the layer: of one that reads nothing of it, it is the
    object without the layer.

    With `read_keys`, static_branch_likely() and static_branch_unlikely() read their keys and need no jump label. With
    `stored`, every variable that some code uses has its place (delta/storage.py).
    Raises `CompileFailed` for all that fail; the objects of the others are kept.
    """
    store = cache.root() / "object" / "kernel-sections"
    room = tree.room if layer is None else tree.room.with_layer(layer)
    way = _Way(_READ_KEYS if read_keys else "", (*SECTIONS, _STORED) if stored else SECTIONS)
    contents = None if layer is None else overlay.Contents(tree, layer, key)
    keys = ["" if contents is None else contents.key((u.source, *u.depends)) for u in chosen]
    names = [
        hashlib.sha256(f"{tree.key}\0{k}\0{u.command}\0{way.key}".encode()).hexdigest()
        for k, u in zip(keys, chosen, strict=True)
    ]
    paths = [store / n[:2] / f"{n}.o" for n in names]
    with cache.together([p for p in paths if not p.exists()]):
        missing = [(u, p) for u, p in zip(chosen, paths, strict=True) if not p.exists()]
        if missing:
            cache.scratch(cache.root() / "run", lambda folder: _compile(room, missing, folder, way))
    return paths


def _in_parallel(count: int) -> str:
    """A script that runs `N.sh` of the bound folder for each number; what fails is told by a missing output."""
    out = f"{INSIDE}/out"
    one = f"sh {out}/$1.sh >{out}/$1.log 2>&1 || true"
    numbers = " ".join(str(n) for n in range(count))
    return f"printf '%s\\n' {numbers} | xargs -P 2 -n 1 sh -c {shlex.quote(one)} job\n"


def _compile(room: Room, missing: Sequence[tuple[KernelUnit, Path]], folder: Path, way: _Way) -> None:
    out = f"{INSIDE}/out"
    (folder / "head.h").write_text(way.head)
    more = f"-include {out}/head.h " if way.head else ""
    (folder / "made").mkdir()
    for unit, _ in missing:
        if unit.made.is_dir():
            shutil.copytree(unit.made, folder / "made", dirs_exist_ok=True)
    for number, (unit, _) in enumerate(missing):
        command = unit.command.replace(" -c -o ", f" {more}{' '.join(way.flags)} -c -o ", 1)
        (folder / f"{number}.sh").write_text(f"set -e\n{command}\ncp {shlex.quote(unit.object)} {out}/{number}.o\n")
    room.enter(f"cp -a {out}/made/. .\n{_in_parallel(len(missing))}", directory=ROOT, outputs=[(folder, out)])
    rejected: list[RejectedUnit] = []
    for number, (unit, path) in enumerate(missing):
        made = folder / f"{number}.o"
        if made.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made.rename(path)
        else:
            log = (folder / f"{number}.log").read_text(errors="replace")
            rejected.append(RejectedUnit(unit.source, unit.object, complaint.told(log, ROOT, (ROOT,))))
    if rejected:
        raise CompileFailed(rejected)
