"""What a kernel is built of: each compile of the archive's configuration, as kbuild would run it.

`make -n` tells all of them in under a minute without compiling anything: object, source, flags, and the modules that
the object goes into. A unit that is not among them runs nowhere. What is compiled for another machine model than the
kernel's own (the vdso, the EFI stub, purgatory, real mode) runs outside the kernel's text.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from suture.compile.room import INSIDE
from suture.error import Refused
from suture.make_kernel.image import module_name
from suture.make_kernel.prepare import ROOT, KernelTree
from suture.source import cache

_COMPILE = re.compile(r"(?:^|; )(\S*gcc\S* (?:[^;]*? )?)-c -o (\S+\.o) (\S+\.[cS])(?= |;|$)")
_OWN = re.compile(r" -Wp,-MMD,\S+| -D_?_?KBUILD_MOD(?:FILE|NAME)=\S+| -DKBUILD_BASENAME=\S+")
_NAME = re.compile(r"-DKBUILD_MODNAME='\"([^\"]*)\"'")
_KERNEL = "-mcmodel=kernel"
_FEWEST = 100  # objects of the smallest kernel that boots


@dataclass(frozen=True)
class Compile:
    """One object. `modules` are the kernel's names of those that it goes into, none for vmlinux; `flags` begin with the
    compiler."""

    source: str
    object: str
    modules: tuple[str, ...]
    flags: str

    @property
    def is_kernel(self) -> bool:
        """Whether it runs in the kernel's own text, not in user space or before the kernel does."""
        return re.findall(r"-mcmodel=\w+", self.flags)[-1:] == [_KERNEL]


@dataclass(frozen=True)
class KernelBuild:
    """All compiles of a kernel by source."""

    compiles: Mapping[str, tuple[Compile, ...]]

    def kernel(self, source: str) -> Compile | None:
        """The compile of a C file that runs in the kernel."""
        return next((c for c in self.compiles.get(source, ()) if c.is_kernel and source.endswith(".c")), None)


def read(tree: KernelTree) -> KernelBuild:
    """Asked of kbuild once per tree. Raises `CommandFailed`, and `Refused` when kbuild tells too little to be the
    whole."""
    place = cache.root() / "object" / "kernel" / tree.key[:16] / "built.json"

    def make(path: Path) -> None:
        found = ask(tree)
        if len(found) < _FEWEST:
            raise Refused(
                f"kbuild names {len(found)} objects of linux {tree.target.version}", "report this version of the kernel"
            )
        numbers: dict[str, int] = {}
        rows = [[c.source, c.object, c.modules, numbers.setdefault(c.flags, len(numbers))] for c in found]
        path.write_text(json.dumps([list(numbers), rows]))

    place.parent.mkdir(parents=True, exist_ok=True)
    flags, rows = json.loads(cache.item(place, make).read_text())
    compiles: dict[str, list[Compile]] = defaultdict(list)
    for source, target, modules, number in rows:
        compiles[source].append(Compile(source, target, tuple(modules), flags[number]))
    return KernelBuild({s: tuple(c) for s, c in compiles.items()})


def ask(tree: KernelTree, layer: Path | None = None) -> list[Compile]:
    """The compiles that kbuild would run, in its order, with the files of a layer over the tree."""
    room = tree.room if layer is None else tree.room.with_layer(layer)
    with cache.scratch_folder(cache.root() / "run") as folder:
        out = f"{INSIDE}/out"
        # a dry run misses what only a build leaves behind; the key for signing modules is none of the source
        script = (
            f"mkdir -p output; touch output/signing_key.pem; {tree.make} olddefconfig >/dev/null\n"
            f"{tree.make} -n V=1 --keep-going vmlinux modules >{out}/log 2>{out}/errors || true\n"
        )
        room.enter(script, directory=ROOT, outputs=[(folder, out)])
        return parse((folder / "log").read_text(errors="replace"))


def parse(log: str) -> list[Compile]:
    """The compiles in what `make -n V=1` prints, those of programs for the building machine left out."""
    found: dict[str, Compile] = {}
    for line in log.split("\n"):
        said = _COMPILE.search(line)
        name = _NAME.search(said[1]) if said else None
        if said is None or (name is None and said[3].endswith(".c")):
            continue
        is_module = name is not None and " -DMODULE " in said[1]
        modules = tuple(module_name(n) for n in name[1].split(":")) if name and is_module else ()
        source, target = (x.removeprefix("./") for x in (said[3], said[2]))
        found[target] = Compile(source, target, modules, _OWN.sub("", said[1]).strip())
    return list(found.values())
