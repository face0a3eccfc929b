"""`suture els plan`: what an older release lacks of a newer one's fixes."""

from __future__ import annotations

import argparse

from suture.cli.els import option
from suture.cli.output import print_document, print_table, progress
from suture.error import ExitCode
from suture.report.document import ElsPlanReport
from suture.report.els import NeededFix
from suture.report.moment import now

SUMMARY = "list the fixes that a newer release has and an older one lacks"
HELP = """\
List the CVEs that a newer release has fixed in a package with patches of its own, and that the older release names
neither in its changelog nor in its patches. A fix that came with a new upstream version is not among them."""
EXAMPLES = ("suture els plan libpng1.6", "suture els plan expat --release bullseye --from bookworm --json")
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.COMMAND)


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add(parser)


def run(args: argparse.Namespace) -> int:
    from suture.els.need import needs

    with progress(args) as step:
        old, newer = option.sources(args, step)
        found = tuple(NeededFix(n.cves, tuple(f.name for f in n.patches)) for n in needs(old, newer))
    if args.json:
        print_document(ElsPlanReport(now(), ExitCode.OK, args.package, old.version, newer.version, found))
        return ExitCode.OK
    if found:
        print_table(("CVE", "patches of the newer release"), [(" ".join(n.cves), ", ".join(n.patches)) for n in found])
    print(f"{args.package} {old.version} lacks {len(found)} of the fixes that {newer.version} has as patches")
    return ExitCode.OK
