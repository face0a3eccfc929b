"""`suture make`: live patches from the source of a fix."""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suture.cli.demangle import plain_names
from suture.cli.output import print_json, print_table, progress
from suture.error import ExitCode, NotFound
from suture.progress import Progress

if TYPE_CHECKING:
    from suture.make.make import Making, Written
    from suture.make.request import Request
    from suture.patch.manifest import RefusedFunction

_MOST_TEXT = 1 << 28

HELP = """
Make live patches from the source of a fix, one for each shipped binary that the fix changes.

The source is configured as the archive did in a clean room, only the files that the fix touches are compiled, and the result
is matched against the shipped binary: no package is rebuilt and no debug symbols are needed. What can't be applied to a
running process is refused with the reason; the rest goes into the patch. Each changed line of the fix is accounted for: where
one is missing, the patch is partial, the exit code says so (5), and no CVE counts as closed by it. The first making for a source version prepares
its tree and takes up to a few minutes, later ones take seconds.
"""
EXAMPLES = (
    "# a patch file for a library that the archive ships",
    "suture make --source libxml2=2.9.14+dfsg-1.3~deb12u4 --fix CVE-2025-6021.patch",
    "# a named patch of another version's quilt series",
    "suture make --source libxml2=2.9.14+dfsg-1.3~deb12u4 --fix-from libxml2=2.9.14+dfsg-1.3~deb12u6:CVE-2025-6021.patch",
    "# all that changed up to another version, in one file",
    "suture make --source glibc=2.36-9+deb12u7 --to 2.36-9+deb12u14 --only posix/wordexp.c",
    "# for a library that a process runs, even if its file was replaced on disk",
    "suture make --for pid:812 --file libxml2.so.2 --fix CVE-2025-6021.patch",
    "# the archive's kernel: a livepatch module, here for the kernel that runs",
    "suture make --source linux=$(uname -r) --fix CVE-2026-12345.patch",
    "# a program of your own, which may be stripped",
    "suture record -- make && suture make --tree . --binary ./server --fix hole.patch",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.USAGE,
    ExitCode.REFUSED,
    ExitCode.PARTIAL,
    ExitCode.NOT_FOUND,
    ExitCode.NO_MATCH,
    ExitCode.COMMAND,
    ExitCode.NO_PERMISSION,
    ExitCode.UNSUPPORTED,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--source", metavar="NAME=VERSION", help="source package and version as the archive calls them")
    what.add_argument(
        "--for", dest="subject", metavar="pid:N|path:FILE", help="whatever a process or file was built from"
    )
    what.add_argument(
        "--tree",
        type=Path,
        metavar="DIR",
        help="a built tree of your own with its compile_commands.json (see suture record)",
    )
    parser.add_argument(
        "--binary", type=Path, metavar="FILE", help="the binary that was built from --tree; may be stripped"
    )
    parser.add_argument(
        "--fix", type=Path, action="append", default=[], metavar="FILE", help="a patch (unified diff); may be repeated"
    )
    parser.add_argument(
        "--fix-from",
        action="append",
        default=[],
        metavar="NAME=VERSION:PATCH",
        help="a patch of another version's series; may be repeated",
    )
    parser.add_argument("--to", default="", metavar="VERSION", help="everything that changed up to another version")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATH", help="only these files or folders of the fix"
    )
    parser.add_argument(
        "--file", action="append", default=[], metavar="NAME", help="only for these shipped binaries (libssl.so.3)"
    )
    parser.add_argument(
        "--cve",
        action="append",
        default=[],
        metavar="ID",
        help="a CVE that the fix closes, beside those that it names itself",
    )
    parser.add_argument(
        "--relaxed",
        default="",
        metavar="REASON",
        help="threads inside an old function may finish in old code; the reason why that is safe is kept in the patch",
    )
    parser.add_argument(
        "--apart",
        default="",
        metavar="REASON",
        help="functions of one fix may switch at different times, those that are free first; the reason why that is safe is kept in the patch",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("."), metavar="DIR", help="where the patches are written (default: here)"
    )
    parser.add_argument(
        "--ledger",
        action="store_true",
        help="what became of every changed line, by number; without it a summary by file",
    )
    kernel = parser.add_argument_group("for a kernel (--source linux=VERSION, or linux=RELEASE as uname -r prints it)")
    kernel.add_argument(
        "--flavour", default="", metavar="NAME", help="amd64 (default), cloud-amd64 or rt-amd64; RELEASE tells it"
    )
    kernel.add_argument(
        "--reaches",
        default="",
        metavar="VERSION",
        help="prove that the fixes are all of a later version, so that suture uname prints that one",
    )
    kernel.add_argument(
        "--callbacks",
        type=Path,
        metavar="FILE",
        help="a C file with callbacks of livepatch, for fixes that change data",
    )
    kernel.add_argument(
        "--replace", action="store_true", help="a cumulative patch: it takes the place of all earlier ones"
    )
    kernel.add_argument("--sign-key", type=Path, metavar="KEY", help="sign the module with this private key (PEM)")
    kernel.add_argument("--sign-cert", type=Path, metavar="CERT", help="the key's X.509 certificate (PEM)")


def check_folder(path: Path) -> None:
    """Raises `NotFound` for a folder that files cannot be written into, before minutes are spent on them."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as problem:
        raise NotFound(
            f"{path}: {problem.strerror}", "give a folder that you may write to with --output DIR"
        ) from problem


def run(args: argparse.Namespace) -> int:
    os.umask(0o022)  # package code and compilers run as another user, and read what is written here
    if args.source is not None and args.source.partition("=")[0] == "linux":
        from suture.cli import kernel

        return kernel.make(args)
    if args.callbacks or args.replace or args.sign_key or args.sign_cert or args.flavour or args.reaches:
        from suture.cli.kernel import BadKernelOption

        raise BadKernelOption(
            "--flavour, --reaches, --callbacks, --replace, --sign-key and --sign-cert are for kernels",
            "give --source linux=VERSION with them",
        )
    from suture.make.make import make, write
    from suture.make.request import ready
    from suture.patch.manifest import plain

    start = time.monotonic()
    with progress(args) as step:
        check_folder(args.output)
        texts = tuple((path.name, read_text(path)) for path in args.fix)
        request = _request(args, texts, step)
        everything = ready(request, step)
        prepared = time.monotonic() - start
        making = make(everything.tree, everything.shipped, everything.fixes, request.facts(), step, everything.beside)
    written = [write(made, args.output) for made in making.patches]
    paths = [w.path for w in written]
    seconds = {
        **making.seconds,
        "prepare": making.seconds.get("prepare", 0.0) + prepared,
        "total": time.monotonic() - start,
    }
    if args.json:
        print_json(
            {
                "patches": [
                    {
                        "path": str(path),
                        "id": made.id,
                        "name": made.manifest.name,
                        "file": made.manifest.target.file,
                        "build_id": made.manifest.target.build_id,
                        "cves": made.manifest.cves,
                        "shared_cves": made.manifest.shared_cves,
                        "named_cves": made.manifest.named_cves,
                        "complete": made.manifest.is_complete,
                        "fixes": plain([asdict(f) for f in made.manifest.fixes]),
                        "replaced": one.replaced,
                        "functions": [f.name for f in made.manifest.functions],
                        "safe": made.manifest.verdict.safe,
                        "grade": made.manifest.grade.value,
                        "review": [asdict(r) for r in made.manifest.verdict.review],
                    }
                    for path, made, one in zip(paths, making.patches, written, strict=True)
                ],
                "refused": [r.__dict__ for r in making.refused],
                "seconds": seconds,
            }
        )
    else:
        _print(written, making, seconds, args.ledger)
    if not paths:
        return ExitCode.REFUSED
    return ExitCode.OK if making.is_complete else ExitCode.PARTIAL


def check_cves(words: Sequence[str]) -> None:
    """Raises `BadRequest` for what is given with --cve and is no CVE number."""
    from suture.make.request import BadRequest

    for word in words:
        if not re.fullmatch(r"CVE-\d{4}-\d{4,}", word):
            raise BadRequest(f"--cve {word}: no CVE number", "give one like --cve CVE-2025-6021")


def _request(args: argparse.Namespace, texts: tuple[tuple[str, str], ...], step: Progress) -> Request:
    from suture.make.request import BadRequest, Request

    check_cves(args.cve)
    options = (texts, tuple(args.fix_from), args.to, tuple(args.only))
    ways: dict[str, Any] = {"cves": tuple(args.cve), "relaxed": args.relaxed, "apart": args.apart}
    if args.tree is not None:
        if args.binary is None:
            raise BadRequest("--tree needs the binary that was built from it", "give it with --binary FILE")
        if args.file:
            raise BadRequest(
                "--file chooses among the binaries of a package", "name the one of a tree with --binary FILE"
            )
        return Request(
            "",
            *options,
            tree=str(args.tree.resolve()),
            binary=str(args.binary.resolve()),
            **ways,
        )
    if args.binary is not None:
        raise BadRequest("--binary goes with --tree", "choose among the binaries of a package with --file NAME")
    if args.subject:
        from suture.cli.subject import find

        subject = find(args.subject, args.file, [f.partition("=")[0] for f in args.fix_from], step)
        return Request(subject.source, *options, files=(subject.file,), **ways)
    return Request(args.source, *options, files=tuple(args.file), **ways)


def _print(written: Sequence[Written], making: Making, seconds: Mapping[str, float], whole: bool) -> None:
    from suture.cli.ledger import cve_lines, fix_lines, unsaid

    rows = [
        (
            made.id,
            made.manifest.target.file,
            len(made.manifest.functions),
            "all" if made.manifest.is_complete else "PART",
            ", ".join((*made.manifest.cves, *(f"({c})" for c in made.manifest.shared_cves))) or "-",
            one.path,
        )
        for one, made in zip(written, making.patches, strict=True)
    ]
    if rows:
        print_table(("id", "binary", "functions", "of the fix", "closes", "patch"), rows)
    for one, made in zip(written, making.patches, strict=True):
        if one.replaced:
            print(f"{one.path}: took the place of the patch {one.replaced}, made of the same fix before")
        file, fixes = made.manifest.target.file, made.manifest.fixes
        for line in (*fix_lines(fixes, file, whole), *cve_lines(fixes, file)):
            print(line)
        for note in made.manifest.verdict.notes:
            print(f"note: {note}")
        for row in made.manifest.verdict.review:
            print(f"review: {row.file}: {row.function} {row.what} ({row.kind})")
    left = unsaid([f for m in making.patches for f in m.manifest.fixes], making.refused)
    if left:
        print_refused(left)
    print("seconds: " + ", ".join(f"{name} {value:.2f}" for name, value in seconds.items()))


def print_refused(refused: Sequence[RefusedFunction]) -> None:
    """Refusals by reason, the most frequent first, since one reason may hold for a hundred files."""
    reasons: dict[tuple[str, str], list[RefusedFunction]] = {}
    for row in refused:
        reasons.setdefault((row.reason, row.remedy), []).append(row)
    print(f"refused ({len(refused)}):")
    for (reason, remedy), rows in sorted(reasons.items(), key=lambda x: -len(x[1])):
        print(f"  {reason}{f' ({len(rows)})' if len(rows) > 1 else ''}")
        for row, function in zip(rows, plain_names([r.function for r in rows]), strict=True):
            print(f"    {row.file}{f':{row.line}' if row.line else ''}{f': {function}' if function else ''}")
        print(f"    remedy: {remedy}")


def read_text(path: Path) -> str:
    """A text file that the user names, never waiting for a pipe or a device."""
    from suture.patch.admission import read_bytes
    from suture.patch.manifest import BadPatch

    remedy = "give the path of a plain file"
    if not path.exists() and not path.is_symlink():
        raise NotFound(f"{path}: no such file", "give the path of a patch made by `diff -u` or `git diff`")
    try:
        # bytes, not text: line ends must reach `patch` as they are
        return read_bytes(path, _MOST_TEXT).decode(errors="surrogateescape")
    except (BadPatch, NotFound) as problem:
        raise NotFound(problem.what.replace("no such patch file", "no such file"), remedy) from problem
