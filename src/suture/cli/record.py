"""`suture record`: run a build and write its compile_commands.json."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.cli.output import print_json, progress
from suture.error import ExitCode, SutureError

HELP = """
Run the build of a tree of your own and record the exact command of each file that it compiles, as compile_commands.json in the
tree, for `suture make --tree`. The build runs as it would without; clean the tree first, so that all of it is compiled.
"""
EXAMPLES = ("suture record -- make -j4", "suture record --tree ~/src/server -- ninja -C build")
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.COMMAND)


class NoCommand(SutureError):
    """The build's command is missing."""

    exit_code = ExitCode.USAGE


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tree", type=Path, default=Path("."), metavar="DIR", help="the tree that is built (default: here)"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the build's command")


def run(args: argparse.Namespace) -> int:
    from suture.compile.database import build

    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise NoCommand("no build command was given", "for example: suture record -- make")
    with progress(args) as step:
        step(f"running {' '.join(command)}")
        units = build(command, args.tree)
    path = args.tree.resolve() / "compile_commands.json"
    if args.json:
        print_json({"path": str(path), "units": len(units)})
    else:
        print(f"{len(units)} compile commands in {path}")
    return ExitCode.OK
