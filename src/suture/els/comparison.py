"""Binary packages beside others of the same source: which files they have, what their code needs and offers, and which
functions differ. The changelog, build-ids and debug symbols differ in every build, and are left aside."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from suture.command import run
from suture.elf import abi
from suture.elf.file import ElfFile
from suture.els.linker_name import in_source, is_one_of
from suture.els.machine_code import MovedLines, changed_functions
from suture.error import SutureError
from suture.report.els import BuiltDifference, DifferenceKind
from suture.source import cache

_ASIDE = re.compile(
    r"usr/share/doc/[^/]+/(?:NEWS\.Debian|changelog)[^/]*|usr/lib/(?:debug|\.build-id)/.*"
    r"|usr/share/lintian/overrides/.*"
)
_DOCUMENT = "/usr/share/doc/"
_DYNAMIC = re.compile(r"\((NEEDED|SONAME)\)\s+[^\[]*\[([^\]]+)\]")


@dataclass(frozen=True)
class UnpackedPackages:
    """The roots of unpacked binary packages by their names, and the roots in which debug symbols are looked for."""

    roots: Mapping[str, Path]
    debug: tuple[Path, ...] = ()

    def files(self, package: str) -> dict[str, Path]:
        """The files and links of a package by their paths, but for those that differ in every build."""
        root = self.roots[package]
        found = ((str(p.relative_to(root)), p) for p in sorted(root.rglob("*")) if not p.is_dir() or p.is_symlink())
        return {name: p for name, p in found if not _ASIDE.fullmatch(name)}

    def symbols_of(self, file: ElfFile) -> ElfFile | None:
        """The file with the `.symtab` of a stripped one; None where there is none."""
        if file.symbols or file.build_id is None:
            return file if file.symbols else None
        place = f"usr/lib/debug/.build-id/{file.build_id[:2]}/{file.build_id[2:]}.debug"
        kept = next((root / place for root in self.debug if cache.is_plain(root / place)), None)
        return ElfFile.read(kept) if kept else None


def unpacked(debs: tuple[Path, ...], folder: Path) -> UnpackedPackages:
    """Unpack binary packages below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    roots, debug = {}, []
    for deb in debs:
        name = run(["dpkg-deb", "--field", str(deb), "Package"]).strip()
        root = folder / name
        run(["dpkg-deb", "--extract", str(deb), str(root)])
        if name.endswith("-dbgsym"):
            debug.append(root)
        else:
            roots[name] = root
    return UnpackedPackages(roots, tuple(debug))


@dataclass(frozen=True)
class MeantChange:
    """What fixes mean to change: functions by their names in the source, and lines that stand elsewhere then."""

    functions: frozenset[str] = frozenset()
    moved: MovedLines = frozenset()


def compared(old: UnpackedPackages, new: UnpackedPackages, meant: MeantChange) -> tuple[BuiltDifference, ...]:
    """What differs. A change of a function that is `meant` to change is expected, and one of the numbers of its lines
    alone; whatever else differs is not, but for the contents of documents."""
    found = []
    for package in sorted({*old.roots, *new.roots}):
        if package not in old.roots or package not in new.roots:
            what = "the package is new" if package in new.roots else "the package is gone"
            found.append(BuiltDifference(package, "", DifferenceKind.FILE, what, False))
            continue
        before, after = old.files(package), new.files(package)
        for name in sorted({*before, *after}):
            if name not in before or name not in after:
                what = "the file is new" if name in after else "the file is gone"
                found.append(BuiltDifference(package, name, DifferenceKind.FILE, what, False))
                continue
            found += [
                BuiltDifference(package, name, kind, what, is_meant)
                for kind, what, is_meant in _of_file(before[name], after[name], old, new, meant)
            ]
    return tuple(found)


def outside(old: UnpackedPackages, new: UnpackedPackages) -> tuple[BuiltDifference, ...]:
    """What differs in the sets of files, and in what code needs and offers; contents are not looked at. Packages that
    `old` has not are left aside."""
    both = UnpackedPackages({n: r for n, r in new.roots.items() if n in old.roots}, new.debug)
    found = []
    for package in sorted(both.roots):
        before, after = old.files(package), both.files(package)
        for name in sorted({*before, *after}):
            if name in before and name in after:
                rows = _interface(before[name], after[name])
            else:
                rows = iter([(DifferenceKind.FILE, "the file is new" if name in after else "the file is gone")])
            found += [BuiltDifference(package, name, kind, what, False) for kind, what in rows]
    return tuple(found)


def _of_file(
    before: Path, after: Path, old: UnpackedPackages, new: UnpackedPackages, meant: MeantChange
) -> Iterator[tuple[DifferenceKind, str, bool]]:
    if before.is_symlink() or after.is_symlink():
        if (before.is_symlink(), _target(before)) != (after.is_symlink(), _target(after)):
            yield DifferenceKind.FILE, "the link leads elsewhere", False
        return
    if before.read_bytes() == after.read_bytes():
        return
    if before.suffix == ".a":
        yield from _of_library(before, after, old, new, meant)
        return
    if not _is_elf(before) or not _is_elf(after):
        is_document = _DOCUMENT in before.as_posix()
        yield (
            DifferenceKind.DATA,
            "the contents differ (a document)" if is_document else "the contents differ",
            is_document,
        )
        return
    for kind, what in _interface(before, after):
        yield kind, what, False
    yield from _of_code(ElfFile.read(before), ElfFile.read(after), old, new, meant)


def _of_code(
    a: ElfFile, b: ElfFile, old: UnpackedPackages, new: UnpackedPackages, meant: MeantChange
) -> Iterator[tuple[DifferenceKind, str, bool]]:
    names = old.symbols_of(a), new.symbols_of(b)
    if names[0] is None or names[1] is None:
        yield DifferenceKind.FUNCTION, "the code differs, and there are no symbols to tell where", False
        return
    changed = changed_functions(a, names[0], b, names[1], meant.moved)
    rows: dict[str, bool] = {}
    for one, function in zip(changed, in_source([c.name for c in changed]), strict=True):
        if is_one_of(function, meant.functions):
            rows[f"{function} changes"] = True
        elif one.by_lines:
            rows[f"{function} changes in its line numbers alone"] = True
        else:
            rows[f"{function} changes, which the fixes do not name"] = False
    for said, is_meant in rows.items():
        yield DifferenceKind.FUNCTION, said, is_meant
    if not changed and any(_section(a, n) != _section(b, n) for n in (".rodata", ".data", ".data.rel.ro")):
        yield DifferenceKind.DATA, "data differs, and no function", False


def _of_library(
    before: Path, after: Path, old: UnpackedPackages, new: UnpackedPackages, meant: MeantChange
) -> Iterator[tuple[DifferenceKind, str, bool]]:
    """Two static libraries, member by member."""
    with tempfile.TemporaryDirectory(prefix="suture-els-") as folder:
        mine, theirs = _members(before, Path(folder, "before")), _members(after, Path(folder, "after"))
        if list(mine) != list(theirs):
            yield DifferenceKind.DATA, "the members of the library differ", False
        for name in (n for n in mine if n in theirs and mine[n].read_bytes() != theirs[n].read_bytes()):
            if _is_elf(mine[name]) and _is_elf(theirs[name]):
                yield from _of_code(ElfFile.read(mine[name]), ElfFile.read(theirs[name]), old, new, meant)
            else:
                yield DifferenceKind.DATA, f"{name} differs", False


def _members(library: Path, folder: Path) -> dict[str, Path]:
    folder.mkdir()
    run(["ar", "x", str(library)], cwd=folder)
    return {p.name: p for p in sorted(folder.iterdir())}


def _section(file: ElfFile, name: str) -> bytes:
    found = file.section(name)
    return file.bytes_of(found) if found else b""


def _interface(before: Path, after: Path) -> Iterator[tuple[DifferenceKind, str]]:
    """What differs in SONAME, NEEDED and exported symbols of two ELF files."""
    if before.is_symlink() or after.is_symlink() or not _is_elf(before) or not _is_elf(after):
        return
    old, new = _dynamic(before), _dynamic(after)
    for kind in (DifferenceKind.SONAME, DifferenceKind.NEEDED):
        if old[kind] != new[kind]:
            yield kind, f"{' '.join(sorted(old[kind])) or 'none'} becomes {' '.join(sorted(new[kind]))}"
    a, b = _exported(before), _exported(after)
    for name in sorted(a ^ b):
        yield DifferenceKind.SYMBOL, f"{name} is {'exported now' if name in b else 'not exported any more'}"


def _dynamic(path: Path) -> dict[DifferenceKind, set[str]]:
    found: dict[DifferenceKind, set[str]] = {DifferenceKind.SONAME: set(), DifferenceKind.NEEDED: set()}
    for kind, name in _DYNAMIC.findall(run(["readelf", "--dynamic", "--wide", str(path)])):
        found[DifferenceKind(kind.lower())].add(name)
    return found


def _exported(path: Path) -> set[str]:
    try:
        symbols = ElfFile.read(path).dynamic_symbols
    except SutureError:
        return set()
    return {f"{s.name}@{s.version}" if s.version else s.name for s in symbols if s.is_defined and s.name}


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(20)
    return head[:4] == abi.ELFMAG and head[18:20] == abi.EM_X86_64.to_bytes(2, "little")


def _target(path: Path) -> str:
    return str(path.readlink()) if path.is_symlink() else ""
