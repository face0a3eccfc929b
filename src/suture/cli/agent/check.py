"""`suture agent check`: reads the policy file and says what it means."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.agent import meaning, policy
from suture.cli.output import print_document
from suture.error import ExitCode
from suture.report.document import PolicyReport
from suture.report.moment import now

SUMMARY = "check the policy file and say what it means"
HELP = """\
Check the agent's policy file and print what it means, one sentence a line. An error names the file, the line and the
key, and says what to write. docs/reference/agent-policy.md lists all keys."""
EXAMPLES = ("suture agent check", "suture agent check ./agent.toml")
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "policy", type=Path, nargs="?", default=policy.DEFAULT, metavar="FILE",
        help=f"the policy file (default: {policy.DEFAULT})",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    found = meaning.sentences(policy.load(args.policy))
    if args.json:
        print_document(PolicyReport(now(), int(ExitCode.OK), str(args.policy), found))
    else:
        for line in found:
            print(line)
    return ExitCode.OK
