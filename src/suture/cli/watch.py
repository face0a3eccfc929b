"""`suture watch`: updates of the archive become live patches by themselves."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.number import jobs, seconds
from suture.cli.output import print_document, print_table, progress
from suture.error import ExitCode, SutureError
from suture.progress import Progress
from suture.report.document import WatchReport
from suture.report.moment import now

if TYPE_CHECKING:
    from suture.convert.queue import Builder, QueuePlace
    from suture.convert.result import Conversion
    from suture.source.tracker import Tracker
    from suture.source.update import Update, Wanted

HELP = """\
Watch the archive for updates and turn each into live patches.

One pass reads the archive's signed indexes and finds the packages that have a newer version than the one that
hosts run. It takes the difference apart into fixes, and makes one live patch for each shipped binary, with all
fixes that can be applied whole. A package needs no recipe.

Suture tries each patch before it keeps it. It starts the shipped binary in a sandbox and runs it patched, and
then patched and reverted. The binary must do what it does without the patch.

The patches have tripwires (see suture watch-attempts). One that fires in the trial is left out, and the pass names
what fired it. Where tripwires cannot be put in, or a trial fails with them, the patch is made without any.

A new version of the kernel (package linux) becomes one livepatch module for each kernel that the archive built of
the old one: amd64, cloud-amd64, rt-amd64. It holds every change that is safe by itself and together with the others,
and takes the place of an older one. A test machine boots that kernel, applies the module and reverts it. A stable
release has thousands of changes, which take hours: --limit and --only try a part, and the pass names what it left.

For each CVE the pass says what came of it: closed live, closed on disk only and why, needs no live patch, not
tried, or unknown. Patches and facts (conversion.json) are in DIR/SOURCE/OLD-to-NEW; an update that is there already is
not made again.

The queue of work is durable. After a kill at any moment the next run goes on, and builders that share a
PostgreSQL (--queue) take over from one that is gone."""
EXAMPLES = (
    "# one pass over two packages; hosts run what bookworm has beside its newest version",
    "suture watch --once --release bookworm --package libarchive --package libxml2 --output patches",
    "# from the version that the hosts run",
    "suture watch --once --package libarchive=3.6.2-1+deb12u4 --output patches",
    "# the kernel that hosts run, its cloud flavour, one hour of changes",
    "suture watch --once --package linux=6.1.192-1 --flavour cloud-amd64 --limit 3600 --output patches",
    "# all that this host has installed, again every hour",
    "suture watch --installed --output /var/lib/suture/patches",
)
_MANY = 20  # rows that say the same, before their number takes their place; --json has them all
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.USAGE,
    ExitCode.PARTIAL,
    ExitCode.NOT_FOUND,
    ExitCode.COMMAND,
    ExitCode.NO_PERMISSION,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="one pass, then end (default: a pass every --interval)")
    parser.add_argument(
        "--package", action="append", default=[], metavar="NAME[=VERSION]", help="a source package; may be repeated"
    )
    parser.add_argument("--installed", action="store_true", help="all source packages that this host has installed")
    parser.add_argument("--release", default="bookworm", metavar="NAME", help="the release (default: bookworm)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("."),
        metavar="DIR",
        help="where patches and facts are written (default: here)",
    )
    parser.add_argument("--jobs", type=jobs, default=1, metavar="N", help="updates to convert at a time (default: 1)")
    parser.add_argument(
        "--queue",
        default="",
        metavar="URL",
        help="a PostgreSQL that builders share, postgresql://USER@HOST/DATABASE (default: SQLite in the --output "
        "folder)",
    )
    parser.add_argument(
        "--name",
        default=platform.node() or "builder",
        metavar="NAME",
        help="this builder's name among those that share a queue (default: the host's name)",
    )
    parser.add_argument(
        "--tracker",
        type=Path,
        metavar="FILE",
        help="the Debian security tracker's data (JSON): it tells CVEs that no changelog names",
    )
    parser.add_argument("--again", action="store_true", help="convert updates again that were converted before")
    parser.add_argument("--plan", action="store_true", help="print the updates and their fixes, and make nothing")
    parser.add_argument(
        "--no-trial", action="store_true", help="do not try the patches on running binaries before they are kept"
    )
    parser.add_argument(
        "--no-tripwires", action="store_true", help="make patches that do not count how often they reject something"
    )
    kernel = parser.add_argument_group("kernels")
    kernel.add_argument(
        "--flavour",
        action="append",
        default=[],
        metavar="NAME",
        help="amd64, cloud-amd64 or rt-amd64; may be repeated (default: each that the archive built of that version)",
    )
    kernel.add_argument(
        "--only", action="append", default=[], metavar="PATH", help="try changes of this file or folder alone"
    )
    kernel.add_argument(
        "--limit",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="begin no further change after this time (default: try all)",
    )
    kernel.add_argument("--with-review", action="store_true", help="put in changes that a person should look at, too")
    parser.add_argument(
        "--interval", type=seconds, default=3600.0, metavar="SECONDS", help="time between passes (default: 3600)"
    )


def run(args: argparse.Namespace) -> int:
    from suture.convert.queue import builder
    from suture.make.request import BadRequest
    from suture.maker.maker import check_folder
    from suture.source.update import arriving

    if not args.package and not args.installed:
        raise BadRequest("no package to watch", "give --package NAME, or --installed")
    os.umask(0o022)  # package code and compilers run as another user, and read what is written here
    check_folder(args.output)
    known = _tracker(args.tracker)
    if args.plan:
        with progress(args) as step:
            arrived = dict.fromkeys(arriving(u, step) for u in _updates(args, step))
            return _print(args, [_planned(u, step, _cves(known, u)) for u in arrived])
    with progress(args) as step, builder(_place(args), args.name, args.jobs, step) as own:
        while True:
            found, failed = _pass(args, own, step)
            code = _print(args, found)
            for name, problem in failed.items():
                print(f"{name}: {problem}", file=sys.stderr)
            if args.once:
                return ExitCode.PARTIAL if failed else code
            time.sleep(args.interval)


def _planned(update: Update, step: Progress, known: Sequence[str]) -> Conversion:
    from suture.convert.conversion import planned
    from suture.convert.kernel import planned_kernel

    return planned_kernel(update, step, known) if update.flavour else planned(update, step, known)


def _tracker(path: Path | None) -> Tracker | None:
    """The security tracker's data, read before any work begins. Raises `BadTracker` and `NotFound`."""
    from suture.error import NotFound
    from suture.source import tracker

    try:
        return tracker.read(path) if path else None
    except OSError as problem:
        raise NotFound(f"{path}: {problem.strerror}", "give the file with the security tracker's data") from problem


def _cves(known: Tracker | None, u: Update) -> tuple[str, ...]:
    return known.fixed_between(u.source, u.release, u.old, u.new) if known else ()


def _place(args: argparse.Namespace) -> QueuePlace:
    from suture.convert.queue import QueuePlace

    return QueuePlace(args.queue, args.output.absolute()) if args.queue else QueuePlace.beside(args.output)


def _pass(args: argparse.Namespace, own: Builder, step: Progress) -> tuple[list[Conversion], dict[str, str]]:
    """One pass: the conversions that are new, and the errors of those that ended with one."""
    from suture.convert.kernel import KernelScope
    from suture.convert.store import is_done, load

    scope = KernelScope(tuple(args.only), args.limit, args.with_review)
    updates = [u for u in _to_convert(args, step) if args.again or not is_done(u, args.output)]
    tracker = str(args.tracker.absolute()) if args.tracker else ""
    own.put(updates, not args.no_trial, args.again, tracker, scope, not args.no_tripwires)
    own.wait(step)
    return [load(u, args.output) for u in updates if is_done(u, args.output)], own.failed()


def _to_convert(args: argparse.Namespace, step: Progress) -> Iterable[Update]:
    """The updates to the newest versions that arrive; what is converted already is not asked for again."""
    from suture.convert.store import is_done
    from suture.source.update import arriving

    found = _updates(args, step)
    return dict.fromkeys(u if is_done(u, args.output) else arriving(u, step) for u in found)


def _updates(args: argparse.Namespace, step: Progress) -> Iterable[Update]:
    from suture.convert.kernel import for_flavours
    from suture.source.update import installed, updates

    found: dict[Update, None] = {}
    for update in updates(_wanted(args.package), args.release, step):
        found |= dict.fromkeys(for_flavours(update, args.flavour, step))
    for one in installed() if args.installed else ():
        try:
            found |= dict.fromkeys(
                k for u in updates([one], args.release, step) for k in for_flavours(u, args.flavour, step)
            )
        except SutureError as problem:  # a package of another archive
            step(problem.what)
    return found


def _wanted(words: Sequence[str]) -> list[Wanted]:
    from suture.source.update import Wanted

    return [Wanted(*word.partition("=")[::2]) for word in words]


def _print(args: argparse.Namespace, found: Sequence[Conversion]) -> int:
    from suture.convert.result import ConvertOutcome
    from suture.convert.store import as_json

    is_whole = all(not c.problem and all(f.outcome is not ConvertOutcome.DISK for f in c.fixes) for c in found)
    code = ExitCode.OK if is_whole else ExitCode.PARTIAL
    if args.json:
        print_document(WatchReport(now(), int(code), tuple(as_json(c) for c in found)))
    elif not found:
        print("no update that was not converted before")
    else:
        for conversion in found:
            print_conversion(conversion)
    return code


def print_conversion(c: Conversion) -> None:
    """One update as text: its CVEs, its fixes that are not live, its patches."""
    from suture.convert.result import ConvertOutcome

    flavour = f", {c.flavour}" if c.flavour else ""
    print(f"{c.source} {c.old} -> {c.new} ({c.release}{flavour})" + (f": {c.problem}" if c.problem else ""))
    _print_cves(c)
    counts = {o: [f for f in c.fixes if f.outcome is o] for o in dict.fromkeys(f.outcome for f in c.fixes)}
    print("fixes: " + (", ".join(f"{len(rows)} {outcome.value}" for outcome, rows in counts.items()) or "none"))
    untried = Counter(_why(f.reasons) for f in c.fixes if f.outcome is ConvertOutcome.UNTRIED and f.reasons)
    many = {why for why, count in untried.items() if count > _MANY}
    for fix in c.fixes:
        if fix.reasons and not (fix.outcome is ConvertOutcome.UNTRIED and _why(fix.reasons) in many):
            print(f"  {fix.name}: {_why(fix.reasons)}")
        for row in fix.review:
            print(f"  {fix.name}: look at {row}")
    for why in sorted(many):
        print(f"  {untried[why]} fixes not tried: {why}")
    for patch in c.patches:
        trial = f", trial {patch.trial}" + (f" ({patch.detail})" if patch.detail else "") if patch.trial else ""
        kept = patch.path if patch.trial != "failed" else "not kept"
        reaches = f", reaches {patch.effective}" if patch.effective else ""
        wires = f", {patch.tripwires} tripwires" if patch.tripwires else ""
        facts = f"{patch.functions} functions, {patch.grade}{wires}{reaches}{trial}"
        print(f"patch {patch.id} of {patch.binary}, {facts}: {kept}")
        for place, why in patch.noisy.items():
            print(f"  no tripwire at {place}: {why}")
        if patch.unwired:
            print(f"  made without tripwires: {patch.unwired}")
        if patch.calls:
            print("  calls in the trial: " + ", ".join(f"{name} {count}" for name, count in patch.calls.items()))
    print("seconds: " + ", ".join(f"{name} {value:.2f}" for name, value in c.seconds.items()))


def _print_cves(c: Conversion) -> None:
    """A row for each CVE; where many share a state and its reason, their number."""
    from suture.convert.result import Closing

    rows = Counter((x.closing.value, _why(x.reasons)) for x in c.cves)
    few = [x for x in c.cves if rows[x.closing.value, _why(x.reasons)] <= _MANY or x.closing is Closing.LIVE]
    if few:
        print_table(("CVE", "state", "why"), [(x.cve, x.closing.value, _why(x.reasons)) for x in few])
    for (state, why), count in sorted(rows.items()):
        if count > _MANY and state != Closing.LIVE.value:
            print(f"{count} CVEs {state}: {why}")


def _why(reasons: Sequence[str]) -> str:
    """The first reason, and how many there are besides; --json has them all."""
    return (reasons[0] + (f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else "")) if reasons else "-"
