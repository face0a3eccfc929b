"""`suture verify`: make a live patch again and compare it byte by byte."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from suture.cli.output import print_document, progress
from suture.error import ExitCode

HELP = """
Make a live patch again from what its manifest says (source version, fixes, options), and compare the result
byte by byte.

Equal bytes prove that the patch holds what its source says and nothing else. Suture fetches the source and the
shipped binary from the archive, so you need not trust whoever made the patch. If a fix came from a local file,
the patch file carries that file's text.

A patch for a tree of your own says where that tree was. Give the tree and the binary yourself, because Suture
runs nothing that a patch names. They must be in the same place as before.
"""
EXAMPLES = (
    "suture verify openssl-CVE-2025-9230.suture.o",
    "suture verify server-hole.suture.o --tree . --binary ./server",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.BAD_PATCH,
    ExitCode.NOT_FOUND,
    ExitCode.NO_MATCH,
    ExitCode.COMMAND,
    ExitCode.REFUSED,
    ExitCode.USAGE,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("patch", type=Path, metavar="PATCH", help="a live patch file (NAME.suture.o)")
    parser.add_argument(
        "--tree", type=Path, metavar="DIR", help="for a patch of your own program: the tree that it was made from"
    )
    parser.add_argument("--binary", type=Path, metavar="FILE", help="the binary that was built from --tree")


def run(args: argparse.Namespace) -> int:
    from suture.maker.maker import of_file

    os.umask(0o022)  # package code and compilers run as another user, and read what is written here
    maker = of_file(args.patch)
    with progress(args) as step:
        found = maker.verify(args.patch, args.tree, args.binary, step)
    if args.json:
        print_document(found)
    else:
        print(f"{found.id}: made again from {found.source}, the same {found.bytes} bytes")
    return found.exit_code
