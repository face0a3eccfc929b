"""`suture feed ACTION`: publish patches, signed, and fetch them. Each action is a module like a verb's."""

from __future__ import annotations

import argparse
from types import ModuleType

from suture.cli.feed import add, check, export, fetch, import_, init, keys, publish, serve, withdraw

HELP = """\
Publish live patches so that hosts can fetch them without trusting the network, the web server, or any one key.

A feed is a folder of signed static files (The Update Framework). `init` makes one. `add` stages patches, `publish`
signs and puts them in force, `withdraw` takes one back. `fetch` gets what concerns a host, verified.

`suture feed ACTION --help` explains one action."""
EXAMPLES = (
    "# a feed, its daily keys, and the root's keys in folders of their own (sticks of different people)",
    "suture feed init --feed feed --keys keys --root-keys stick-a --root-keys stick-b --root-keys stick-c",
    "# publish what `suture watch` made",
    "suture feed add --feed feed --store patches && suture feed publish --feed feed --keys keys",
    "# on a host",
    "suture feed fetch --url https://feed.example/ --root root.json --host --into /var/lib/suture/patches",
)
ACTIONS: dict[str, ModuleType] = {
    "init": init,
    "add": add,
    "publish": publish,
    "withdraw": withdraw,
    "keys": keys,
    "check": check,
    "serve": serve,
    "export": export,
    "import": import_,
    "fetch": fetch,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> int:
    return int(ACTIONS[args.action].run(args))
