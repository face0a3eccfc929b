"""`suture comply rules`: the rules that there are."""

from __future__ import annotations

import argparse

from suture.cli.fleet import option
from suture.cli.output import print_document, print_table
from suture.error import ExitCode
from suture.report.deadline import RuleSummary
from suture.report.document import RulesReport
from suture.report.moment import now

SUMMARY = "list the rules"
HELP = """\
List the rules that deadlines can be shown by, with the text that each was made from. With --rules, those of a
folder too: that also checks them."""
EXAMPLES = ("suture comply rules", "suture comply rules --rules /etc/suture/rules")
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE)


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_rules(parser)


def run(args: argparse.Namespace) -> int:
    from suture.comply import rulebook

    own = sorted(args.rules.glob("*.toml")) if args.rules else []
    found = tuple(
        RuleSummary(r.id, r.title, r.source, str(r.valid_from or ""), str(r.valid_to or ""), len(r.clauses))
        for r in (*rulebook.shipped(), *(rulebook.load(p) for p in own))
    )
    if args.json:
        print_document(RulesReport(now(), int(ExitCode.OK), found))
    else:
        rows = [(r.rule, r.valid_from, r.valid_to, r.clauses, r.title) for r in found]
        print_table(("RULE", "FROM", "TO", "CLAUSES", "TITLE"), rows)
    return ExitCode.OK
