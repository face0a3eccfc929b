"""The C part of a patch module: which functions it replaces in which objects, its callbacks, and what it says of
itself.

What it says of itself are read-only module parameters, so that `/sys/module/NAME/parameters` is the record of a loaded
patch and `status` needs no file. The text is GPL-2.0, as a module of the kernel has to be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_CALLBACKS = {
    "pre_patch": "int suture_pre_patch(struct klp_object *obj);",
    "post_patch": "void suture_post_patch(struct klp_object *obj);",
    "pre_unpatch": "void suture_pre_unpatch(struct klp_object *obj);",
    "post_unpatch": "void suture_post_unpatch(struct klp_object *obj);",
}
WIRES = "tripwires"
"""The parameter with the counts, by commas."""
_COUNTS = "suture_tripwire_counts"
PARAMETERS = ("patch", "target", "fixes", "cves", "effective", "keep", "partial")


@dataclass(frozen=True)
class ReplacedSymbol:
    """One `struct klp_func`."""

    old_name: str
    new_symbol: str
    position: int


def callbacks_in(text: str) -> tuple[str, ...]:
    """Which of livepatch's callbacks a C file defines."""
    return tuple(n for n in _CALLBACKS if re.search(rf"^(?:int|void)\s+suture_{n}\s*\(", text, re.MULTILINE))


def main_c(
    objects: Mapping[str, Sequence[ReplacedSymbol]],
    parameters: Mapping[str, str],
    namespaces: Sequence[str] = (),
    callbacks: Sequence[str] = (),
    replace: bool = False,
    counters: Sequence[str] = (),
) -> str:
    """The source of the module's own file. `objects` by livepatch's name of the object, `vmlinux` first; `counters` are
    the symbols of tripwires' counters, which new code adds to."""
    lines = [
        "// SPDX-License-Identifier: GPL-2.0",
        "#include <linux/module.h>",
        "#include <linux/kernel.h>",
        "#include <linux/livepatch.h>",
        "",
    ]
    for name in (*PARAMETERS, *(n for n in parameters if n not in PARAMETERS)):
        lines += [
            f"static char *{name} = {json.dumps(parameters.get(name, ''))};",
            f"module_param({name}, charp, 0444);",
        ]
    if counters:
        lines += [
            f"unsigned long {_COUNTS}[{len(counters)}];",
            f"module_param_array_named({WIRES}, {_COUNTS}, ulong, NULL, 0444);",
        ]
        for number, symbol in enumerate(counters):
            lines.append(f'asm(".globl {symbol}\\n.set {symbol}, {_COUNTS} + {8 * number}");')
    lines += [_CALLBACKS[c] for c in callbacks]
    for rows in objects.values():
        lines += [f"extern void {r.new_symbol}(void);" for r in rows]
    for number, rows in enumerate(objects.values()):
        lines.append(f"static struct klp_func functions_{number}[] = {{")
        lines += [
            f'\t{{ .old_name = "{r.old_name}", .new_func = {r.new_symbol}, .old_sympos = {r.position} }},' for r in rows
        ]
        lines += ["\t{ }", "};"]
    lines.append("static struct klp_object objects[] = {")
    for number, name in enumerate(objects):
        own = "" if name == "vmlinux" else f'.name = "{name}", '
        calls = ", ".join(f".{c} = suture_{c}" for c in callbacks)
        lines.append(f"\t{{ {own}.funcs = functions_{number},{f' .callbacks = {{ {calls} }},' if calls else ''} }},")
    lines += ["\t{ }", "};"]
    lines += [
        "static struct klp_patch suture_patch = {",
        f"\t.mod = THIS_MODULE, .objs = objects, .replace = {'true' if replace else 'false'},",
        "};",
        "static int __init suture_init(void) { return klp_enable_patch(&suture_patch); }",
        "static void __exit suture_exit(void) { }",
        "module_init(suture_init);",
        "module_exit(suture_exit);",
        'MODULE_LICENSE("GPL");',
        'MODULE_INFO(livepatch, "Y");',
        *[f"MODULE_IMPORT_NS({n});" for n in namespaces],
        "",
    ]
    return "\n".join(lines)


def makefile(name: str, has_callbacks: bool) -> str:
    """The kbuild file of the module's folder."""
    parts = ["main.o", "patch.o"] + (["callbacks.o"] if has_callbacks else [])
    return (
        "# SPDX-License-Identifier: GPL-2.0\n"
        f"obj-m := {name}.o\n{name}-y := {' '.join(parts)}\nOBJECT_FILES_NON_STANDARD_patch.o := y\n"
    )
