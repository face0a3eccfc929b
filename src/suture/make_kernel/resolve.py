"""How each thing that new code refers to is found: in the patch itself, by an export, or by livepatch's own symbols.

`.klp.sym.OBJECT.NAME,POSITION` is resolved by the kernel when it loads the patch or the object
(Documentation/livepatch/ module-elf-format.rst); POSITION counts equal names in the order of kallsyms and must be
proved, since loading proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from suture.delta.atom import Atom, AtomKind
from suture.delta.correlation import base_name
from suture.delta.storage import dropped
from suture.elf.abi import R, SymbolBind
from suture.make_kernel.change import KernelChange
from suture.make_kernel.image import VMLINUX, KernelImage, module_name
from suture.make_kernel.object import DEBUG_MESSAGES, LEFT, WRITTEN_OVER, KernelReference, is_weak
from suture.patch.tripwire import SYMBOL
from suture.refusal import Refusal

_TELL = "make sure that the fix belongs to this version; a symbol that the running kernel lacks can't be referred to"
_NEW_DATA = (".data", ".bss", ".rodata", DEBUG_MESSAGES)


@dataclass(frozen=True)
class Internal:
    """An atom of a unit that is part of the patch."""

    unit: int
    atom: int


@dataclass(frozen=True)
class Exported:
    """An exported symbol, which the module loader binds."""

    name: str
    namespace: str = ""


@dataclass(frozen=True)
class Livepatched:
    """A symbol of a loaded object that nothing exports."""

    object: str
    name: str
    position: int

    @property
    def symbol(self) -> str:
        return f".klp.sym.{self.object}.{self.name},{self.position}"


@dataclass(frozen=True)
class Overwritten:
    """A field that the loader writes over before the code runs: an alternative for every CPU covers it."""


@dataclass(frozen=True)
class Counted:
    """The counter of a tripwire, which the module's own file defines."""

    name: str


Resolution = Internal | Exported | Livepatched | Overwritten | Counted | Refusal


@dataclass(frozen=True)
class Exports:
    """Module.symvers: for each exported symbol the object that has it, and its namespace."""

    owners: Mapping[str, tuple[str, str]]

    @classmethod
    def read(cls, path: Path) -> Exports:
        owners = {}
        for line in path.read_text().splitlines():
            fields = line.split("\t")
            owner = VMLINUX if fields[2] == VMLINUX else module_name(fields[2])
            owners[fields[1]] = (owner, fields[4] if len(fields) > 4 else "")
        return cls(owners)


@dataclass
class KernelResolver:
    """Resolves references of post atoms over all units of a patch."""

    changes: tuple[KernelChange, ...]
    exports: Exports
    image: Callable[[str], KernelImage | None] = lambda name: None
    """The image of vmlinux or of a module by the kernel's name of it."""
    _defined: dict[str, list[Internal]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, change in enumerate(self.changes):
            for atom in change.post.atoms.values():
                if atom.index not in change.pairs.pre_of and not change.post.runs_once(atom.section):
                    for symbol in atom.symbols:
                        if symbol.bind != SymbolBind.LOCAL and symbol.st_value == 0:
                            self._defined.setdefault(symbol.name, []).append(Internal(number, atom.index))

    def resolve(self, unit: int, source: Atom, ref: KernelReference) -> Resolution:
        """What a reference of an included atom becomes."""
        change = self.changes[unit]
        if ref.section is None:
            if ref.symbol == WRITTEN_OVER and change.special_post.is_written_over(source.index, ref.offset):
                return Overwritten()
            if ref.symbol.startswith(LEFT):
                return Refusal(f"refers to the {ref.symbol}, which has no counterpart in a patch", _TELL)
            if ref.symbol.startswith(SYMBOL):
                return Counted(ref.symbol)
            return self._external(unit, ref.symbol)
        target = change.post.atoms[ref.section]
        if target.kind is AtomKind.MERGED:
            return Internal(unit, target.index)
        if target.kind is AtomKind.CODE:
            return self._code(unit, source, target, ref)
        return self._data(unit, target)

    def _code(self, unit: int, source: Atom, target: Atom, ref: KernelReference) -> Resolution:
        change = self.changes[unit]
        function = change.post.function_of[target.index]
        if change.post.runs_once(target.section):
            return Refusal(
                f"refers to {function.name}, which is freed after initialisation", "take it out of __init in the fix"
            )
        if ref.r_type == R.PC8:
            return Refusal(
                f"jumps to {function.name} in a way that reaches no further than its own section",
                "call it in another way in the fix, so that the compiler makes a longer jump",
            )
        own = change.post.function_of.get(source.index)
        if function.name in change.new or (own is not None and own.name == function.name):
            return Internal(unit, target.index)
        # A direct call skips the tracer's detour; whoever takes the address means the function as all know it.
        if function.name in change.replaced and (source.is_branch(ref) or target is not function.hot or ref.value):
            return Internal(unit, target.index)
        if is_weak(target):
            return self._external(unit, function.name)
        return self._running(unit, target)

    def _data(self, unit: int, target: Atom) -> Resolution:
        change = self.changes[unit]
        fresh = Internal(unit, target.index)
        if target.size == 0:
            return fresh  # an empty structure has no state
        if target.index in change.pairs.ambiguous and not _is_of_messages(target):
            return Refusal(
                f"several variables of the running kernel may be {target.label}",
                "give the variable another name in the fix",
            )
        paired = change.pre_of(target)
        constant = target.kind is AtomKind.CONST
        if constant and (target.is_pool or paired is None or target.label in change.difference.changed_constants):
            return fresh
        if paired is not None and change.pre.runs_once(paired.section) and not change.post.runs_once(target.section):
            return fresh  # the running one was freed after initialisation
        if paired is None and target.label in change.unstored:
            return Refusal(dropped(target.label).reason, "keep what the fix needs in a new variable")
        if paired is None:
            if change.post.runs_once(target.section) or not target.section.name.startswith(_NEW_DATA):
                return Refusal(
                    f"needs a new variable {target.label} in {target.section.name}",
                    "place it in ordinary data in the fix",
                )
            return fresh
        if target.section.name == DEBUG_MESSAGES and not change.image.is_vmlinux:
            return fresh  # its key must not lie in the module, which may be loaded after the patch
        found = self._running(unit, target)
        if isinstance(found, Refusal) and constant and not target.is_global and not target.references:
            return fresh
        return found

    def _running(self, unit: int, target: Atom) -> Resolution:
        """The running counterpart of an atom of post."""
        change = self.changes[unit]
        pre = change.pre_of(target)
        if pre is None:
            return Refusal(f"{target.label} has no counterpart in the running kernel", _TELL)
        names = [s.name for s in pre.symbols if s.st_value == 0 and not s.name.startswith(".L")]
        for name in names:
            exported = self._export(unit, name)
            if exported is not None and pre.is_global:
                return exported
        address = change.address_of(pre)
        if address is None:
            return Refusal(f"where {pre.label} lies in the running kernel is implied by nothing", _TELL)
        for name in names:
            position = change.image.position(name, address)
            if position is not None:
                return Livepatched(change.image.name, name, position)
        return Refusal(f"{pre.label} has no name in the running kernel", "refer to it through something that has")

    def _external(self, unit: int, name: str) -> Resolution:
        change, image = self.changes[unit], self.changes[unit].image
        defined = self._new(unit, name)
        if defined is not None:
            return defined
        exported = self._export(unit, name)
        if exported is not None:
            return exported
        if name in image.names:
            rows = image.names[name]
            implied = change.match.address_of(name)
            if implied is None and len(rows) > 1:
                implied = image.shared.get(name)
            if implied is None and len(rows) > 1:
                return Refusal(f"{len(rows)} symbols are called {name}; which is meant is implied by nothing", _TELL)
            position = image.position(name, implied if implied is not None else rows[0])
            if position is None:
                return Refusal(f"{name} is not where running code has it", "report this fix")
            return Livepatched(image.name, name, position)
        return self._elsewhere(image, name)

    def _new(self, unit: int, name: str) -> Internal | None:
        """What the fix adds under a name: to the object itself, or to one that is there whenever this one is."""
        image = self.changes[unit].image
        near = [image.name, VMLINUX, *image.depends]
        found = [d for d in self._defined.get(name, ()) if self.changes[d.unit].image.name in near]
        return min(found, key=lambda d: near.index(self.changes[d.unit].image.name), default=None)

    def _elsewhere(self, image: KernelImage, name: str) -> Resolution:
        """A symbol of another object, exported or not: livepatch finds it by its name."""
        owner = self.exports.owners.get(name, ("", ""))[0]
        if owner and owner in image.depends:
            return Livepatched(owner, name, 0)
        if owner:
            return Refusal(
                f"needs {name} of the module {owner}, which {image.name} does not depend on",
                "leave this part out with --only; the patch would pin a module that nothing else needs",
            )
        for other in (VMLINUX, *image.depends):
            running = self.image(other)
            address = running.shared.get(name) if running is not None else None
            position = running.position(name, address) if running is not None and address is not None else None
            if position is not None:
                return Livepatched(other, name, position)
        return Refusal(f"nothing in the running kernel is called {name}", _TELL)

    def _export(self, unit: int, name: str) -> Exported | None:
        """An export of vmlinux. Those of the patched module are livepatch symbols, else the patch would depend on
        it."""
        owner, namespace = self.exports.owners.get(name, ("", ""))
        return Exported(name, namespace) if owner == VMLINUX else None


def _is_of_messages(target: Atom) -> bool:
    """Whether a variable only governs how often something is logged: the flags of WARN_ONCE() and its like, the state
    of printk_ratelimited(), switches of debug messages. A fresh one may repeat a message once.
    """
    return target.section.name in (".data.once", DEBUG_MESSAGES) or base_name(target.label) == "_rs.#"
