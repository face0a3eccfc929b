"""`suture export prometheus`."""

from __future__ import annotations

import argparse

from suture import __version__
from suture.cli.export import option

SUMMARY = "metrics for Prometheus, as node_exporter reads them from files"
HELP = """\
Print metrics in the text format of Prometheus: holes by state, processes that carry a patch, that refused one or need
a restart, the state of the agent and of its feed. With --output the file is whole at every moment, as the textfile
collector of node_exporter needs it; run it from a timer.

Times are seconds since 1970. Prometheus makes an age of them: time() - suture_feed_fetched_timestamp_seconds."""
EXAMPLES = ("suture export prometheus --output /var/lib/prometheus/node-exporter/suture.prom",)
EXIT_CODES = option.EXIT_CODES


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add(parser)
    option.add_output(parser)


def run(args: argparse.Namespace) -> int:
    from suture.export.prometheus import metrics

    found = option.picture(args)
    return option.put(args, "prometheus", metrics(found, __version__), found)
