"""Functions whose code a running kernel is done with though it is still there: initialisation calls that lie among
other code, and what nothing but initialisation calls."""

from __future__ import annotations

from suture.delta.early import done_with
from suture.make_kernel.change import KernelChange
from suture.make_kernel.object import KernelObject, is_removal

_CALLS = (".initcall", ".con_initcall")  # include/linux/init.h
_MODULE = "init_module"  # module_init() gives the function this name too (include/linux/module.h)


def run_already(change: KernelChange) -> frozenset[str]:
    """Replaced functions, by name in post, that ran while the kernel or the module started: new code in them never
    runs.

    An initialisation call that something calls again is among them, for its first run stays.
    """
    roots = _starts(change.pre)
    before, after = done_with(change.pre, roots), done_with(change.post, _starts(change.post))
    found = set()
    for name in change.replaced:
        old = change.pre_of(change.post.functions[name].hot)
        known = change.pre.function_of.get(old.index) if old is not None else None
        if known is not None and (known.name in roots or (known.name in before and name in after)):
            found.add(name)
    return frozenset(found)


def _starts(obj: KernelObject) -> set[str]:
    """Functions of initialisation; what is called when a module goes has not run."""
    found = {n for n, f in obj.functions.items() if obj.runs_once(f.hot.section) and not is_removal(f.hot.section)}
    found |= {n for n, f in obj.functions.items() if _MODULE in (n, *f.aliases)}
    for atom in (a for a in obj.atoms.values() if a.section.name.startswith(_CALLS)):
        found |= {obj.function_of[r.section].name for r in atom.references if r.section in obj.function_of}
    return found
