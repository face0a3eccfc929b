"""`suture fleet rollout`: rollouts from a shell of the server."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from suture.cli.fleet import option
from suture.cli.number import count
from suture.cli.output import print_document, print_table
from suture.error import BadOption, ExitCode, NotFound
from suture.report.document import FleetRolloutsReport
from suture.report.fleet import RolloutStageReport
from suture.report.moment import now

SUMMARY = "list rollouts, begin, approve and stop them"
HELP = """\
List rollouts and the patches that the feed has signed; with one of the options, begin, approve or stop one first.

--begin takes the id of a patch and asks for the usual rollout, or for that of --plan, a file as docs/how-to/fleet.md
has it. Another person has to --approve it, on the pages or as another user of this machine. --stop takes the patch
back wherever the rollout let it in; --stop-all does so with every rollout that is not over."""
EXAMPLES = (
    "suture fleet rollout",
    "suture fleet rollout --begin 0123456789abcdef --plan plan.json",
    "suture fleet rollout --stop 7 --why 'it makes nginx slow'",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.REFUSED, ExitCode.NO_PERMISSION, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--begin", metavar="ID", help="ask for a rollout of this patch")
    what.add_argument("--approve", type=count, metavar="N", help="approve the rollout with this number")
    what.add_argument("--stop", type=count, metavar="N", help="stop the rollout with this number, and take it back")
    what.add_argument("--stop-all", action="store_true", help="stop all, and take them back")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="with --begin: stages and gates, as JSON")
    parser.add_argument("--name", default="", metavar="TEXT", help="with --begin: what pages call it")
    parser.add_argument("--why", default="", metavar="TEXT", help="with --stop: for the audit log")
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from suture.fleet import plan, rollout
    from suture.fleet.role import Role, Visitor

    if (args.plan or args.name) and not args.begin:
        raise BadOption("--plan and --name go with --begin", "leave them out")
    who, at = Visitor(option.who(), Role.ADMIN), datetime.now(UTC)
    wanted = plan.parse(_read(args.plan)) if args.plan else plan.USUAL
    with option.database(args).writing() as session:
        if args.begin:
            rollout.begin(session, who, args.begin, wanted, args.name, at)
        elif args.approve:
            rollout.approve(session, who, args.approve, at)
        elif args.stop:
            rollout.stop(session, who, args.stop, args.why, at)
        elif args.stop_all:
            rollout.stop_all(session, who, at)
        found = FleetRolloutsReport(
            now(), int(ExitCode.OK), rollout.latest(session, who), rollout.patches(session, who)
        )
    if args.json:
        print_document(found)
    else:
        _tell(found)
    return ExitCode.OK


def _tell(found: FleetRolloutsReport) -> None:
    patches = [
        (p.patch, p.binary, " ".join(p.cves), p.state, ", ".join(f"{n} {s}" for s, n in p.hosts.items()))
        for p in found.patches
    ]
    print_table(("PATCH", "BINARY", "CVES", "THE FEED SAYS", "HOSTS"), patches)
    rows = [(r.id, r.name, r.patch, r.status.value, _hosts(r.stages), r.why) for r in found.rollouts]
    print_table(("NUMBER", "NAME", "PATCH", "STANDS", "HOSTS", "WHY"), rows)


def _hosts(stages: tuple[RolloutStageReport, ...]) -> str:
    return f"{sum(s.in_force for s in stages)} of {sum(s.hosts for s in stages)}"


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as problem:
        raise NotFound(f"{path}: {problem}", "give a plan, as docs/how-to/fleet.md has it") from problem
