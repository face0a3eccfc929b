"""`suture feed init`: a new feed and its keys."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from suture.cli.feed import option
from suture.cli.feed.told import report, tell
from suture.cli.output import progress
from suture.error import BadOption, ExitCode

SUMMARY = "make a new feed and its keys"
HELP = """\
Make a new feed in a folder that is not there yet, and the private keys of its roles.

The keys of the root are the ones that all trust rests on: two of three have to sign. Put each in a folder of its own
with --root-keys, on media that different people keep offline. They are needed again when a key changes and once a
year. The other keys are made in --keys; who publishes has them.

FEED/feed.toml says how long metadata holds and when each channel gets a patch. FEED/public is what a web server
serves. Hosts need FEED/root.json once, in a way that they trust."""
EXAMPLES = (
    "suture feed init --feed feed --keys keys --root-keys stick-a --root-keys stick-b --root-keys stick-c",
    "# two signatures for each kernel patch, keys encrypted",
    "suture feed init --feed feed --keys keys --root-keys root --quorum kernel=2/2 --passphrase-file phrase",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.REFUSED)
_QUORUM = re.compile(r"([a-z]+)=([1-9])/([1-9])")


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_feed(parser)
    parser.add_argument(
        "--keys", type=Path, required=True, metavar="DIR", help="where the keys for publishing are made"
    )
    parser.add_argument(
        "--root-keys",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help="where the root's keys are made; repeated, by turns",
    )
    parser.add_argument(
        "--quorum",
        action="append",
        default=[],
        metavar="ROLE=M/N",
        help="M of N keys have to sign a role (default: root=2/3, 1/1 for the others); may be repeated",
    )
    option.add_passphrase(parser)


def run(args: argparse.Namespace) -> int:
    from suture.feed import rotation
    from suture.feed.founding import DEFAULT, ROLES, Quorum, found
    from suture.feed.key import Keys, read_passphrase

    quorums = dict(DEFAULT)
    for word in args.quorum:
        match = _QUORUM.fullmatch(word)
        if not match or match[1] not in ROLES or int(match[2]) > int(match[3]):
            raise BadOption(
                f"--quorum {word}: no role with M of N keys", f"give ROLE=M/N, ROLE one of {', '.join(ROLES)}"
            )
        quorums[match[1]] = Quorum(int(match[2]), int(match[3]))
    passphrase = read_passphrase(args.passphrase_file)
    with progress(args) as step:
        feed, published = found(
            args.feed, args.keys, args.root_keys, option.time(), quorums=quorums, passphrase=passphrase, progress=step
        )
    roles = rotation.roles(feed, Keys((args.keys, *args.root_keys), passphrase))
    notes = (
        f"{args.feed}/root.json is what hosts have to be given in a way that they trust",
        "take the root's keys offline, publishing does not need them: "
        + ", ".join(map(str, dict.fromkeys(args.root_keys))),
    )
    return tell(
        args, report("init", args.feed, version=published.version, roles=roles, notes=notes), f"made {args.feed}"
    )
