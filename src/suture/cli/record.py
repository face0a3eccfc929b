"""`suture record`: run a build and write its compile_commands.json."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.cli.output import print_document, progress
from suture.error import ExitCode, NotFound, SutureError
from suture.report.document import RecordReport
from suture.report.moment import now

HELP = """
Run the build of a tree of your own and record it for `suture make --tree`: the exact command of each compiled
file, as compile_commands.json in the tree, and the objects that each binary is linked from, as
link_commands.json. The build runs as it would without Suture.

Clean the tree first, so that the build compiles all of it. If an object is linked but was not compiled, Suture
names it, and a patch for that binary is partial. For a tree that CMake has already configured, Suture uses
CMake's own compile_commands.json.
"""
EXAMPLES = ("suture record -- make -j4", "suture record --tree ~/src/server -- cmake --build build")
EXIT_CODES = (ExitCode.OK, ExitCode.PARTIAL, ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.COMMAND)


class NoCommand(SutureError):
    """The build's command is missing."""

    exit_code = ExitCode.USAGE


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tree", type=Path, default=Path("."), metavar="DIR", help="the tree that is built (default: here)"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the build's command")


def run(args: argparse.Namespace) -> int:
    from suture.compile.database import build, find

    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise NoCommand("no build command was given", "for example: suture record -- make")
    if not args.tree.is_dir():
        raise NotFound(f"{args.tree}: no such folder", "give the folder of the tree with --tree DIR")
    with progress(args) as step:
        step(f"running {' '.join(command)}")
        recorded = build(command, args.tree)
    path = find(args.tree.resolve())
    code = ExitCode.PARTIAL if recorded.untold or recorded.uncompiled else ExitCode.OK
    if args.json:
        uncompiled = {str(output): tuple(names) for output, names in recorded.uncompiled.items()}
        print_document(
            RecordReport(now(), int(code), str(path), len(recorded.units), tuple(recorded.untold), uncompiled)
        )
    else:
        print(f"{len(recorded.units)} compile commands in {path}")
        for what in recorded.untold:
            print(f"not recorded: {what}; compile it from a file")
        for output, names in sorted(recorded.uncompiled.items()):
            print(
                f"not compiled: {', '.join(names)}, linked into {output}; run make clean, then record the build again"
            )
    return code
