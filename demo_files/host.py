"""A feed of one's own that is served, and an agent that keeps this machine patched from it: plain processes, with all
that they keep in one folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from demo_files.telling import SUTURE, DemoFailed, Telling

_START_SECONDS = 20.0
_TURN = 0.01  # seconds between two looks at the agent's journal

POLICY = """\
[feed]
url = "{url}"
root = "{root}"
channel = "early"
every_minutes = 0.01

[look]
every_seconds = 0.25

[include]
paths = ["{program}"]
"""


@dataclass(frozen=True)
class Event:
    """A line of the agent's journal that was waited for: `found` in it, and when it was seen (seconds since the
    epoch)."""

    found: re.Match[str]
    at: float


class Keeper:
    """Who keeps the feed. `folder` gets the feed and its keys."""

    def __init__(self, folder: Path, telling: Telling) -> None:
        self._telling = telling
        self.feed, self._keys = folder / "feed", folder / "keys"
        where = ("--feed", self.feed, "--keys", self._keys)
        telling.suture("feed", "init", *where, "--root-keys", self._keys)
        telling.suture("feed", "publish", *where)

    def publish(self, store: Path) -> str:
        """Sign and put in force what is in a store; the id of the one patch that is new."""
        added = self._telling.suture("feed", "add", "--feed", self.feed, "--store", store)["added"]
        if len(added) != 1:
            raise DemoFailed(f"{len(added)} patches were added to the feed, not one")
        self._telling.suture("feed", "publish", "--feed", self.feed, "--keys", self._keys)
        return str(added[0]["patch"])

    def publish_file(self, path: Path) -> str:
        """Sign and put in force a patch that a person has looked at; its id."""
        words = ("feed", "add", path, "--feed", self.feed, "--accept", "review", "--channel", "early")
        (added,) = self._telling.suture(*words)["added"]
        self._telling.suture("feed", "publish", "--feed", self.feed, "--keys", self._keys)
        return str(added["patch"])

    def withdraw(self, patch: str) -> None:
        """Have all hosts take a patch out."""
        why = ("--revert", "--reason", "the demo shows how a patch is taken back")
        self._telling.suture("feed", "withdraw", patch, "--feed", self.feed, *why)
        self._telling.suture("feed", "publish", "--feed", self.feed, "--keys", self._keys)


class ServedFeed:
    """Serves a feed at an address while entered."""

    def __init__(self, folder: Path, feed: Path, address: str) -> None:
        self._log, self._feed, self._address = folder / "feed.log", feed, address
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> ServedFeed:
        words = ("feed", "serve", "--feed", str(self._feed), "--address", self._address, "--port", "0")
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen([str(SUTURE), *words], stdout=log, stderr=log)
        end = time.monotonic() + _START_SECONDS
        while not (found := re.search(r"^note: (http://\S+)", self._log.read_text(), re.M)):
            if self._process.poll() is not None or time.monotonic() > end:
                raise DemoFailed(f"the feed is not served: {self._log.read_text()}")
            time.sleep(_TURN)
        self.url = found[1]
        return self

    def __exit__(self, *what: object) -> None:
        if self._process is not None:
            _end(self._process)


class Agent:
    """Serves the feed of a keeper and runs both parts of the agent while entered. It takes processes that execute
    `program` (a shell pattern) and no others; `more` is added to its policy."""

    def __init__(self, folder: Path, keeper: Keeper, program: str, more: str = "") -> None:
        self._folder, self._keeper = folder, keeper
        self._program, self._more = program, more
        self._ended = ExitStack()
        self._seen: dict[str, int] = {}

    def __enter__(self) -> Agent:
        try:
            self._begin("feed", "serve", "--feed", self._keeper.feed, "--port", "0")
            url = self.wait(r"^note: (http://\S+)", _START_SECONDS).found[1]
            policy = self._folder / "agent.toml"
            root = self._keeper.feed / "root.json"
            policy.write_text(POLICY.format(url=url, root=root, program=self._program) + self._more)
            places: list[str | Path] = ["--policy", policy, "--socket", self._folder / "socket"]
            places += ["--state", self._folder / "state", "--kept", self._folder / "kept"]
            self._begin("agent", "apply-service", *places, "--user", str(os.geteuid()))
            self.wait(r"^ready: ", _START_SECONDS)
            self._begin("agent", "run", *places)
            self._await_look(self._folder / "state" / "inventory.json")
        except BaseException:
            self._ended.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.close()

    def _begin(self, *words: str | Path) -> None:
        with open(self._journal, "ab") as log:
            process = subprocess.Popen([str(SUTURE), *map(str, words)], stdout=log, stderr=log)
        self._ended.callback(_end, process)

    @staticmethod
    def _await_look(inventory: Path) -> None:
        """Until the agent has looked at all processes once."""
        end = time.monotonic() + _START_SECONDS
        while not inventory.exists():
            if time.monotonic() > end:
                raise DemoFailed(f"the agent has not looked at the processes within {_START_SECONDS:.0f} s")
            time.sleep(_TURN)

    @property
    def _journal(self) -> Path:
        return self._folder / "agent.log"

    def has_told(self, pattern: str) -> bool:
        """Whether the journal has a line that fits, after those that were waited for with this pattern before."""
        return self._next(pattern, self._journal.read_text()) is not None

    def _next(self, pattern: str, text: str) -> re.Match[str] | None:
        return re.compile(pattern, re.M).search(text, self._seen.get(pattern, 0))

    def wait(self, pattern: str, seconds: float) -> Event:
        """The next line of the journal, after those that were waited for with this pattern before, that fits. Raises
        `DemoFailed` with the last lines when there is none in time."""
        end = time.monotonic() + seconds
        while True:
            text = self._journal.read_text()
            found = self._next(pattern, text)
            if found is not None:
                self._seen[pattern] = found.end()
                return Event(found, time.time())
            if time.monotonic() > end:
                last = "\n".join(text.splitlines()[-8:])
                raise DemoFailed(f"the agent has not told {pattern!r} within {seconds:.0f} s; its last lines:\n{last}")
            time.sleep(_TURN)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
