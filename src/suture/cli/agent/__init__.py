"""`suture agent ACTION`: a host that keeps itself patched. Each action is a module like a verb's."""

from __future__ import annotations

import argparse
from types import ModuleType

from suture.cli.agent import allow, apply_service, attempts, check, enrol, notify, rotate_key, status
from suture.cli.agent import run as run_

HELP = """\
Keep this host patched: fetch live patches from a feed, verified, and put them into what runs here, as the policy file
/etc/suture/agent.toml says.

`suture agent ACTION --help` explains one action."""
EXAMPLES = (
    "# what the policy file means",
    "suture agent check",
    "# what it has put in, and what waits",
    "suture agent status",
)
ACTIONS: dict[str, ModuleType] = {
    "check": check,
    "status": status,
    "allow": allow,
    "enrol": enrol,
    "rotate-key": rotate_key,
    "run": run_,
    "apply-service": apply_service,
    "attempts": attempts,
    "notify": notify,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> int:
    return int(ACTIONS[args.action].run(args))
