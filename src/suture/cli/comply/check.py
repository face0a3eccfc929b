"""`suture comply check`: what the rules say of a hole."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from suture.cli.fleet import option
from suture.cli.output import print_document, print_table
from suture.error import ExitCode
from suture.report.deadline import DeadlineGroup, DeadlineState
from suture.report.document import RuleAnswerReport
from suture.report.moment import now

SUMMARY = "tell what the rules say of a hole on a host"
HELP = """\
Tell what each rule says of a hole that has the given facts, on a host where it was seen today. A fact that is not given
is not known, and counts for the worse; the answer names it."""
EXAMPLES = (
    "# CVE-2024-1086 inside, and where it is exposed",
    "suture comply check --kev-listed yes --exposed no --automatable no --impact total --rule cisa-bod-26-04",
    "suture comply check --kev-listed yes --exposed yes --automatable no --impact total --rule cisa-bod-26-04",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE)
_YES_NO = {"yes": True, "no": False}


def arguments(parser: argparse.ArgumentParser) -> None:
    yes_no = tuple(_YES_NO)
    parser.add_argument(
        "--kev-listed", choices=yes_no, help="it is in CISA's catalogue of known exploited vulnerabilities"
    )
    parser.add_argument("--exploited", choices=yes_no, help="it is exploited, by anybody's word")
    parser.add_argument("--exposed", choices=yes_no, help="the host is reached from the internet")
    parser.add_argument("--automatable", choices=yes_no, help="exploiting it needs no person")
    parser.add_argument("--impact", choices=("partial", "total"), help="technical impact")
    parser.add_argument("--severity", choices=("low", "medium", "high", "critical"), help="the vendor's word")
    parser.add_argument("--cvss", type=float, metavar="SCORE", help="base score, 0 to 10")
    parser.add_argument(
        "--agency-impact", type=int, choices=range(1, 6), metavar="N", help="FedRAMP's N-rating, 1 to 5"
    )
    parser.add_argument("--rule", action="append", metavar="ID", help="this rule alone; may be repeated")
    option.add_rules(parser)


def run(args: argparse.Namespace) -> int:
    from suture.comply.fact import AssetFacts, HoleFacts, Impact, Severity

    hole = HoleFacts(
        "",
        in_kev=_YES_NO.get(args.kev_listed),
        exploited=_YES_NO.get(args.exploited),
        automatable=_YES_NO.get(args.automatable),
        impact=Impact(args.impact) if args.impact else None,
        severity=Severity(args.severity) if args.severity else None,
        cvss=args.cvss,
        agency_impact=args.agency_impact,
    )
    asset, seen = AssetFacts("", _YES_NO.get(args.exposed)), datetime.now(UTC).replace(microsecond=0)
    found = []
    for rule in option.chosen_rules(args):
        says = rule.apply(hole, asset, seen)
        if says is not None:
            state = DeadlineState.RUNNING if says.due else DeadlineState.NO_DATE
            words = says.clause.duties or ((says.clause.term.words,) if says.clause.term.words else ())
            due = says.due.isoformat() if says.due else ""
            start = says.start.isoformat()
            clock, clause = says.clock.value, says.clause.name
            found.append(
                DeadlineGroup(rule.id, clause, "", asset.exposed, 1, state, clock, start, due, words, says.assumed)
            )
    if args.json:
        print_document(RuleAnswerReport(now(), int(ExitCode.OK), tuple(found)))
    else:
        rows = [(d.rule, d.clause, d.due or "no number", "; ".join(d.duties), " ".join(d.assumed)) for d in found]
        print_table(("RULE", "CLAUSE", "UNTIL", "ALSO", "TAKEN FOR THE WORSE"), rows)
    return ExitCode.OK
