"""`suture comply ACTION`: rules, deadlines and evidence. Each action is a module like a verb's."""

from __future__ import annotations

import argparse
from types import ModuleType

from suture.cli.comply import check, rules, verify

HELP = """\
Show which rules there are, what they say of a hole, and whether evidence that a server has signed is what it signed. It
needs neither a server nor a network.

`suture comply ACTION --help` explains one action."""
EXAMPLES = (
    "suture comply rules",
    "suture comply check --kev-listed yes --exposed yes --automatable no --impact total",
    "suture comply verify evidence.json --key KEY",
)
ACTIONS: dict[str, ModuleType] = {"rules": rules, "check": check, "verify": verify}


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> int:
    return int(ACTIONS[args.action].run(args))
