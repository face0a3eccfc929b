"""Making a kernel patch: a request, the units that its fixes change, the match, the selection, the module."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import suture
from suture.delta.atom import AtomKind
from suture.delta.layout import LayoutChange, changed_layouts
from suture.elf.file import ElfFile
from suture.error import Refused
from suture.kernel import affected, emit, module, overlay, stub, unit
from suture.kernel.change import KernelChange, OtherCompiles
from suture.kernel.image import VMLINUX, Image, read_module, read_vmlinux
from suture.kernel.line import Lines
from suture.kernel.manifest import KernelFunction, KernelManifest, KernelTarget, identity, parse_patch
from suture.kernel.match import match
from suture.kernel.object import KernelObject
from suture.kernel.prepare import KernelTree
from suture.kernel.refusal import KernelRefused
from suture.kernel.request import KernelReady
from suture.kernel.resolve import Exported, Exports, Internal, Livepatched, Resolver
from suture.kernel.select import Selection, select
from suture.kernel.special_section import SpecialSections
from suture.match.proof import ProvenSymbol
from suture.patch.manifest import Fix, RefusedFunction
from suture.progress import Progress, silent


@dataclass(frozen=True)
class KernelMaking:
    """A patch module, its manifest, and how long each step took (seconds)."""

    data: bytes
    manifest: KernelManifest
    seconds: Mapping[str, float]

    @property
    def id(self) -> str:
        return identity(self.data)


def make(ready: KernelReady, progress: Progress = silent) -> KernelMaking:
    """Make the one module that holds all of a request's fixes.

    Raises `KernelRefused` with every reason, `NoMatch`, `CompileFailed`, and what applying the fixes raises.
    """
    clock = _Clock()
    tree = ready.tree
    for fix in ready.fixes:
        overlay.refuse_kinds(fix)
    layer, key = overlay.layer(tree, ready.fixes)
    chosen, notes = affected.units(tree, ready.fixes, progress)
    clock.step("units")
    progress(f"compiling {len(chosen)} file{'s' * (len(chosen) != 1)} before and after the fix")
    pre = unit.compile_sections(tree, chosen, None, "")
    clock.step("compile pre")
    post = unit.compile_sections(tree, chosen, layer, key)
    clock.step("compile post")
    progress("matching against the running image")
    changes, layouts, lines, more = _changes(tree, chosen, pre, post)
    clock.step("match")
    if not changes:
        why = "; ".join((*notes, *more)) or "it changes nothing"
        raise Refused(
            f"{ready.name}: there is nothing to replace in the running kernel: {why}", "check that the fix is for code"
        )
    exports = Exports.read(tree.target.symvers)
    selection = select(changes, Resolver(changes, exports), layouts, lines)
    if selection.keys:
        progress("compiling once more, with static keys that are read")
        changes, lines, said = _read_keys(tree, chosen, (layer, key), changes, lines, selection.keys)
        selection = select(changes, Resolver(changes, exports), layouts, lines)
        more = (*more, *said)
        clock.step("read keys")
    if selection.refused:
        raise KernelRefused(ready.name, tuple(selection.refused))
    clock.step("select")
    progress("linking the module")
    made = _module(ready, changes, selection, exports, (*notes, *more))
    clock.step("link")
    return replace(made, seconds=clock.seconds)


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._at = time.monotonic()

    def step(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = now - self._at
        self._at = now


def _changes(
    tree: KernelTree, chosen: Sequence[unit.KernelUnit], pre: Sequence[Path], post: Sequence[Path]
) -> tuple[tuple[KernelChange, ...], dict[int, tuple[LayoutChange, ...]], dict[int, Lines], tuple[str, ...]]:
    """The units that the fix really changes, matched."""
    images: dict[str, Image] = {}
    changes: list[KernelChange] = []
    layouts: dict[int, tuple[LayoutChange, ...]] = {}
    lines: dict[int, Lines] = {}
    notes: list[str] = []
    for one, before, after in zip(chosen, pre, post, strict=True):
        old, new = KernelObject(ElfFile.read(before)), KernelObject(ElfFile.read(after))
        image = image_of(tree, one, images)
        if image is None or not any(n in image.names for n in old.functions):
            notes.append(f"{one.source} is not part of this kernel")
            continue
        found = match(one.source, unit.plain(tree, one), old, image)
        change = KernelChange(one.source, old, new, image, found, SpecialSections(old), SpecialSections(new))
        if change.difference.is_empty:
            notes.append(f"{one.source}: no code or data of it changes")
            continue
        number = len(changes)
        changes.append(change)
        layouts[number] = changed_layouts(old.elf, new.elf, change.replaced)
        lines[number] = Lines(new.elf)
    return tuple(changes), layouts, lines, tuple(notes)


def _read_keys(
    tree: KernelTree,
    chosen: Sequence[unit.KernelUnit],
    layer: tuple[Path, str],
    changes: tuple[KernelChange, ...],
    lines: Mapping[int, Lines],
    wanting: Mapping[int, str],
) -> tuple[tuple[KernelChange, ...], dict[int, Lines], list[str]]:
    """Changes with new code that reads static keys, for units that want jump labels of modules: those can't be switched there."""
    made, found, notes = list(changes), dict(lines), []
    for number, name in wanting.items():
        change = changes[number]
        one = [next(u for u in chosen if u.source == change.source)]
        before, after = (
            unit.compile_sections(tree, one, files, key, read_keys=True)[0] for files, key in ((None, ""), layer)
        )
        pre, post = KernelObject(ElfFile.read(before)), KernelObject(ElfFile.read(after))
        made[number] = replace(
            change, post=post, special_post=SpecialSections(post), other=OtherCompiles(change.difference, pre)
        )
        found[number] = Lines(post.elf)
        notes.append(f"{change.source}: new code reads static keys, since it can't have the jump label of {name}")
    return tuple(made), found, notes


def image_of(tree: KernelTree, one: unit.KernelUnit, images: dict[str, Image]) -> Image | None:
    """What runs of a unit, read once into `images`; None when the archive has no file of its module."""
    name = one.module or VMLINUX
    if name not in images:
        if name == VMLINUX:
            images[name] = read_vmlinux(tree.target.vmlinuz)
        else:
            path = tree.target.module(name)
            if path is None:
                return None
            images[name] = read_module(path)
    return images[name]


def _module(
    ready: KernelReady,
    changes: tuple[KernelChange, ...],
    selection: Selection,
    exports: Exports,
    notes: tuple[str, ...],
) -> KernelMaking:
    vmlinux = read_vmlinux(ready.tree.target.vmlinuz)
    objects: dict[str, list[stub.ReplacedSymbol]] = {}
    for r in sorted(
        selection.replaced, key=lambda r: (changes[r.unit].image.name != VMLINUX, changes[r.unit].image.name)
    ):
        rows = objects.setdefault(changes[r.unit].image.name, [])
        rows.append(stub.ReplacedSymbol(r.old_name, emit.new_name(r.name, r.unit), r.position))
    resolved = list(selection.resolved.values())
    exported = {r.name: r.namespace for r in resolved if isinstance(r, Exported)}
    manifest = KernelManifest(
        module=_name(ready),
        target=KernelTarget(ready.tree.target.release, ready.tree.target.version, vmlinux.build_id),
        fixes=tuple(Fix(f.name, f.cves, f.sha256) for f in ready.fixes),
        functions=tuple(
            KernelFunction(
                changes[r.unit].image.name, r.old_name, r.position, r.address, r.size, changes[r.unit].source
            )
            for r in selection.replaced
        ),
        effective=ready.effective,
        replace=ready.replace,
        keep=_keep(changes, selection),
        notes=(*notes, *selection.notes),
        objects={c.image.name: c.image.build_id for c in changes if c.image.name != VMLINUX},
        units=tuple(c.match.unit for c in changes),
        symbols=_proof(changes, selection),
        toolchain={"compiler": ready.compiler, "suture": suture.__version__},
        request=dict(ready.facts),
    )
    parameters = {
        "patch": manifest.module,
        "target": manifest.target.version,
        "fixes": ",".join(f.name for f in manifest.fixes),
        "cves": ",".join(manifest.cves),
        "effective": manifest.effective,
        "keep": "yes" if manifest.keep else "",
    }
    callbacks = stub.callbacks_in(ready.callbacks)
    if ready.callbacks and not callbacks:
        raise Refused(
            "the callbacks file defines no callback",
            "define one of suture_pre_patch, suture_post_patch, suture_pre_unpatch, suture_post_unpatch (docs/kernel.md)",
        )
    namespaces = sorted({n for n in exported.values() if n})
    main = stub.main_c(objects, parameters, namespaces, callbacks, ready.replace)
    linked = module.link(ready.tree, manifest.module, main, emit.emit(changes, selection), ready.callbacks)
    allowed = frozenset(n for n, (owner, _) in exports.owners.items() if owner == VMLINUX)
    data = module.finish(linked, manifest.to_json(), allowed)
    parse_patch(data, manifest.module)  # raises when it is none that may be loaded
    return KernelMaking(data, manifest, {})


def _name(ready: KernelReady) -> str:
    """A module's name, at most 55 characters (MODULE_NAME_LEN), the same for the same request."""
    text = "\0".join(x for k in sorted(ready.facts) for x in (k, *ready.facts[k]))
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]
    words = re.sub(r"\W+", "_", ready.name).strip("_").lower()
    return f"suture_{words[:38].strip('_')}_{digest}"


def _keep(changes: Sequence[KernelChange], selection: Selection) -> tuple[str, ...]:
    """New code or data whose address may be stored where it outlives the patch: the module must then stay loaded."""
    found: set[str] = set()
    for (number, index, ref), target in selection.resolved.items():
        if not isinstance(target, Internal):
            continue
        change = changes[number]
        source, aimed = change.post.atoms[index], changes[target.unit].post.atoms[target.atom]
        if aimed.kind is AtomKind.CODE:
            own = change.post.function_of.get(index)
            if own is not None and aimed.index in [a.index for a in own.atoms] and target.unit == number:
                continue
            if not source.is_branch(ref):
                found.add(aimed.label)
        elif aimed.kind is AtomKind.CONST and aimed.references and not aimed.is_pool:
            found.add(aimed.label)
    return tuple(f"the address of {name} may be kept by the kernel" for name in sorted(found))


def _proof(changes: Sequence[KernelChange], selection: Selection) -> tuple[ProvenSymbol, ...]:
    """Livepatch's symbols with the places of running code that imply their addresses."""
    rows: dict[str, ProvenSymbol] = {}
    for (number, _, ref), target in selection.resolved.items():
        if not isinstance(target, Livepatched) or target.symbol in rows:
            continue
        change = changes[number]
        what: int | str = ref.symbol
        if ref.section is not None:
            what = change.pairs.pre_of[ref.section]
        address = change.match.address_of(what)
        places = change.match.places(what)
        if address is None:
            known = change.image.names.get(target.name, (0,))
            address, places = known[0], (f"the only {target.name} of {target.object}",)
        rows[target.symbol] = ProvenSymbol(target.symbol, address, places[:4])
    return tuple(rows[n] for n in sorted(rows))


def refusals(error: KernelRefused) -> tuple[RefusedFunction, ...]:
    """All reasons of a refusal."""
    return error.refused
