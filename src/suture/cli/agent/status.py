"""`suture agent status`: what the agent has put in, what waits and why."""

from __future__ import annotations

import argparse
from datetime import datetime

from suture.agent import policy
from suture.cli.agent import option
from suture.cli.output import print_document, print_table
from suture.error import ExitCode
from suture.report.agent import HealthSeen, PatchInForce
from suture.report.document import AgentReport
from suture.report.start import StartCover, StartsCovered

SUMMARY = "print what is in force, what waits and why"
HELP = """\
Print what the agent has put in, what waits and why, how old the feed's state is, and what it did last. It needs no
rights and asks neither part, so it answers also when they do not run.

The exit code is for monitoring: 0 when nothing needs an administrator, 5 when something does."""
EXAMPLES = ("suture agent status", "suture agent status --json")
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.PARTIAL)
_LAST = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_policy(parser)
    option.add_state(parser)
    option.add_kept(parser)


def run(args: argparse.Namespace) -> int:
    from suture.agent.standing import standing

    found = standing(policy.load(args.policy), args.state, args.kept, datetime.now().astimezone())
    if args.json:
        print_document(found)
    else:
        _tell(found)
    return found.exit_code


def _tell(found: AgentReport) -> None:
    age = f"version {found.version} of {found.fetched}, to be believed until {found.expires}"
    print(f"feed {found.url}, channel {found.channel}: {age if found.version else 'nothing fetched yet'}")
    print(f"looked last: {found.looked or 'never'}; {len(found.binaries)} binaries are mapped")
    if found.starts is not None:
        print(f"starts: {_covered(found.starts)}")
    if found.health is not None:
        print(f"health: {_seen(found.health)}")
    for cause in found.problems:
        print(f"problem: {cause.text}")
        print(f"remedy: {cause.remedy}")
    if found.in_force:
        columns = ("PATCH", "BINARY", "CVES", "SINCE", "STATE")
        rows = [
            (
                r.offer.patch,
                r.offer.binary,
                " ".join(r.offer.cves),
                r.since,
                _state(r),
            )
            for r in found.in_force
        ]
        print_table(columns, rows)
    for one in found.waiting:
        print(f"{one.verdict.value}: {one.offer.patch} {one.offer.binary}: {one.why.text} ({one.why.remedy})")
    for m in found.mitigations:
        print(f"mitigated {'until' if m.in_force else 'no more: ended on'} {m.until}: {m.cve}: {m.reason}")
    for event in found.events[-_LAST:]:
        print(f"{event.time} {event.what}{f' {event.patch}' if event.patch else ''}: {event.text}")


def _covered(starts: StartsCovered) -> str:
    if starts.cover is StartCover.NOT_NEEDED:
        return "nothing to hold them for"
    late = starts.failed + starts.executed + starts.let_go
    counts = f"since {starts.since} {starts.patched} patched before they ran, {late} as soon as they ran"
    if starts.cover is StartCover.HELD:
        return f"held at {len({f.path for f in starts.files})} files until they are patched; {counts}"
    why = f": {starts.why.text} ({starts.why.remedy})" if starts.why else ""
    if starts.cover is StartCover.TOLD:
        return f"not held, patched about a second after they begin{why}"
    return f"not held, patched at the next look{why}"


def _seen(health: HealthSeen) -> str:
    """What is seen, and what is not."""
    what = [
        *(["crashes of patched processes are seen"] if health.crashes else []),
        *(["services that end with an error again and again are seen"] if health.exits else []),
        *(f"{cause.text} ({cause.remedy})" for cause in health.why),
        *([f"{health.lost} deaths were not seen, there were too many at once"] if health.lost else []),
    ]
    return "; ".join(what)


def _state(row: PatchInForce) -> str:
    return f"{'held' if row.held else 'in force'}{f': {row.why.text}' if row.why else ''}"
