"""`suture verify`: make a live patch again and compare it byte by byte."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.cli.output import print_json, progress
from suture.error import ExitCode, SutureError

HELP = """
Make a live patch again from what its manifest says (source version, fixes, options) and compare the result byte by byte.

Equal bytes prove that the patch holds what its source says and nothing else. The source and the shipped binary are fetched
from the archive, so whoever made the patch need not be trusted. A patch file whose fix came from a local file carries that
file's text.
"""
EXAMPLES = ("suture verify openssl-CVE-2025-9230.suture.o",)
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


def run(args: argparse.Namespace) -> int:
    if args.patch.suffix == ".ko":
        from suture.cli import kernel

        return kernel.verify(args)
    from suture.patch.file import read_patch
    from suture.patch.make import make
    from suture.patch.request import Request, ready

    patch = read_patch(args.patch)
    target = patch.manifest.target
    with progress(args) as step:
        request = Request.from_facts(patch.manifest.request, target.file)
        everything = ready(request, step)
        making = make(everything.tree, everything.shipped, everything.fixes, request.facts(), step, everything.beside)
    again = next((m for m in making.patches if m.manifest.target.build_id == target.build_id), None)
    if again is None:
        raise Differs(
            f"{args.patch}: made again, nothing comes out for build-id {target.build_id}", "do not apply this patch"
        )
    if again.id != patch.id:
        raise Differs(
            f"{args.patch}: made again it is {again.id}, not {patch.id}: {_first(patch.object.data, again.data)}",
            "do not apply this patch",
        )
    if args.json:
        print_json({"id": patch.id, "verified": True, "bytes": len(again.data), "compiler": everything.tree.compiler})
    else:
        print(f"{patch.id}: made again from {request.source}, the same {len(again.data)} bytes")
    return ExitCode.OK


def _first(a: bytes, b: bytes) -> str:
    """Where two files begin to differ."""
    n = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return f"the first difference is at byte {n} of {len(a)} and {len(b)}"
