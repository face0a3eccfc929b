"""`suture verify`: make a live patch again and compare it byte by byte."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.difference import first_difference
from suture.cli.output import print_json, progress
from suture.error import ExitCode, Refused, SutureError

if TYPE_CHECKING:
    from suture.make.request import Request

HELP = """
Make a live patch again from what its manifest says (source version, fixes, options) and compare the result byte by byte.

Equal bytes prove that the patch holds what its source says and nothing else. The source and the shipped binary are fetched
from the archive, so whoever made the patch need not be trusted. A patch file whose fix came from a local file carries that
file's text. A patch of a tree of one's own says where that tree lay; give the tree and the binary yourself, because nothing that
a patch names is run. They have to lie where they lay.
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


class Differs(SutureError):
    """The patch made again has other bytes."""

    exit_code = ExitCode.BAD_PATCH


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("patch", type=Path, metavar="PATCH", help="a live patch file (NAME.suture.o)")
    parser.add_argument(
        "--tree", type=Path, metavar="DIR", help="the tree that a patch of one's own tree was made from"
    )
    parser.add_argument("--binary", type=Path, metavar="FILE", help="the binary that was built from --tree")


def run(args: argparse.Namespace) -> int:
    os.umask(0o022)  # package code and compilers run as another user, and read what is written here
    if args.patch.suffix == ".ko":
        from suture.cli import kernel

        return kernel.verify(args)
    from suture.make.make import make
    from suture.make.request import Request, ready
    from suture.patch.file import read_patch

    patch = read_patch(args.patch)
    target = patch.manifest.target
    with progress(args) as step:
        request = Request.from_facts(patch.manifest.request, target.file)
        everything = ready(_trusted(request, args), step)
        making = make(everything.tree, everything.shipped, everything.fixes, request.facts(), step, everything.beside)
    again = next((m for m in making.patches if m.manifest.target.build_id == target.build_id), None)
    if again is None or again.id != patch.id:
        _check_place(request, args)
    if again is None:
        raise Differs(
            f"{args.patch}: made again, nothing comes out for build-id {target.build_id}", "do not apply this patch"
        )
    if again.id != patch.id:
        raise Differs(
            f"{args.patch}: made again it is {again.id}, not {patch.id}: {first_difference(patch.object.data, again.data)}",
            "do not apply this patch",
        )
    if args.json:
        print_json({"id": patch.id, "verified": True, "bytes": len(again.data), "compiler": everything.tree.compiler})
    else:
        print(f"{patch.id}: made again from {request.source or request.tree}, the same {len(again.data)} bytes")
    return ExitCode.OK


def _trusted(request: Request, args: argparse.Namespace) -> Request:
    """The request of a manifest with the tree and binary that the user names. Raises `Refused` when the user names none."""
    from suture.make.request import BadRequest

    if not request.tree:
        if args.tree or args.binary:
            raise BadRequest("the patch was made from the archive's source", "leave out --tree and --binary")
        return request
    if not args.tree or not args.binary:
        raise Refused(
            f"{args.patch}: made from a tree of one's own ({request.tree}), whose compile commands are not run because a patch names it",
            "if the tree is yours, name it: suture verify PATCH --tree DIR --binary FILE",
        )
    return replace(request, tree=str(args.tree.resolve()), binary=str(args.binary.resolve()))


def _check_place(request: Request, args: argparse.Namespace) -> None:
    """Raises `Refused` where a tree of one's own lies elsewhere than when the patch was made: paths go into code and manifest."""
    if not args.tree or not args.binary:
        return
    given = (str(args.tree.resolve()), str(args.binary.resolve()))
    if given != (request.tree, request.binary):
        raise Refused(
            f"{args.patch}: it was made from {request.tree} and {request.binary}, not from {given[0]} and {given[1]}, so its "
            "bytes are others and tell nothing",
            "put the tree and the binary where they lay, or compare what suture show prints of both",
        )
