"""Every function of a sample of the kernel's files: is it found in the archive's image, and could it be replaced?

No fix is needed to ask: each function in turn is treated as changed, and the reasons that `suture make` would give are
counted. The sample is a rule: C files of the folders of bench/kernel_coverage and of arch/x86, those that this kernel
has compiled, in the order of the SHA-256 of their paths.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from facts import RESULTS, Record, Start
from kernel_coverage import FOLDERS, FOLDERS_OF_DRIVERS
from kernel_page import DOCUMENT, document, swept

from suture.delta.compare import Difference
from suture.delta.layout import LayoutChange
from suture.elf.file import ElfFile
from suture.error import SutureError
from suture.make_kernel import unit
from suture.make_kernel.change import KernelChange, OtherCompiles
from suture.make_kernel.image import VMLINUX
from suture.make_kernel.line import DeclarationLines
from suture.make_kernel.make import Images
from suture.make_kernel.match import match
from suture.make_kernel.object import KernelObject, runs_once
from suture.make_kernel.prepare import KernelTree, prepare
from suture.make_kernel.resolve import Exports, KernelResolver
from suture.make_kernel.select import select
from suture.make_kernel.special_section import SpecialSections
from suture.make_kernel.target import find
from suture.match.match import NoMatch

_ASKED = 40  # files that kbuild is asked for at once
_NONE: frozenset[str] = frozenset()
_IMAGES: dict[str, Images] = {}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/kernel_sweep", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100, help="how many files (100)")
    parser.add_argument("--version", default="6.1.176-1", help="the kernel")
    args = parser.parse_args(words)
    start = Start.now("kernel_sweep", words)
    tree = prepare(find(args.version))
    rows: list[dict[str, Any]] = []
    for one in _sample(tree):
        if len(rows) == args.count:
            break
        row = _tried(tree, one)
        if row is not None:
            rows.append(row)
            print(f"{len(rows)} {_line(row)}", file=sys.stderr, flush=True)
    start.finish({"version": args.version, "rows": rows}).write(RESULTS)
    DOCUMENT.write_text(document(Record.read(RESULTS / "kernel_coverage.json")))
    print(_line(swept(rows)))
    return 0


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['source']}: {row['functions']} functions, {row['found']} found, {row['replaceable']} replaceable "
        f"{row['reasons']}"
    )


def _sample(tree: KernelTree) -> Iterator[unit.KernelUnit]:
    folders = (*FOLDERS, *FOLDERS_OF_DRIVERS, "arch/x86/")
    paths = [str(p.relative_to(tree.files)) for f in folders for p in (tree.files / f).rglob("*.c")]
    paths.sort(key=lambda p: hashlib.sha256(p.encode()).hexdigest())
    for first in range(0, len(paths), _ASKED):
        for one in unit.units(tree, paths[first : first + _ASKED]).values():
            if not isinstance(one, unit.NotBuilt):
                yield one


def _tried(tree: KernelTree, one: unit.KernelUnit) -> dict[str, Any] | None:
    """What came of one file; None when kbuild compiles it on request and this kernel has not got it."""
    row: dict[str, Any] = {"source": one.source, "functions": 0, "found": 0, "replaceable": 0, "reasons": {}}
    try:
        (path,) = unit.compile_sections(tree, (one,), None, "")
    except SutureError as error:
        return {**row, "reasons": {error.what.replace("\n", "; ")[:200]: 1}}
    obj = KernelObject(ElfFile.read(path))
    names = [n for n, f in obj.functions.items() if not runs_once(f.hot.section)]
    row["functions"] = len(names)
    images = _IMAGES.setdefault(tree.key, Images(tree))
    image = images.get((one.modules or (VMLINUX,))[0])
    if image is None or sum(n in image.names for n in names) <= len(names) / 2:
        return None
    try:
        found = match(one.source, unit.plain(tree, one), obj, image)
    except NoMatch as error:
        return {**row, "reasons": {error.what.replace("\n", "; ")[:200]: len(names)}}
    special = SpecialSections(obj)
    exports, lines = Exports.read(tree.target.symvers), {0: DeclarationLines(obj.elf)}
    reasons: Counter[str] = Counter()
    for name in names:
        change = KernelChange(one.source, obj, obj, image, found, special, special)
        vars(change)["difference"] = Difference(frozenset({name}), _NONE, _NONE, _NONE, _NONE)
        chosen = select((change,), KernelResolver((change,), exports, images.get), {}, lines)
        if chosen.keys:
            chosen = select(*_reading(tree, one, change, name, exports))
        refused = chosen.refused
        row["found"] += name in found.addresses
        row["replaceable"] += not refused
        reasons.update({_kind(r.reason) for r in refused})
    return {**row, "reasons": dict(reasons)}


def _reading(
    tree: KernelTree, one: unit.KernelUnit, change: KernelChange, name: str, exports: Exports
) -> tuple[tuple[KernelChange], KernelResolver, dict[int, tuple[LayoutChange, ...]], dict[int, DeclarationLines]]:
    """The same with new code that reads static keys, as `suture make` does it."""
    (path,) = unit.compile_sections(tree, (one,), None, "", read_keys=True)
    obj = KernelObject(ElfFile.read(path))
    again = replace(change, post=obj, special_post=SpecialSections(obj), other=OtherCompiles(change.difference, obj))
    has = frozenset({name})
    vars(again)["difference"] = Difference(has & obj.functions.keys(), _NONE, _NONE, _NONE, _NONE)
    vars(again)["lost"] = has - obj.functions.keys()
    return (again,), KernelResolver((again,), exports, _IMAGES[tree.key].get), {}, {0: DeclarationLines(obj.elf)}


def _kind(reason: str) -> str:
    """A reason without the names in it."""
    return re.sub(r"\b(called|variable|label|call|be|where|to) [\w.]*[_\d][\w.]*", r"\1 *", reason)


if __name__ == "__main__":
    sys.exit(main())
