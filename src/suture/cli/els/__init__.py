"""`suture els ACTION`: fixes for releases past their end of life. Each action is a module like a verb's."""

from __future__ import annotations

import argparse
from types import ModuleType

from suture.cli.els import backport, build, live, page, plan, publish, review, rpm, status, watch

HELP = """\
Carry fixes of a newer release back to a release past its end of life.

`plan` lists the CVEs that the newer release has fixed in a package and the older one has not. `backport` makes the fix
in the older release's source, or says what a person has to decide. `build` makes a new version of the package with the
fixes, tests it and compares it; `review` shows what waits for a person; `publish` puts it into a signed apt repository.

`suture els ACTION --help` explains one action."""
EXAMPLES = (
    "# what bullseye's libpng lacks that bookworm's has",
    "suture els plan libpng1.6",
    "# make the fixes, as patches for its series",
    "suture els backport libpng1.6 --all --output patches",
    "# build the package, and publish what nobody has to look at",
    "suture els build freetype --output built",
    "suture els publish --output built --repository repository --key els@example.org",
)
ACTIONS: dict[str, ModuleType] = {
    "plan": plan,
    "backport": backport,
    "build": build,
    "live": live,
    "review": review,
    "page": page,
    "publish": publish,
    "rpm": rpm,
    "status": status,
    "watch": watch,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> int:
    return int(ACTIONS[args.action].run(args))
