"""Making a kernel patch: a request, the units that its fixes change, the match, the selection, the module."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import suture
from suture.compile.job import CompileFailed
from suture.delta.atom import AtomKind
from suture.delta.layout import LayoutChange, changed_layouts
from suture.delta.ledger import Ledger
from suture.delta.renaming import is_renaming
from suture.delta.review import Reviewed, reviews
from suture.elf.file import ElfFile
from suture.error import Refused
from suture.kernel.attempts import WIRE, wire_text
from suture.kernel.manifest import KernelFunction, KernelManifest, KernelTarget, identity, parse_patch
from suture.make.account import fact_of
from suture.make_kernel import account, affected, emit, module, overlay, registration, stub, unit
from suture.make_kernel.change import KernelChange, OtherCompiles, compared
from suture.make_kernel.image import VMLINUX, KernelImage, read_module, read_vmlinux
from suture.make_kernel.line import DeclarationLines
from suture.make_kernel.match import match
from suture.make_kernel.object import KernelObject
from suture.make_kernel.prepare import ROOT, KernelTree
from suture.make_kernel.refusal import KernelRefused, NoChange, NoFunctionChanges
from suture.make_kernel.request import KernelReady
from suture.make_kernel.resolve import Exported, Exports, Internal, KernelResolver, Livepatched
from suture.make_kernel.select import KernelSelection, select
from suture.make_kernel.special_section import SpecialSections
from suture.make_kernel.storage import with_storage
from suture.make_kernel.wiring import NO_COUNTERS, Counters, KernelWiring, WiredKernel
from suture.match.proof import ProvenSymbol
from suture.number import BuildId, Vaddr
from suture.patch.manifest import RefusedFunction
from suture.patch.seal import seal
from suture.patch.tripwire import UNWIRED, WithoutTripwire
from suture.progress import Clock, Progress, silent
from suture.refusal import RESTART_KERNEL


@dataclass(frozen=True)
class KernelMaking:
    """A patch module, its manifest, and how long each step took (seconds)."""

    data: bytes
    manifest: KernelManifest
    seconds: Mapping[str, float]

    @property
    def id(self) -> str:
        return identity(self.data)


@dataclass(frozen=True)
class Considered:
    """What fixes come to before a module is linked: units that change, what goes in, and what becomes of each line."""

    changes: tuple[KernelChange, ...]
    selection: KernelSelection
    exports: Exports
    notes: tuple[str, ...]
    ledgers: tuple[Ledger, ...]
    counters: Counters = NO_COUNTERS

    @property
    def functions(self) -> tuple[str, ...]:
        """Replaced functions as `OBJECT:NAME`."""
        return tuple(f"{self.changes[r.unit].image.name}:{r.old_name}" for r in self.selection.replaced)

    @property
    def reviews(self) -> tuple[Reviewed, ...]:
        """What a person should look at in the functions that change."""
        return reviews(self.changes)


def make(ready: KernelReady, progress: Progress = silent) -> KernelMaking:
    """Make the one module that holds all of a request's fixes.

    Raises what `consider` does.
    """
    clock = Clock()
    found = consider(ready, progress, clock)
    progress("linking the module")
    with clock.step("link"):
        made = _module(ready, found)
    return replace(made, seconds=clock.seconds)


def consider(ready: KernelReady, progress: Progress = silent, clock: Clock | None = None) -> Considered:
    """All of making but the module.

    Raises `KernelRefused` with every reason, `NoChange` where nothing of it is code that runs, `NoMatch`,
    `CompileFailed`, and what applying the fixes raises.
    """
    clock = clock or Clock()
    tree = ready.tree
    with clock.step("units"):
        layer, key = overlay.layer(tree, ready.fixes)
        found = affected.units(tree, ready.fixes, layer, progress)
    chosen = found.units
    progress(f"compiling {len(chosen)} file{'s' * (len(chosen) != 1)} before and after the fix")
    with clock.step("compile pre"):
        pre = unit.compile_sections(tree, chosen, None, "")
    with clock.step("compile post"):
        post = _compile_post(ready, chosen, layer, key)
    progress("matching against the running image")
    with clock.step("match"):
        changes, layouts, lines = _changes(tree, chosen, pre, post, (layer, key))
        layouts, called = _followed(layouts, found)
        layouts, renamed = _renamed(layouts, _texts(ready, layer))
    rules = any(r.is_rule for r in found.readers.values())
    if rules:
        progress("asking kbuild whether the changed build rules compile the same")
    with clock.step("rules"):
        rules_same = not rules or affected.rules_are_the_same(tree, layer)
    if not changes:
        why = f"{ready.name}: there is nothing to replace in the running kernel: {_nothing(found)}"
        remedy = "check that the fix is for code that this kernel has"
        raise NoChange(why, remedy) if rules_same else Refused(why, RESTART_KERNEL)
    exports, images = Exports.read(tree.target.symvers), Images(tree)
    with clock.step("select"):
        selection = select(changes, KernelResolver(changes, exports, images.get), layouts, lines)
    notes = called + renamed
    if selection.keys:
        progress("compiling once more, with static keys that are read")
        with clock.step("read keys"):
            changes, lines, read = _read_keys(tree, chosen, (layer, key), changes, lines, selection.keys)
            selection = select(changes, KernelResolver(changes, exports, images.get), layouts, lines)
        notes += read
    results = _results(chosen, changes, selection)
    if selection.refused:
        is_nothing = selection.is_empty and not any(r.missing for r in results.values())
        raise (NoFunctionChanges if is_nothing else KernelRefused)(ready.name, tuple(selection.refused))
    with clock.step("select"):
        ledgers = tuple(account.ledger(f, found.readers, results, rules_same) for f in ready.fixes)
    if not ready.wants_tripwires:
        return Considered(changes, selection, exports, notes, ledgers)
    progress("putting tripwires into the module")
    with clock.step("tripwires"):

        def again(wired: tuple[KernelChange, ...]) -> KernelSelection:
            return select(wired, KernelResolver(wired, exports, images.get), layouts, lines)

        try:
            wired = KernelWiring(tree, ready.fixes, chosen, changes, selection, again, ready.unwanted).wired()
        except Exception as problem:  # a defect, or a file that no parser takes; the fix must not be lost for that
            progress(f"no tripwires in the module: {problem}")
            paths = sorted({p.path for f in ready.fixes for p in f.files})
            why = f"{UNWIRED} ({type(problem).__name__})"
            none = Counters(without=tuple(WithoutTripwire(path, 0, "", "", why) for path in paths))
            wired = WiredKernel(changes, selection, none)
    return Considered(wired.changes, wired.selection, exports, notes, ledgers, wired.counters)


def _compile_post(ready: KernelReady, chosen: Sequence[unit.KernelUnit], layer: Path, key: str) -> list[Path]:
    """Objects with the fix. What the compiler rejects is compiled again without `#line`, so that it quotes the lines of
    the fix."""
    try:
        return unit.compile_sections(ready.tree, chosen, layer, key)
    except CompileFailed as error:
        rejected = {r.source for r in error.rejected}
        plain, other = overlay.layer(ready.tree, ready.fixes, keep_lines=False)
        unit.compile_sections(ready.tree, [u for u in chosen if u.source in rejected], plain, other)
        raise


def _nothing(found: affected.KernelAffected) -> str:
    """Why there is nothing, file by file."""
    n = len(found.units)
    rows = [f"{path}: {r.reason}" for path, r in found.readers.items() if r.reason]
    if n:
        rows.append(
            f"{', '.join(u.source for u in found.units[:3])}{f' and {n - 3} more' * (n > 3)}: no code or data changes"
        )
    return "; ".join(rows) or "it changes build rules only"


def _results(
    chosen: Sequence[unit.KernelUnit], changes: Sequence[KernelChange], selection: KernelSelection
) -> dict[str, account.UnitResult]:
    """What each compiled unit has of the fixes."""
    found = {u.source: account.UnitResult() for u in chosen}
    for number, change in enumerate(changes):
        old = found[change.source]
        own = [f"{change.image.name}:{r.old_name}" for r in selection.replaced if r.unit == number]
        included = {a.atom for a in selection.atoms if a.unit == number}
        found[change.source] = account.UnitResult(
            (*old.functions, *own),
            tuple(dict.fromkeys((*old.missing, *registration.missing(change, included)))),
            registration.exported(change),
            tuple(dict.fromkeys((*old.idle, *sorted(change.idle)))),
            same=False,
        )
    return found


def _changes(
    tree: KernelTree,
    chosen: Sequence[unit.KernelUnit],
    pre: Sequence[Path],
    post: Sequence[Path],
    layer: tuple[Path, str],
) -> tuple[tuple[KernelChange, ...], dict[int, tuple[LayoutChange, ...]], dict[int, DeclarationLines]]:
    """The units that the fix really changes, matched: once for each image that holds them."""
    images = Images(tree)
    changes: list[KernelChange] = []
    layouts: dict[int, tuple[LayoutChange, ...]] = {}
    lines: dict[int, DeclarationLines] = {}
    for one, before, after in zip(chosen, pre, post, strict=True):
        old, new = (KernelObject(ElfFile.read(x), tree.keeps_memory_init) for x in (before, after))
        special = SpecialSections(old), SpecialSections(new)
        types = changed_layouts(old.elf, new.elf)
        if compared(old, new, *special).is_empty and not types and not registration.differ(old, new):
            continue
        for name in one.modules or (VMLINUX,):
            image = images.get(name)
            if image is None:
                raise Refused(f"{one.source}: the archive has no file of the module {name}", "report this kernel")
            found = match(one.source, unit.plain(tree, one), old, image)
            change = KernelChange(one.source, old, new, image, found, *special)
            change = with_storage(change, partial(_objects, tree, one, layer, stored=True))
            number = len(changes)
            changes.append(change)
            layouts[number] = changed_layouts(old.elf, new.elf, change.replaced) if types else ()
            lines[number] = DeclarationLines(new.elf)
    return tuple(changes), layouts, lines


def _objects(
    tree: KernelTree,
    one: unit.KernelUnit,
    layer: tuple[Path, str],
    read_keys: bool = False,
    stored: bool = False,
) -> tuple[KernelObject, KernelObject]:
    """Pre and post of a unit, compiled in another way than what runs."""
    before, after = (
        unit.compile_sections(tree, [one], files, key, read_keys, stored)[0] for files, key in ((None, ""), layer)
    )
    pre, post = (KernelObject(ElfFile.read(x), tree.keeps_memory_init) for x in (before, after))
    return pre, post


def _followed(
    layouts: Mapping[int, tuple[LayoutChange, ...]], found: affected.KernelAffected
) -> tuple[dict[int, tuple[LayoutChange, ...]], tuple[str, ...]]:
    """Changed types without those of which only callbacks take or give something else, where all files that write these
    members are compiled: who calls and what is called changes in one transition. What is said of these.
    """
    left, notes = {}, dict[str, None]()
    for number, rows in layouts.items():
        fit = [
            r for r in rows if r.callbacks and (r.file.endswith(".c") or {f".{m}" for m in r.callbacks} <= found.names)
        ]
        left[number] = tuple(r for r in rows if r not in fit)
        notes |= {
            f"{r.name}: modules from elsewhere that have {', '.join(r.callbacks)} were compiled for other "
            "parameters": None
            for r in fit
        }
    return left, tuple(notes)


def _texts(ready: KernelReady, layer: Path) -> list[tuple[str, str]]:
    """Before and after of each source file that the fixes change."""
    places = ready.tree.files, layer / ROOT.lstrip("/")
    paths = sorted({p.path for f in ready.fixes for p in f.files if p.path.endswith((".c", ".h", ".S"))})
    both = [[(x / p).read_text(errors="surrogateescape") if (x / p).is_file() else "" for x in places] for p in paths]
    return [(old, new) for old, new in both]


def _renamed(
    layouts: Mapping[int, tuple[LayoutChange, ...]], texts: Sequence[tuple[str, str]]
) -> tuple[dict[int, tuple[LayoutChange, ...]], tuple[str, ...]]:
    """Changed types without those of which the fix only calls members or enumerators otherwise, and what is said of
    these.
    """
    known: dict[tuple[tuple[str, str], ...], bool] = {}
    for row in (r for rows in layouts.values() for r in rows if r.renames and r.renames not in known):
        known[row.renames] = is_renaming(texts, dict(row.renames))
    fit = [r for rows in layouts.values() for r in rows if known.get(r.renames)]
    left = {n: tuple(r for r in rows if r not in fit) for n, rows in layouts.items()}
    notes = {
        f"{r.name}: {', '.join(f'{old} is called {new}' for old, new in r.renames)}, and means the same": None
        for r in fit
    }
    return left, tuple(notes)


class Images:
    """What runs, by the kernel's name of it, each read once."""

    def __init__(self, tree: KernelTree) -> None:
        self._tree = tree
        self._known: dict[str, KernelImage | None] = {}

    def get(self, name: str) -> KernelImage | None:
        """None when the archive has no file of the module."""
        if name not in self._known:
            target = self._tree.target
            path = target.vmlinuz if name == VMLINUX else target.module(name)
            self._known[name] = None if path is None else read_vmlinux(path) if name == VMLINUX else read_module(path)
        return self._known[name]


def _read_keys(
    tree: KernelTree,
    chosen: Sequence[unit.KernelUnit],
    layer: tuple[Path, str],
    changes: tuple[KernelChange, ...],
    lines: Mapping[int, DeclarationLines],
    wanting: Mapping[int, str],
) -> tuple[tuple[KernelChange, ...], dict[int, DeclarationLines], tuple[str, ...]]:
    """Changes with new code that reads static keys, for units that want jump labels of modules: those can't be switched
    there."""
    made, found, notes = list(changes), dict(lines), []
    for number, name in wanting.items():
        change = changes[number]
        one = next(u for u in chosen if u.source == change.source)
        stored = change.other is not None and change.other.storage
        pre, post = _objects(tree, one, layer, read_keys=True, stored=stored)
        made[number] = replace(
            change, post=post, special_post=SpecialSections(post), other=OtherCompiles(change.difference, pre)
        )
        found[number] = DeclarationLines(post.elf)
        notes.append(f"{change.source}: new code reads static keys, since it can't have the jump label of {name}")
    return tuple(made), found, tuple(notes)


def _module(ready: KernelReady, considered: Considered) -> KernelMaking:
    changes, selection, ledgers = considered.changes, considered.selection, considered.ledgers
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
        target=KernelTarget(ready.tree.target.release, ready.tree.target.version, BuildId(vmlinux.build_id)),
        fixes=tuple(fact_of(f, one) for f, one in zip(ready.fixes, ledgers, strict=True)),
        functions=tuple(
            KernelFunction(
                changes[r.unit].image.name, r.old_name, r.position, r.address, r.size, changes[r.unit].source
            )
            for r in selection.replaced
        ),
        effective=ready.effective if account.is_whole(ledgers) else "",
        replace=ready.replace,
        keep=_keep(changes, selection),
        notes=(*considered.notes, *selection.notes),
        objects={c.image.name: c.image.build_id for c in changes if c.image.name != VMLINUX},
        units=tuple(c.match.unit for c in changes),
        symbols=_proof(changes, selection),
        toolchain={"compiler": ready.compiler, "suture": suture.__version__},
        request=dict(ready.facts),
        tripwires=considered.counters.tripwires,
        without_tripwire=considered.counters.without,
    )
    parameters = {
        "patch": manifest.module,
        "target": manifest.target.version,
        "fixes": ",".join(f.name for f in manifest.fixes),
        "cves": ",".join(manifest.cves),
        "effective": manifest.effective,
        "keep": "yes" if manifest.keep else "",
        "partial": "" if manifest.is_complete else "yes",
        **{f"{WIRE}{n}": wire_text(t) for n, t in enumerate(manifest.tripwires)},
    }
    callbacks = stub.callbacks_in(ready.callbacks)
    if ready.callbacks and not callbacks:
        raise Refused(
            "the callbacks file defines no callback",
            "define one of suture_pre_patch, suture_post_patch, suture_pre_unpatch, suture_post_unpatch "
            "(docs/how-to/kernel.md)",
        )
    namespaces = sorted({n for n in exported.values() if n})
    main = stub.main_c(objects, parameters, namespaces, callbacks, ready.replace, considered.counters.symbols)
    linked = module.link(ready.tree, manifest.module, main, emit.emit(changes, selection), ready.callbacks)
    allowed = frozenset(n for n, (owner, _) in considered.exports.owners.items() if owner == VMLINUX)
    data = seal(module.finish(linked, manifest.to_json(), allowed))
    parse_patch(data, manifest.module)  # raises when it is none that may be loaded
    return KernelMaking(data, manifest, {})


def _name(ready: KernelReady) -> str:
    """A module's name, at most 55 characters (MODULE_NAME_LEN), the same for the same request."""
    text = "\0".join(x for k in sorted(ready.facts) for x in (k, *ready.facts[k]))
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]
    words = re.sub(r"\W+", "_", ready.name).strip("_").lower()
    return f"suture_{words[:38].strip('_')}_{digest}"


def _keep(changes: Sequence[KernelChange], selection: KernelSelection) -> tuple[str, ...]:
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


def _proof(changes: Sequence[KernelChange], selection: KernelSelection) -> tuple[ProvenSymbol, ...]:
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
            address = change.image.names.get(target.name, (Vaddr(0),))[0]
            places = (f"the only {target.name} of {target.object}",)
        rows[target.symbol] = ProvenSymbol(target.symbol, address, places[:4])
    return tuple(rows[n] for n in sorted(rows))


def refusals(error: KernelRefused) -> tuple[RefusedFunction, ...]:
    """All reasons of a refusal."""
    return error.refused
