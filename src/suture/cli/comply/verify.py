"""`suture comply verify`: whether evidence is what a server has signed."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from suture.cli.output import print_document
from suture.error import BadOption, ExitCode, NotFound
from suture.report.document import EvidenceReport
from suture.report.moment import now

SUMMARY = "check a bundle of evidence, without its server"
HELP = """\
Check that a bundle of evidence was signed with --key (`suture fleet key` prints it: get it from the organisation in
another way than the bundle) and that no file of it was changed since. It needs no server, no network, and nothing
but Python. With --into, write its files there."""
EXAMPLES = ("suture comply verify evidence.json --key KEY --into evidence",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.UNTRUSTED)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle")
    parser.add_argument("--key", required=True, metavar="KEY", help="the server's public key (64 hex digits)")
    parser.add_argument("--into", type=Path, metavar="DIR", help="write its files there")


def run(args: argparse.Namespace) -> int:
    from suture.agent.ed25519 import is_signed
    from suture.comply.bundle import open_sealed

    try:
        found = open_sealed(args.bundle.read_bytes(), _key(args.key), is_signed)
        names = tuple(sorted(found.files))
        if args.into:
            args.into.mkdir(parents=True, exist_ok=True)
            for name, data in found.files.items():
                (args.into / re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")).write_bytes(data)
    except OSError as problem:
        raise NotFound(
            f"{problem.filename}: {problem.strerror}", "give files that can be read and written"
        ) from problem
    if args.json:
        print_document(EvidenceReport(now(), int(ExitCode.OK), found.made, found.server, names, str(args.into or "")))
    else:
        print(f"signed by this key on {found.made}, at {found.server}: {', '.join(names)}")
    return ExitCode.OK


def _key(word: str) -> bytes:
    if not re.fullmatch(r"[0-9a-f]{64}", word):
        raise BadOption(f"{word[:80]} is no key", "give the 64 hex digits that suture fleet key prints")
    return bytes.fromhex(word)
