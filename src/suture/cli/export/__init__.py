"""`suture export FORMAT`: how this host stands, for scanners and monitoring. Each format is a module like a verb's."""

from __future__ import annotations

import argparse
from types import ModuleType

from suture.cli.export import nagios, openvex, oval, prometheus, restarts

HELP = """\
Tell scanners and monitoring how this host stands: what runs, compared with the live patches that are here, and what
the agent says. A scanner that reads the disk sees neither a hole that is closed in memory nor one that still runs.

The patches are those that the agent has taken, or those of --patches. Holes that no patch here is for are not known.

`suture export FORMAT --help` explains one format."""
EXAMPLES = (
    "# for a scanner",
    "suture export openvex --output /var/lib/suture/host.vex.json",
    "# for node_exporter, from a timer",
    "suture export prometheus --output /var/lib/prometheus/node-exporter/suture.prom",
    "# for Nagios and its like",
    "suture export nagios",
    "# of another host, from what it reported",
    "suture export oval --scan scan.json",
)
ACTIONS: dict[str, ModuleType] = {
    "openvex": openvex,
    "oval": oval,
    "prometheus": prometheus,
    "nagios": nagios,
    "restarts": restarts,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> int:
    return int(ACTIONS[args.action].run(args))
