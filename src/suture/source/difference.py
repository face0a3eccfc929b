"""Fixes out of source packages: a named patch of a version's quilt series, or all that differs between two versions."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from suture.command import CommandFailed, run
from suture.error import NotFound, Refused
from suture.source.archive import SourceVersion
from suture.source.changed_line import Reader, changed_lines
from suture.source.claim import claiming
from suture.source.fix import Fix, parse
from suture.source.patch_command import apply_patch
from suture.source.subject import CVE

_TEST = re.compile(r"(?:^|[-_./])tests?(?:[-_./]|$)", re.IGNORECASE)
_SKIPPED = ("debian", ".pc", ".git")


def from_series(source: SourceVersion, name: str) -> Fix:
    """A patch of `debian/patches/series` by its name, with or without its suffix. Raises `NotFound`.

    A number in its name keeps no CVE from it: which other parts there are, the series tells (`siblings`).
    """
    folder = source.tree / "debian" / "patches"
    listed = series(source)
    found = [p for p in listed if name in (p, Path(p).name, Path(p).stem, p.rsplit(".", 1)[0])]
    if len(found) != 1:
        near = [p for p in listed if name.lower() in p.lower()] or list(listed)
        raise NotFound(
            f"{source.name} {source.version} has no patch {name} in its series", f"it has: {', '.join(near[:20])}"
        )
    text = (folder / found[0]).read_bytes().decode(errors="surrogateescape")
    fix = parse(text, found[0], lambda path: (source.tree / path).is_file())
    return claiming([fix], {n.cve for n in fix.named if n.number})[0]


def series(source: SourceVersion) -> tuple[str, ...]:
    """Names of the quilt series in order (dpkg-source(1), format 3.0 (quilt)); empty for another source format."""
    path = source.tree / "debian" / "patches" / "series"
    if not path.is_file():
        return ()
    lines = (line.split("#")[0].split() for line in path.read_text().splitlines())
    return tuple(words[0] for words in lines if words)


def siblings(old: SourceVersion, new: SourceVersion, name: str, cve: str) -> tuple[str, ...]:
    """Other patches of the newer series that are called after the same CVE, tests and what the older version has
    already left aside: a fix in several parts."""
    own, there = from_series(new, name).name, set(series(old))
    called = (p for p in series(new) if p != own and cve in CVE.findall(p) and not _TEST.search(p))
    return tuple(p for p in called if p not in there or not _same_patch(old, new, p))


def fixes_between(old: SourceVersion, new: SourceVersion) -> tuple[Fix, ...]:
    """Everything that differs between two fully patched trees: by patch where the newer series only adds patches to the
    older one, after a fix of what older patches that were changed make of the tree; else as one fix. Raises `Refused`
    when nothing differs."""
    whole = between(old, new)
    before, after = series(old), series(new)
    fixes = [from_series(new, p) for p in after[len(before) :]]
    if old.upstream != new.upstream or after[: len(before)] != before or not fixes:
        return (whole,)
    if not all(_same_patch(old, new, p) for p in before):
        rest = _rest(old, new, fixes)
        claimed = {c for f in fixes for c in f.cves}
        fixes = [replace(rest, cves=tuple(c for c in whole.cves if c not in claimed)), *fixes] if rest else []
    return tuple(fixes) if fixes and _is_all(fixes, whole, old, new) else (whole,)


def _rest(old: SourceVersion, new: SourceVersion, fixes: Sequence[Fix]) -> Fix | None:
    """What differs once the fixes are taken back from the newer tree; None where they can't be, or nothing is left."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        run(["cp", "--archive", "--reflink=auto", str(new.tree), str(tree)])
        try:
            for fix in reversed(fixes):
                text = "".join(f.text for f in reversed(fix.files) if f.has_hunks)
                apply_patch(tree, text, reverse=True)
            return tree_difference(old.tree, tree, f"{old.name}-{old.version}-to-{new.version}-changed-patches")
        except (CommandFailed, Refused):
            return None


def _same_patch(old: SourceVersion, new: SourceVersion, name: str) -> bool:
    a, b = (x.tree / "debian" / "patches" / name for x in (old, new))
    return a.is_file() and b.is_file() and a.read_bytes() == b.read_bytes()


def _is_all(fixes: Sequence[Fix], whole: Fix, old: SourceVersion, new: SourceVersion) -> bool:
    """Whether the fixes one after another lead from the old tree to the new one, in every file that differs."""
    if not {f.path for f in whole.files} <= {p.path for f in fixes for p in f.files}:
        return False

    def reader(source: SourceVersion) -> Reader:
        return lambda path: (source.tree / path).read_bytes() if (source.tree / path).is_file() else None

    return all(lines.exact for lines in changed_lines(fixes, reader(old), reader(new)).values())


def between(old: SourceVersion, new: SourceVersion, only: Iterable[str] = ()) -> Fix:
    """Everything that differs between two fully patched trees, narrowed to paths (a file, a folder, or a shell
    pattern).

    Files outside `only`, and debian/ itself, are left out. The changelog tells which CVEs the whole closes; of a part
    it tells nothing, so that names none. Raises `Refused` when nothing differs.
    """
    wanted = tuple(only)
    name = "-".join([f"{old.name}-{old.version}-to-{new.version}", *(Path(w).name for w in wanted)])
    fix = tree_difference(old.tree, new.tree, name, wanted)
    return fix if wanted else replace(fix, cves=cves_between(old, new))


def tree_difference(old: Path, new: Path, name: str, wanted: tuple[str, ...] = ()) -> Fix:
    """What differs between two trees under `wanted` (all of it if empty), as a fix of that name and no more. Raises
    `Refused` for nothing."""
    paths = tuple(w for w in wanted if not any(c in w for c in "*?[")) if wanted else ()
    texts = [_diff(old, new, path) for path in paths] if paths and len(paths) == len(wanted) else [_diff(old, new, ".")]
    text = "".join(texts)
    if not text:
        raise Refused(
            f"{name}: nothing differs{' under ' + ', '.join(wanted) if wanted else ''}", "check paths and versions"
        )
    return replace(parse(text, name).only(wanted), left_out=()) if wanted else parse(text, name)


def cves_between(old: SourceVersion, new: SourceVersion) -> tuple[str, ...]:
    """CVE numbers in those entries of the newer changelog that the older one does not have, sorted.

    One that an entry of the older changelog names is left out: it was closed before, and what is said of it now is
    about its tests, or its patch in another form.
    """
    before = _entries(old)
    known = {cve for entry in before for cve in CVE.findall(entry)}
    named = {cve for entry in _entries(new) if entry not in set(before) for cve in CVE.findall(entry)}
    return tuple(sorted(named - known))


def _entries(source: SourceVersion) -> list[str]:
    """The entries of debian/changelog, each from its heading on (deb-changelog(5))."""
    text = (source.tree / "debian" / "changelog").read_text(errors="surrogateescape")
    return re.split(r"^(?=\S+ \([^)]+\) )", text, flags=re.MULTILINE)[1:]


def _diff(old: Path, new: Path, path: str) -> str:
    """A recursive unified diff of one path of two trees with names that strip to the path (-p1)."""
    if not (old / path).exists() and not (new / path).exists():
        return ""
    excluded = [f"--exclude={x}" for x in _SKIPPED]
    options = ["--unified", "--recursive", "--new-file", "--text", "--no-dereference", *excluded]
    with tempfile.TemporaryDirectory() as folder:
        # Redirected, because output that is captured as text loses bytes that are not UTF-8, and then does not apply.
        output = Path(folder, "diff")
        command = ["sh", "-c", 'out=$1; shift; exec diff "$@" >"$out"', "diff", str(output), *options]
        run([*command, str(old / path), str(new / path)], accept=frozenset({0, 1}))
        text = output.read_bytes().decode(errors="surrogateescape")
    return (
        text.replace(f"--- {old}/", "--- a/")
        .replace(f"+++ {new}/", "+++ b/")
        .replace("--- a/./", "--- a/")
        .replace("+++ b/./", "+++ b/")
    )
