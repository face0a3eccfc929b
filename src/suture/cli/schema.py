"""`suture schema`: the JSON schema of what --json prints."""

from __future__ import annotations

import argparse

from suture.cli.output import print_json
from suture.error import ExitCode
from suture.report.schema import schema

HELP = """\
Print the JSON schema (draft 2020-12) of the documents that all other verbs print with --json. docs/reference/report.md
explains them."""
EXAMPLES = ("suture schema >report.schema.json",)
EXIT_CODES = (ExitCode.OK,)


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> int:
    print_json(schema())
    return ExitCode.OK
