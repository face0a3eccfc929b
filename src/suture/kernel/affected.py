"""Which units a fix affects: C files that it changes, and those that include a header that it changes.

A header under include/ may be included by thousands of files. Files that name something which the change defines are taken, and
checked by their compile's own list of includes; more than a person can look over are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from suture.command import run
from suture.error import Refused
from suture.kernel import unit
from suture.kernel.prepare import KernelTree
from suture.kernel.unit import KernelUnit, NotBuilt
from suture.progress import Progress, silent
from suture.source.fix import FilePatch, Fix

_MOST = 60
_IGNORED = (
    "Documentation/",
    "tools/",
    "samples/",
    "scripts/",
    "usr/",
    "LICENSES/",
    "drivers/staging/Kconfig",
    "debian/",
)
_ARCH = re.compile(r"arch/(?!x86/)")
_WORD = re.compile(r"\b[A-Za-z_]\w{3,}\b")


def units(
    tree: KernelTree, fixes: Sequence[Fix], progress: Progress = silent
) -> tuple[tuple[KernelUnit, ...], tuple[str, ...]]:
    """Units in the order of their paths, and notes on what was left out. Raises `Refused`."""
    files = [p for f in fixes for p in f.files]
    notes: list[str] = []
    sources: set[str] = set()
    headers: list[FilePatch] = []
    for part in files:
        name = Path(part.path).name
        if part.path.startswith(_IGNORED) or _ARCH.match(part.path):
            notes.append(f"{part.path} is not part of this kernel")
        elif part.path.startswith("arch/x86/entry/vdso/") or part.path.startswith("arch/x86/boot/"):
            raise Refused(f"{part.path}: runs outside the kernel's text", "leave it out with --only")
        elif part.path.endswith(".c"):
            if part.creates:
                raise Refused(f"{part.path}: a new file", "put its functions into a file that exists, in the fix")
            sources.add(part.path)
        elif part.path.endswith(".h"):
            headers.append(part)
        elif name in ("Makefile", "Kbuild", "Kconfig") or name.startswith(("Kconfig", "Makefile")):
            notes.append(f"{part.path}: build rules are left as they are")
        elif not part.path.endswith((".rst", ".txt", ".yaml")):
            raise Refused(
                f"{part.path}: neither C source nor header", "leave it out with --only, if the rest stands on its own"
            )
    for part in headers:
        candidates = _users(tree, part) - sources
        if len(candidates) > _MOST:
            raise Refused(
                f"{part.path}: {len(candidates)} files may use what changes in it, more than {_MOST}",
                "say with --only which files' copies of it matter, or change the fix so that new names are used",
            )
        sources |= candidates
    progress(f"asking kbuild for {len(sources)} commands")
    found = unit.units(tree, sorted(sources))
    wanted = {p.path for p in headers}
    chosen = []
    for source, one in found.items():
        if isinstance(one, NotBuilt):
            notes.append(one.what)
        elif source in {p.path for p in files} or wanted & set(one.depends):
            chosen.append(one)
    return tuple(chosen), tuple(notes)


def _users(tree: KernelTree, part: FilePatch) -> set[str]:
    """C files that include a header and name something of its change, or include it through a neighbour."""
    words = _defined(part.text)
    if not words:
        return set()
    own = part.path.startswith(("include/", "arch/x86/include/"))
    where = ["."] if own else [str(Path(part.path).parent)]
    todo, seen, found = set(words), set(words), set[str]()
    while todo and len(found) <= _MOST * 4:
        pattern = r"\b(" + "|".join(map(re.escape, sorted(todo))) + r")\b"
        out = run(
            ["grep", "--recursive", "--perl-regexp", "--files-with-matches", "--include=*.c", "--include=*.h", pattern, *where],
            cwd=tree.files, accept=frozenset({0, 1}),
        )  # fmt: skip
        paths = {p.removeprefix("./") for p in out.split("\n") if p}
        found |= {p for p in paths if p.endswith(".c") and not p.startswith(_IGNORED) and not _ARCH.match(p)}
        todo = set()
        for header in (p for p in paths if p.endswith(".h") and p != part.path and not _ARCH.match(p)):
            todo |= _enclosing((tree.files / header).read_text(errors="replace"), seen) - seen
        seen |= todo
    return found


def _defined(text: str) -> set[str]:
    """Names of functions, macros, structures and their members that a header's change touches."""
    found: set[str] = set()
    for hunk in re.split(r"^(?=@@)", text, flags=re.MULTILINE)[1:]:
        head, _, body = hunk.partition("\n")
        lines = body.split("\n")
        changed = [
            n for n, x in enumerate(lines) if x[:1] in "+-" and x[1:].strip() and not x[1:].lstrip().startswith("*")
        ]
        for number in changed:
            line = lines[number][1:]
            macro = re.match(r"\s*#\s*define\s+(\w+)", line)
            declared = re.match(r"[\w\s*]*?\b(\w+)\s*\(", line) if line[:1] not in " \t" else None
            if macro:
                found.add(macro[1])
            elif declared:
                found.add(declared[1])
            elif line[:1] in " \t":
                found |= {_top(lines[:number], head)} - {""}
    return found


def _top(above: Sequence[str], head: str) -> str:
    """The function or structure that a line stands in: the nearest declaration at the margin above it, or the hunk's heading."""
    for line in [*reversed([x[1:] for x in above if x[:1] in " +"]), head.rpartition("@@")[2].strip()]:
        if line[:1] in " \t}" or not line.strip():
            continue
        function = re.match(r"[\w\s*]*?\b(\w+)\s*\(", line)
        kind = re.match(r"(?:typedef\s+)?(?:struct|union|enum)\s+(\w+)", line)
        if function or kind:
            return (function or kind)[1]  # type: ignore[index]
    return ""


def _enclosing(text: str, words: set[str]) -> set[str]:
    """Inline functions and macros of a header whose bodies name one of `words`."""
    found: set[str] = set()
    name = ""
    for line in text.split("\n"):
        macro = re.match(r"\s*#\s*define\s+(\w+)", line)
        function = re.match(r"(?:static\s+)?(?:__always_)?inline\b[\w\s*]*?\b(\w+)\s*\(", line) or re.match(
            r"static\s+[\w\s*]*?\b(\w+)\s*\(", line
        )
        if macro:
            name = macro[1]
        elif function:
            name = function[1]
        elif line.startswith("}"):
            name = ""
        if name and words & set(_WORD.findall(line)) and name not in words:
            found.add(name)
        if macro and not line.endswith("\\"):
            name = ""
    return found
