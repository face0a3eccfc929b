"""`suture feed publish`: sign what is staged and put it in force."""

from __future__ import annotations

import argparse

from suture.cli.feed import option
from suture.cli.feed.told import count, report, tell
from suture.cli.output import progress
from suture.error import ExitCode

SUMMARY = "sign what is staged, renew what expires, put it in force"
HELP = """\
Publish what `add` and `withdraw` have staged, and sign anew what half of its time is over for. Let it run by itself at
least once a day, so that the feed never expires; for that alone the keys of snapshot and timestamp are enough.

All of it comes into force at once. Kill it at any moment: hosts see the old state or the new one, and the next run
does the rest."""
EXAMPLES = ("suture feed publish --feed feed --keys keys",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.REFUSED, ExitCode.NO_PERMISSION, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_feed(parser)
    option.add_keys(parser)


def run(args: argparse.Namespace) -> int:
    from suture.feed.publication import publish

    feed = option.repository(args)
    with progress(args) as step:
        done = publish(feed, option.keys(args), option.time(), progress=step)
    what = f"{count(len(done.added), 'patch', 'es')}, {count(len(done.withdrawn), 'withdrawal')}"
    said = f"published version {done.version}: {what}"
    found = report(
        "publish",
        args.feed,
        version=done.version,
        signed=done.roles,
        added=done.added,
        withdrawn=done.withdrawn,
        notes=done.notes,
    )
    return tell(args, found, said if done.roles else f"nothing to publish: version {done.version} stands")
