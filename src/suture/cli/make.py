"""`suture make`: live patches from the source of a fix."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.demangle import plain_names
from suture.cli.output import print_document, print_table, progress
from suture.error import ExitCode
from suture.patch.tripwire import NOISY

if TYPE_CHECKING:
    from suture.maker.maker import MadePatches
    from suture.patch.manifest import RefusedFunction
    from suture.report.document import MadePatch

_NAMED = 8

HELP = """
Make live patches from the source of a fix, one for each shipped binary that the fix changes.

Suture configures the source as the archive did, in a clean room. It compiles only the files that the fix
touches, and matches the result against the shipped binary: it rebuilds no package and needs no debug symbols.

Suture refuses what cannot be applied to a running process, with the reason; the rest goes into the patch. It
accounts for each changed line of the fix. If one is missing, the patch is partial: the exit code says so (5),
and no CVE counts as closed by it.

The first patch for a source version prepares its tree and takes up to a few minutes. Later ones take seconds.
"""
EXAMPLES = (
    "# a patch file for a library that the archive ships",
    "suture make --source libxml2=2.9.14+dfsg-1.3~deb12u4 --fix CVE-2025-6021.patch",
    "# a named patch of another version's quilt series",
    "suture make --source libxml2=2.9.14+dfsg-1.3~deb12u4 --fix-from "
    "libxml2=2.9.14+dfsg-1.3~deb12u6:CVE-2025-6021.patch",
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
        "--for", dest="subject", metavar="pid:N|path:FILE", help="the source that a process or a file was built from"
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
        help="a CVE that the fix closes, in addition to those that it names",
    )
    parser.add_argument(
        "--relaxed",
        default="",
        metavar="REASON",
        help="threads inside an old function may finish in old code; the patch keeps the reason why that is safe",
    )
    parser.add_argument(
        "--apart",
        default="",
        metavar="REASON",
        help="functions of one fix may switch one by one, when free; the patch keeps the reason why that is safe",
    )
    parser.add_argument(
        "--tripwires",
        action="store_true",
        help="count in the patched process how often the new code rejects something: see suture watch-attempts",
    )
    parser.add_argument(
        "--try",
        dest="try_out",
        action="store_true",
        help="run the package's programs on the patched binary in a sandbox, and leave out tripwires that fire there",
    )
    parser.add_argument(
        "--no-tripwire",
        action="append",
        default=[],
        metavar="FILE:LINE=REASON",
        help="leave out one that also counts harmless input; the patch keeps the reason",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("."), metavar="DIR", help="where the patches are written (default: here)"
    )
    parser.add_argument(
        "--ledger",
        action="store_true",
        help="print what became of every changed line, with line numbers (default: a summary by file)",
    )
    kernel = parser.add_argument_group("for a kernel (--source linux=VERSION, or linux=RELEASE as uname -r prints it)")
    kernel.add_argument(
        "--flavour",
        default="",
        metavar="NAME",
        help="amd64 (default), cloud-amd64 or rt-amd64; a RELEASE already names it",
    )
    kernel.add_argument(
        "--reaches",
        default="",
        metavar="VERSION",
        help="prove that the fixes make up all of a later version; suture uname then prints that version",
    )
    kernel.add_argument(
        "--callbacks",
        type=Path,
        metavar="FILE",
        help="a C file with livepatch callbacks, for fixes that change data",
    )
    kernel.add_argument(
        "--replace", action="store_true", help="a cumulative patch: it takes the place of all earlier ones"
    )
    kernel.add_argument("--sign-key", type=Path, metavar="KEY", help="sign the module with this private key (PEM)")
    kernel.add_argument("--sign-cert", type=Path, metavar="CERT", help="the key's X.509 certificate (PEM)")


def run(args: argparse.Namespace) -> int:
    from suture.maker.maker import KernelWish, Wish, of_wish

    os.umask(0o022)  # package code and compilers run as another user, and read what is written here
    kernel = KernelWish(args.flavour, args.reaches, args.callbacks, args.replace, args.sign_key, args.sign_cert)
    wish = Wish(
        source=args.source or "",
        subject=args.subject or "",
        tree=args.tree,
        binary=args.binary,
        fixes=tuple(args.fix),
        fix_from=tuple(args.fix_from),
        to=args.to,
        only=tuple(args.only),
        files=tuple(args.file),
        cves=tuple(args.cve),
        relaxed=args.relaxed,
        apart=args.apart,
        tripwires=args.tripwires,
        no_tripwire=tuple(args.no_tripwire),
        try_out=args.try_out,
        kernel=kernel,
    )
    maker = of_wish(wish)
    with progress(args) as step:
        made = maker.make(wish, args.output, step)
    if args.json:
        print_document(made.document)
    elif made.problem is not None:
        raise made.problem
    else:
        _print(made, args.ledger)
    return made.document.exit_code


def _print(made: MadePatches, whole: bool) -> None:
    from suture.cli.ledger import cve_lines, fix_lines, unsaid

    patches = made.document.patches
    if patches:
        target = "kernel" if patches[0].release else "binary"
        print_table(("id", target, "functions", "of the fix", "closes", "patch"), [_row(p) for p in patches])
    for patch, fixes in zip(patches, made.fixes, strict=True):
        if patch.replaced:
            print(f"{patch.path}: took the place of the patch {patch.replaced}, made of the same fix before")
        file = patch.file or "the kernel"
        for line in (*fix_lines(fixes, file, whole), *cve_lines(fixes, file)):
            print(line)
        for note in patch.notes:
            print(f"note: {note}")
        for line in _tripwires(patch):
            print(line)
        for row in patch.review:
            print(f"review: {row.file}: {row.function} {row.what} ({row.kind})")
    left = unsaid([f for fixes in made.fixes for f in fixes], made.refused)
    if left:
        print_refused(left)
    print("seconds: " + ", ".join(f"{name} {value:.2f}" for name, value in made.document.seconds.items()))


def _row(patch: MadePatch) -> tuple[object, ...]:
    many = len(patch.functions)
    functions = ", ".join(patch.functions[:_NAMED]) + (f" and {many - _NAMED} more" if many > _NAMED else "")
    return (
        patch.id,
        patch.file or patch.release,
        functions if patch.release else many,
        "all" if patch.complete else "PART",
        ", ".join((*patch.cves, *(f"({c})" for c in patch.shared_cves))) or "-",
        patch.path,
    )


def _tripwires(patch: MadePatch) -> Iterator[str]:
    """How many tripwires a patch has, and what is named for a person of those that it has not."""
    if patch.tripwires or patch.untripped:
        without = f", {len(patch.untripped)} places have none" if patch.untripped else ""
        yield f"{patch.tripwires} tripwire{'s' * (patch.tripwires != 1)}{without}: suture show lists them"
    for one in patch.untripped:
        if one.reason.startswith(NOISY):
            yield f"no tripwire at {one.file}:{one.line}: {one.reason}"


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
