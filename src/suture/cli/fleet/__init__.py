"""`suture fleet ACTION`: the server of a fleet. Each action is a module like a verb's."""

from __future__ import annotations

import argparse
from types import ModuleType

from suture.cli.fleet import (
    api_token,
    audit,
    backup,
    describe,
    holes,
    hosts,
    import_,
    key,
    restore,
    rollout,
    serve,
    token,
    user,
    vex,
    waiting,
)

HELP = """\
Serve a fleet: a page that shows what is open where and since when, which deadline runs out next, and what runs. Hosts
enrol with a token and report each minute; what they may run is decided by the feed's signatures alone.

All actions but `serve` work on the server's database directly, and need no running server.

`suture fleet ACTION --help` explains one action."""
EXAMPLES = (
    "# the first administrator; the password is asked for",
    "suture fleet user ann --role admin",
    "suture fleet serve --certificate fleet.pem --private-key fleet.key",
    "# let ten hosts in",
    "suture fleet token --label web --hosts 10",
)
ACTIONS: dict[str, ModuleType] = {
    "serve": serve,
    "user": user,
    "token": token,
    "api-token": api_token,
    "key": key,
    "waiting": waiting,
    "hosts": hosts,
    "describe": describe,
    "holes": holes,
    "vex": vex,
    "rollout": rollout,
    "import": import_,
    "audit": audit,
    "backup": backup,
    "restore": restore,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> int:
    return int(ACTIONS[args.action].run(args))
