"""`suture feed keys`: who signs what, until when, and how that changes."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.cli.feed import option
from suture.cli.feed.told import report, tell
from suture.error import BadOption, ExitCode

SUMMARY = "show the roles and their keys; change a key"
HELP = """\
Show the roles of a feed, their keys, and when they expire.

--replace makes a new key for a role, in the last folder of --keys, and drops the old one: when it was stolen or lost,
or its keeper left. A change of root, targets, snapshot or timestamp makes a new root, which enough of the root's keys
have to sign, old and new: each of their keepers runs --sign with his own folder. --renew-root proposes the same root
with a later expiry. All of it comes into force with the next `suture feed publish`, and hosts that have seen nothing
for years follow from one root to the next."""
EXAMPLES = (
    "suture feed keys --feed feed --keys keys",
    "# the timestamp's key was stolen: make another, have the root signed by two keepers, publish",
    "suture feed keys --feed feed --keys keys --replace timestamp",
    "suture feed keys --feed feed --keys stick-a --sign && suture feed keys --feed feed --keys stick-b --sign",
    "suture feed publish --feed feed --keys keys",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.NO_PERMISSION, ExitCode.REFUSED)


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_feed(parser)
    option.add_keys(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--replace",
        metavar="ROLE[=KEY]",
        help="a new key instead of KEY (the beginning of its id; needed where there are several)",
    )
    how.add_argument("--renew-root", action="store_true", help="propose the root anew with a later expiry")
    how.add_argument("--sign", action="store_true", help="sign the proposed root with the keys at hand")


def run(args: argparse.Namespace) -> int:
    from suture.feed import rotation

    feed, keys = option.repository(args), option.keys(args)
    if args.replace:
        if not args.keys:
            raise BadOption("--replace has no folder for the new key", "give it with --keys DIR")
        role, _, old = args.replace.partition("=")
        folder: Path = args.keys[-1]
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        rotation.replace_key(feed, keys, role, old, folder, option.time())
        keys = option.keys(args)  # with the new one
    elif args.renew_root:
        rotation.renew_root(feed, keys, option.time())
    elif args.sign:
        rotation.sign(feed, keys)
    notes = []
    proposed = rotation.proposal(feed)
    if proposed and proposed.missing:
        notes.append(
            f"root version {proposed.version} is proposed and lacks {proposed.missing} more signature"
            f"{'s' * (proposed.missing != 1)}: suture feed keys --sign, with another keeper's --keys"
        )
    elif proposed:
        notes.append(f"root version {proposed.version} is signed: it comes into force with suture feed publish")
    if feed.authorities():
        notes.append(f"new keys of {', '.join(feed.authorities())} come into force with suture feed publish")
    return tell(args, report("keys", args.feed, roles=rotation.roles(feed, keys), notes=notes))
