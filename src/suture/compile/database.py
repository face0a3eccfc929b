"""Compilation databases (compile_commands.json, as CMake, meson and bear write it): read, and written while a build
runs.

Which objects each binary was linked from is no part of that format; `suture record` writes it beside, in
link_commands.json.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suture.command import run
from suture.compile import record, stand_in
from suture.compile.call import Call
from suture.compile.linked import links_in
from suture.compile.record import relative
from suture.compile.unit import LANGUAGES, Unit
from suture.error import ExitCode, NotFound, SutureError
from suture.source.origin import build_id_of

NAME, LINKS = "compile_commands.json", "link_commands.json"
_LEAST_DEPTH = 3  # of a folder that is taken for a source tree: not /, not /home


class BadDatabase(SutureError):
    """A compile_commands.json is not what the format says."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True)
class Recorded:
    """What a build was seen to do; `untold` are outputs that cannot be made again, in words; `uncompiled` is by binary
    what was linked into it and not compiled."""

    units: tuple[Unit, ...]
    untold: tuple[str, ...] = ()
    uncompiled: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Held:
    """What is told of a binary: the objects that it was linked from, and why there may be more, "" where that is
    all."""

    objects: frozenset[str]
    gap: str = ""


def find(tree: Path) -> Path:
    """The compile_commands.json of a tree: in its root, in build/, or in the one folder below that has one.

    Raises `NotFound`, and `BadDatabase` when several folders have one.
    """
    for path in (tree / NAME, tree / "build" / NAME):
        if path.is_file():
            return path
    below = sorted(p for p in tree.glob(f"*/{NAME}") if p.is_file())
    if len(below) > 1:
        raise BadDatabase(
            f"{tree} was built in several folders: {', '.join(p.parent.name for p in below)}",
            f"give the one that the binary is from: --tree {below[0].parent}",
        )
    if not below:
        raise NotFound(f"{tree} has no {NAME}", "record one while it builds: suture record -- make (after a clean)")
    return below[0]


def source_root(tree: Path) -> Path:
    """The folder of the sources that a tree's database names: the tree itself, or, for a folder that was built in
    alone, what CMake or meson wrote down as the source, else the folder that all sources share."""
    own = find(tree)
    told = _told_root(own.parent)
    sources = [os.path.normpath(os.path.join(row["directory"], row["file"])) for row in _rows(own)]
    if not sources or (Path(told).is_relative_to(tree) if told else any(x.startswith(f"{tree}/") for x in sources)):
        return tree
    shared = Path(os.path.commonpath(sources))
    root = Path(told) if told else shared if shared.is_dir() else shared.parent
    if not root.is_dir() or len(root.parts) < _LEAST_DEPTH:
        raise BadDatabase(
            f"{own}: its sources lie in {root}, not in {tree}", "give the folder of the sources with --tree"
        )
    return root


def _told_root(build: Path) -> str:
    cache, meson = build / "CMakeCache.txt", build / "meson-info/meson-info.json"
    if cache.is_file():
        found = re.search(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(/.*)$", cache.read_text(errors="replace"), re.M)
        return found[1] if found else ""
    if meson.is_file():
        return str(json.loads(meson.read_text())["directories"]["source"])
    return ""


def read(tree: Path, root: Path | None = None) -> tuple[Unit, ...]:
    """The units of a built tree, whose sources lie in `root` (the tree itself). Raises `NotFound` and `BadDatabase`.

    Source of the format: Clang, "JSON Compilation Database Format Specification".
    """
    path = find(tree)
    units = [_unit(str(root or tree), row) for row in _rows(path)]
    return tuple(sorted({u.object: u for u in units if u}.values(), key=lambda u: u.object))


def _rows(path: Path) -> list[dict[str, Any]]:
    """The entries, each with a directory, a file and the arguments."""
    try:
        rows = json.loads(path.read_text())
        return [
            {
                "directory": os.path.normpath(os.path.join(path.parent, str(row["directory"]))),
                "file": str(row["file"]),
                "arguments": [str(x) for x in row.get("arguments") or shlex.split(str(row["command"]))],
                "output": str(row.get("output", "")),
            }
            for row in rows
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as bad:
        raise BadDatabase(f"{path}: not a compilation database ({bad!r})", "make it again") from bad


def held(tree: Path, root: Path, binary: Path, units: Sequence[Unit]) -> Held:
    """What a binary was linked from, as the record of its build tells, or CMake's and meson's own; all units where
    nothing tells.

    What is told is of this binary if the output that lay or lies there has its build-id, which a strip leaves as it is.
    """
    place, wanted = find(tree).parent, build_id_of(binary)
    everything = frozenset(u.object for u in units)
    recorded = place / LINKS
    if recorded.is_file():
        rows = [r for r in _link_rows(recorded) if r[0] == wanted]
        found = {relative(str(root), str(place), x) for _, objects, _ in rows for x in objects}
        missing = sorted({x for _, _, names in rows for x in names})
        return Held(frozenset(found) or everything, _gap(binary, missing) if rows else _unlinked(binary))
    if wanted is None:
        return Held(everything)
    rows_of = {relative(str(root), x.directory, x.output): x for x in links_in(place)}
    links = {k: tuple(relative(str(root), x.directory, i) for i in x.inputs) for k, x in rows_of.items()}
    recording = record.Recording(tuple(units), links, shared=frozenset(k for k, x in rows_of.items() if x.is_shared))
    mine = [k for k, x in rows_of.items() if build_id_of(Path(x.directory, x.output)) == wanted]
    return Held(frozenset().union(*(recording.objects_of(k) for k in mine)) or everything)


def _gap(binary: Path, missing: Sequence[str]) -> str:
    if len(missing) < 2:
        return "".join(f"{x} is linked into {binary.name} and was not compiled while recording" for x in missing)
    named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    return f"{named} are linked into {binary.name} and were not compiled while recording"


def _unlinked(binary: Path) -> str:
    return f"the link of {binary.name} was not recorded, so it may hold objects that were not compiled while recording"


def _link_rows(path: Path) -> list[tuple[str, list[str], list[str]]]:
    """Build-id, objects, and what was linked and not compiled, of each recorded link."""
    try:
        return [
            (str(r["build_id"]), [str(x) for x in r["objects"]], [str(x) for x in r["uncompiled"]])
            for r in json.loads(path.read_text())
        ]
    except (ValueError, KeyError, TypeError) as bad:
        raise BadDatabase(f"{path}: not what suture record writes ({bad!r})", "record the build again") from bad


def build(command: Sequence[str], tree: Path) -> Recorded:
    """Run a build in a tree, record its commands and write them down.

    Raises `CommandFailed` when the build fails, `NotFound` when it compiled nothing.
    """
    root = tree.resolve()
    with tempfile.TemporaryDirectory() as name:
        tools, log = Path(name, "tools"), Path(name, "log")
        tools.mkdir()
        log.mkdir()
        stand_in.install(tools)
        path = os.environ.get("PATH", os.defpath)
        run(command, cwd=root, env={"PATH": f"{tools}:{path}", **stand_in.environment(str(log), stand_in.PASS, path)})
        recording = record.read(log, str(root), root)
    if not recording.units:
        return Recorded(_from_cmake(command, root), recording.untold)
    rows = [
        {
            "directory": u.directory,
            "file": str(root / u.source),
            "output": str(root / u.object),
            "arguments": list(u.argv),
        }
        for u in recording.units
    ]
    links: list[dict[str, Any]] = [
        {
            "output": output,
            "build_id": build_id,
            "objects": sorted(recording.objects_of(output)),
            "uncompiled": recording.uncompiled(output, root),
        }
        for output in sorted(recording.links)
        if (build_id := build_id_of(root / output)) is not None
    ]
    (root / NAME).write_text(json.dumps(rows, indent=1) + "\n")
    (root / LINKS).write_text(json.dumps(links, indent=1) + "\n")
    return Recorded(recording.units, recording.untold, {r["output"]: r["uncompiled"] for r in links if r["uncompiled"]})


def _from_cmake(command: Sequence[str], root: Path) -> tuple[Unit, ...]:
    """The units of a tree that CMake has configured before: it calls compilers by the absolute paths that it found
    then, and writes a database itself when it is asked for one."""
    said = f"{' '.join(command)} called no compiler in {root} that could be recorded"
    caches = sorted({*root.glob("CMakeCache.txt"), *root.glob("*/CMakeCache.txt"), *root.glob("*/*/CMakeCache.txt")})
    if len(caches) != 1:
        raise NotFound(
            said,
            "clean the tree first, so that all of it is compiled; a build that calls compilers by absolute paths "
            "must call them by their names (make CC=gcc), or write the database itself (cmake "
            "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON)",
        )
    place = caches[0].parent
    run(["cmake", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", str(place)], cwd=place)
    if not (place / NAME).is_file():
        raise NotFound(
            f"{said}, and its generator writes no {NAME}", "configure it with -G Ninja or -G 'Unix Makefiles'"
        )
    return read(place, source_root(place))


def _unit(root: str, row: Mapping[str, Any]) -> Unit | None:
    argv, directory = tuple(row["arguments"]), row["directory"]
    source = relative(root, directory, row["file"])
    call = Call(argv[1:])
    named = [x for x in call.sources if relative(root, directory, x.path) == source]
    language = named[0].language if named else LANGUAGES.get(posixpath.splitext(source)[1])
    if source.startswith("/") or language is None:
        return None
    output = row["output"] or (
        call.object_of(named[0]) if named else f"{posixpath.splitext(posixpath.basename(source))[0]}.o"
    )
    return Unit(source, relative(root, directory, output), directory, argv, language)
