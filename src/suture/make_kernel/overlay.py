"""Post as a layer over the tree: the files of a fix, with line numbers of what it does not touch kept as they were.

A fix moves the lines behind it, and `__LINE__` in WARN(), BUILD_BUG_ON() or debug messages would make functions differ
that no one changed. A `#line` behind each change, where a declaration ends, sets the number back. It is a comment to
everything else.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from suture.compile import post
from suture.compile.room import give
from suture.make_kernel.prepare import ROOT, KernelTree
from suture.source import cache
from suture.source.fix import Fix

_TOP = re.compile(r"[A-Za-z_#/]")
_END = re.compile(r"(\}|.*;|\s*\*/|#\s*endif.*|.*\))\s*(/\*.*\*/)?\s*$")


def layer(tree: KernelTree, fixes: Sequence[Fix], keep_lines: bool = True) -> tuple[Path, str]:
    """The layer of all fixes in their order, and the key of its contents. Raises `Refused` for a hunk that does not
    apply."""
    words = [tree.key, *(f.sha256 for f in fixes), *([] if keep_lines else ["as it is"])]
    key = hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        target = folder / ROOT.lstrip("/")
        target.mkdir(parents=True)
        for fix in fixes:
            for part in (p for p in fix.files if not (p.deletes or p.is_binary or p.is_link)):
                post.apply(part, tree.files, target, part.path, fix.name)
        for path in sorted({p.path for f in fixes for p in f.files}):
            made, before = target / path, tree.files / path
            if keep_lines and made.suffix in (".c", ".h") and made.is_file() and before.is_file():
                old, new = (x.read_bytes().decode(errors="surrogateescape") for x in (before, made))
                made.write_bytes(kept_lines(old, new, path).encode(errors="surrogateescape"))
        give(folder)

    return cache.item(cache.root() / "post" / f"kernel-{key}", make), key


def with_texts(tree: KernelTree, plain: Path, key: str, texts: Mapping[str, bytes]) -> tuple[Path, str]:
    """A layer with other contents of some files, line for line those that the fixes make of them, and its key. `plain`
    is the layer of the fixes as they are, which `#line` is put into as in `layer`."""
    words = [key, *(f"{path} {hashlib.sha256(text).hexdigest()}" for path, text in sorted(texts.items()))]
    own = hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        shutil.copytree(plain, folder, symlinks=True)
        for path in sorted(p for p in folder.rglob("*.[ch]") if p.is_file()):
            name = str(path.relative_to(folder / ROOT.lstrip("/")))
            before, after = tree.files / name, path.read_bytes()
            text = texts.get(name, after)
            if before.is_file():
                old, new, shown = (x.decode(errors="surrogateescape") for x in (before.read_bytes(), after, text))
                text = kept_lines(old, new, name, shown).encode(errors="surrogateescape")
            path.write_bytes(text)
        give(folder)

    return cache.item(cache.root() / "post" / f"kernel-{own}", make), own


class Contents:
    """What a layer changes, by file. Units that read the same changed files compile to the same, whatever else is in
    the layer."""

    def __init__(self, tree: KernelTree, layer: Path, key: str) -> None:
        self._key = key
        root = layer / ROOT.lstrip("/")
        self._digests: dict[str, str] = {}
        self._including: set[str] = set()
        for path in sorted(p for p in root.rglob("*") if p.is_file()):
            name = str(path.relative_to(root))
            text, before = path.read_bytes(), tree.files / name
            self._digests[name] = hashlib.sha256(text).hexdigest()
            # where files are included that were not, what a unit reads is no longer known
            if not before.is_file() or _included(before.read_bytes()) != _included(text):
                self._including.add(name)
        self._has_new = any(not (tree.files / n).is_file() for n in self._digests)

    def key(self, files: Collection[str]) -> str:
        """The key of what a unit compiles to that reads `files` without the layer; empty where it reads nothing of
        it."""
        mine = self._digests.keys() & set(files)
        if self._has_new or mine & self._including:
            return self._key
        return (
            hashlib.sha256("\0".join(f"{n} {self._digests[n]}" for n in sorted(mine)).encode()).hexdigest()
            if mine
            else ""
        )


def _included(text: bytes) -> list[bytes]:
    return [b"".join(x.split()) for x in text.split(b"\n") if re.match(rb"\s*#\s*include", x)]


def kept_lines(old: str, new: str, path: str, shown: str = "") -> str:
    """`new` with `#line` where its lines stand elsewhere than in `old`, at the first place behind each change where
    that is safe. `shown` is what stands there in its place, line for line."""
    before, after = old.split("\n"), new.split("\n")
    blocks = [
        (a1, b1, b2)
        for tag, a1, _, b1, b2 in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        if tag == "equal"
    ]
    marks: dict[int, int] = {}
    shift = 0
    for start, first, end in blocks:
        if start - first == shift:
            continue
        at = next(_safe(after, first, end), None)
        if at is not None:
            marks[at] = start + (at - first) + 1
            shift = start - first
    out = []
    for number, line in enumerate(shown.split("\n") if shown else after):
        if number in marks:
            out.append(f'#line {marks[number]} "{path}"')
        out.append(line)
    return "\n".join(out)


def _safe(lines: Sequence[str], first: int, end: int) -> Iterator[int]:
    """Line numbers in a range that begin a declaration: what is before them is complete, they start at the margin."""
    for number in range(first, end):
        if not _TOP.match(lines[number]) or lines[number].startswith("#"):
            continue
        above = next((lines[n] for n in range(number - 1, -1, -1) if lines[n].strip()), "")
        if above == "" or above[0] == "}" or (above[0] not in " \t{" and _END.match(above) and "\\" not in above[-1:]):
            yield number
