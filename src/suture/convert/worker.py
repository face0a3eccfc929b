"""One conversion in a process of its own: what a builder starts for each update. It ends with the builder, however that
ends."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from suture.convert.conversion import convert
from suture.convert.kernel import KernelScope, convert_kernel
from suture.convert.result import Conversion
from suture.convert.store import folder_of, is_done, keep
from suture.source import tracker
from suture.source.update import Update


@dataclass(frozen=True)
class ToConvert:
    """An update to be converted, as the queue keeps it. `again` says that it was converted before and is to be once
    more, `tracker` where the security tracker's data is, "" for nowhere; `only`, `limit` and `review` are the scope of
    a kernel (`KernelScope`); without `tripwires` the patches count nothing."""

    source: str
    release: str
    old: str
    new: str
    output: str
    with_trial: bool = True
    again: bool = False
    tracker: str = ""
    flavour: str = ""
    only: tuple[str, ...] = ()
    limit: float = 0.0
    review: bool = False
    tripwires: bool = True

    @property
    def update(self) -> Update:
        return Update(self.source, self.release, self.old, self.new, self.flavour)

    @property
    def scope(self) -> KernelScope:
        return KernelScope(tuple(self.only), self.limit, self.review)


def command(order: ToConvert) -> list[str]:
    """The command line of a worker. setpriv(1) has the kernel end it when the thread that started it is gone."""
    return ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "suture.convert.worker", json.dumps(asdict(order))]


def _cves(order: ToConvert) -> tuple[str, ...]:
    """The CVEs that the update fixes as the security tracker says, where its data is at hand."""
    if not order.tracker:
        return ()
    return tracker.read(Path(order.tracker)).fixed_between(order.source, order.release, order.old, order.new)


def _converted(order: ToConvert, folder: Path) -> Conversion:
    if order.flavour:
        return convert_kernel(order.update, folder, order.scope, _say, order.with_trial, _cves(order))
    return convert(order.update, folder, _say, order.with_trial, _cves(order), order.tripwires)


def _say(text: str) -> None:
    """A line for whoever reads the worker's standard error: what it does now."""
    print(text, file=sys.stderr, flush=True)


def main(words: list[str]) -> int:
    """Convert one update and keep what came of it; for one that is done it does nothing."""
    order = ToConvert(**json.loads(words[0]))
    output = Path(order.output)
    os.umask(0o022)  # package code and compilers run as another user, and read what is written here
    if order.again or not is_done(order.update, output):
        folder = folder_of(order.update, output)
        keep(_converted(order, folder), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
