"""Compilation databases (compile_commands.json, as CMake, meson and bear write it): read, and written while a build runs."""

from __future__ import annotations

import json
import os
import posixpath
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from suture.command import run
from suture.compile import record
from suture.compile.record import relative
from suture.compile.unit import LANGUAGES, Unit, value_of
from suture.error import ExitCode, NotFound, SutureError

NAME = "compile_commands.json"


class BadDatabase(SutureError):
    """A compile_commands.json is not what the format says."""

    exit_code = ExitCode.USAGE


def find(tree: Path) -> Path:
    """The compile_commands.json of a tree, which may lie in build/. Raises `NotFound`."""
    for path in (tree / NAME, tree / "build" / NAME):
        if path.is_file():
            return path
    raise NotFound(f"{tree} has no {NAME}", "record one while it builds: suture record -- make (after a clean)")


def read(tree: Path) -> tuple[Unit, ...]:
    """The units of a built tree, from its compile_commands.json (also looked for in build/).

    Raises `NotFound` and `BadDatabase`. Source of the format: Clang, "JSON Compilation Database Format Specification".
    """
    found = find(tree)
    try:
        units = [_unit(str(tree), row) for row in json.loads(found.read_text())]
    except (ValueError, KeyError, TypeError, AttributeError) as bad:
        raise BadDatabase(f"{found}: not a compilation database ({bad!r})", "make it again") from bad
    return tuple(sorted({u.object: u for u in units if u}.values(), key=lambda u: u.object))


def build(command: Sequence[str], tree: Path) -> tuple[Unit, ...]:
    """Run a build in a tree, record its compile commands and write compile_commands.json; the units.

    Raises `CommandFailed` when the build fails, `NotFound` when it compiled nothing.
    """
    root = tree.resolve()
    with tempfile.TemporaryDirectory() as name:
        tools, log = Path(name, "tools"), Path(name, "log")
        tools.mkdir()
        log.mkdir()
        record.install(tools)
        path = os.environ.get("PATH", os.defpath)
        run(command, cwd=root, env={"PATH": f"{tools}:{path}", **record.environment(str(log), record.PASS, path)})
        units = record.read(log, str(root)).units
    if not units:
        raise NotFound(
            f"{' '.join(command)} compiled nothing in {root}", "clean the tree first, so that all of it is compiled"
        )
    rows = [
        {
            "directory": u.directory,
            "file": str(root / u.source),
            "output": str(root / u.object),
            "arguments": list(u.argv),
        }
        for u in units
    ]
    (root / NAME).write_text(json.dumps(rows, indent=1) + "\n")
    return units


def _unit(root: str, row: dict[str, object]) -> Unit | None:
    arguments = row.get("arguments") or shlex.split(str(row["command"]))
    if not isinstance(arguments, list):
        raise TypeError("arguments")
    argv = tuple(str(x) for x in arguments)
    directory = posixpath.normpath(posixpath.join(root, str(row["directory"])))
    source = relative(root, directory, str(row["file"]))
    stem, suffix = posixpath.splitext(posixpath.basename(source))
    if source.startswith("/") or suffix not in LANGUAGES:
        return None
    output = str(row.get("output") or value_of("-o", argv) or f"{stem}.o")
    return Unit(source, relative(root, directory, output), directory, argv, LANGUAGES[suffix])
