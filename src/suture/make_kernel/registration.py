"""What a fix changes in tables that the kernel reads once, when it starts or loads a module: a patch module can't put
them right.

Module parameters, exported symbols, initcalls, device aliases, tracepoints and the like are entries of sections of
their own. New or changed ones are named, so that nothing is dropped without a word.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from suture.delta.atom import Atom, without_fields
from suture.delta.correlation import base_name
from suture.make_kernel.change import KernelChange
from suture.make_kernel.object import ONCE, PERCPU, KernelObject, is_special, runs_once
from suture.refusal import RESTART_KERNEL

# Sections whose atoms go into a patch as code or data, or are refused by name where they change.
_ORDINARY = (".text", ".data", ".bss", ".rodata", ".ref.", ".noinstr", ".entry.", ".cpuidle", ".kprobes",
              ".sched", ".irqentry",
             ".softirqentry", ".spinlock", ".altinstr", "__dyndbg", ".printk_index", "printk_index",
              "__bug_table")  # fmt: skip
_KEPT_READ_ONLY = ".data..ro_after_init"
_INFO = re.compile(rb"(?:[\w]+\.)?(alias|firmware|softdep|import_ns)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class UnregisteredEntry:
    """An entry that is missing in the running kernel. `words` are names in the source that it comes from."""

    what: str
    remedy: str
    words: tuple[str, ...]


def missing(change: KernelChange, included: Collection[int]) -> list[UnregisteredEntry]:
    """Entries of one unit that post has and pre does not have so; `included` are atoms of post that are in the
    patch."""
    pre, post = change.pre, change.post
    found = [_entry(section, label) for section, label in sorted(_fresh(change, included))]
    for word, text in sorted(_info(post) - _info(pre)):
        found.append(
            UnregisteredEntry(
                f"module information: {word}={text}",
                "it is read from the module's file: install the fixed kernel",
                (word,),
            )
        )
    for index, old in change.pairs.pre_of.items():
        a, b = pre.atoms[old], post.atoms[index]
        if b.section.name.startswith(_KEPT_READ_ONLY) and not a.section.name.startswith(_KEPT_READ_ONLY):
            found.append(
                UnregisteredEntry(f"{b.label} stays writable in the running kernel", RESTART_KERNEL, (b.label,))
            )
    return found


def differ(pre: KernelObject, post: KernelObject) -> bool:
    """Whether two compiles differ in what they register or export, or in where their functions and data lie."""
    old, new = ({k: m for k, (_, m) in _entries(o).items()} for o in (pre, post))
    places = [{(base_name(a.label), _place(a)) for a in o.atoms.values() if a.symbols} for o in (pre, post)]
    return old != new or _info(pre) != _info(post) or _exports(pre) != _exports(post) or places[0] != places[1]


def _place(atom: Atom) -> str:
    """What the kernel does with a section: frees it, keeps it read-only, does not trace it."""
    name = atom.section.name
    return next((k for k in (_KEPT_READ_ONLY, ".noinstr.text", *ONCE) if name.startswith(k)), "")


def exported(change: KernelChange) -> tuple[str, ...]:
    """Symbols that post exports and pre does not: other code of the fix finds them, modules from elsewhere do not."""
    return tuple(sorted(_exports(change.post) - _exports(change.pre)))


def _exports(obj: KernelObject) -> set[str]:
    return {
        s.name.removeprefix("__ksymtab_") for s in obj.elf.symbols if s.name.startswith("__ksymtab_") and s.has_section
    }


def _fresh(change: KernelChange, included: Collection[int]) -> set[tuple[str, str]]:
    before = _entries(change.pre)
    return {
        (section, label)
        for (section, label), (index, meaning) in _entries(change.post).items()
        if index not in included and before.get((section, label), (0, None))[1] != meaning
    }


def _entries(obj: KernelObject) -> Mapping[tuple[str, str], tuple[int, object]]:
    """Entries of tables by section and name, with what they hold."""
    found: dict[tuple[str, str], tuple[int, object]] = {}
    for atom in obj.atoms.values():
        name = atom.section.name
        is_table = name.startswith(("__param", ".initcall")) or not (
            name.startswith((*_ORDINARY, PERCPU, *ONCE)) or is_special(name) or runs_once(atom.section)
        )
        if is_table and atom.size:
            key = name, re.sub(r"__\d+_\d+_", "__#_", base_name(atom.label))
            found[key] = (atom.index, (found.get(key), _meaning(obj, atom)))
    return found


def _meaning(obj: KernelObject, atom: Atom) -> object:
    """An entry's bytes, and the names that its fields lead to: those of strings are what they hold."""
    rows = []
    for ref in atom.references:
        target = obj.atoms.get(ref.section) if ref.section is not None else None
        rows.append((ref.offset, ref.symbol if target is None else base_name(target.label)))
    return without_fields(atom.data, atom.references), tuple(rows)


def _entry(section: str, label: str) -> UnregisteredEntry:
    if section.startswith("__param"):
        name = label.removeprefix("__param_")
        return UnregisteredEntry(
            f"the module parameter {name}: the variable has its initial value, and there is no file in /sys/module "
            "for it",
            "change the value in the fix, or set the parameter after a restart with the fixed kernel", (name,),
        )  # fmt: skip
    if section.startswith(".initcall"):
        return UnregisteredEntry(
            f"an initialisation call ({label}), which a running kernel has behind it", "do its work in a callback", ()
        )
    name = re.sub(r"^__(?:tracepoint|event|bpf_trace_|kbl_addr)_?", "", label)
    return UnregisteredEntry(f"an entry of {section} ({label}), which is read once", RESTART_KERNEL, (name,))


def _info(obj: KernelObject) -> set[tuple[str, str]]:
    section = obj.elf.section(".modinfo")
    rows = obj.elf.bytes_of(section).split(b"\0") if section is not None else []
    said = [m for m in map(_INFO.fullmatch, rows) if m]
    return {(m[1].decode(), m[2].decode(errors="replace")) for m in said}
