"""What an administrator wants of the agent: the policy file, read strictly (docs/reference/agent-policy.md).

Both parts of the agent read it: the one without rights to ask for no more than it allows, the one that runs as root
to do no more, whatever it is asked for.
"""

from __future__ import annotations

import difflib
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from suture.error import ExitCode, SutureError
from suture.host.mitigation import BadMitigation, mitigations
from suture.report.mitigation import Mitigation

LOOK_SECONDS = 60.0
DEFAULT = Path("/etc/suture/agent.toml")
_MOST_BYTES = 1 << 18
_MOST_HOURS = 24 * 365
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_GRADES = ("safe", "review")
_CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,31}")
_KEY = re.compile(r"[0-9a-f]{64}")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


class BadPolicy(SutureError):
    """The policy file is missing, or does not say what it has to."""

    exit_code = ExitCode.USAGE


class Mode(Enum):
    """Whether a patch goes in by itself, once an administrator has said so, or once the fleet's server has."""

    AUTOMATIC = "automatic"
    ASK = "ask"
    FLEET = "fleet"


class OnFailure(Enum):
    """What to do when a patch cannot be put into a process: try it in the others, put it into no further process, or
    take it out of all."""

    GO_ON = "go-on"
    HOLD = "hold"
    REVERT = "revert"


@dataclass(frozen=True)
class ProcessFacts:
    """A process as policies see it: the program's path, the user's name and number, systemd unit and container, ""
    where it has none."""

    program: str
    user: str
    uid: int
    unit: str
    container: str


@dataclass(frozen=True)
class Chosen:
    """Shell patterns. `packages` are names of source packages."""

    packages: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()

    def pairs(self, one: ProcessFacts) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """The patterns that ask for a process, each with what it is compared with."""
        return (
            (self.paths, (one.program,)),
            (self.users, (one.user, str(one.uid))),
            (self.units, (one.unit,)),
            (self.containers, (one.container,)),
        )

    @property
    def asks_for_processes(self) -> bool:
        return bool(self.paths or self.users or self.units or self.containers)


@dataclass(frozen=True)
class WeeklyFreeze:
    """Nothing is applied on these days (0 is Monday) from `start` until `end`, by the host's clock; `end` before
    `start` is on the day after."""

    days: frozenset[int]
    start: time
    end: time

    def holds(self, local: datetime) -> bool:
        clock, today = local.time().replace(tzinfo=None), local.weekday()
        if self.start <= self.end:
            return today in self.days and self.start <= clock < self.end
        return (today in self.days and clock >= self.start) or ((today - 1) % 7 in self.days and clock < self.end)


@dataclass(frozen=True)
class Freeze:
    """Nothing is applied between two moments."""

    begin: datetime
    end: datetime

    def holds(self, local: datetime) -> bool:
        return self.begin <= local < self.end


@dataclass(frozen=True)
class HealthWatch:
    """What to do when as many processes as `crashes` have died of a defect within `window` after a patch went in, or a
    service has ended by itself so many times as `exits`, each with an exit code that is not 0."""

    window: timedelta = timedelta(minutes=10)
    crashes: int = 1
    on_crash: OnFailure = OnFailure.REVERT
    exits: int = 3


@dataclass(frozen=True)
class Policy:
    """`untried`: patches that no trial has passed are taken too; `relaxed`: those made with --relaxed. `delay` counts
    from the moment when the channel has a patch. `timeout` in seconds for one patch. `fleet_server`: the public key
    (hex digits) of the server whose rollouts may take a patch out again, "" for none."""

    url: str
    root: Path
    channel: str = "stable"
    fetch_every: timedelta = timedelta(minutes=15)
    mode: Mode = Mode.AUTOMATIC
    delay: timedelta = timedelta()
    grades: tuple[str, ...] = ("safe",)
    untried: bool = False
    relaxed: bool = False
    on_failure: OnFailure = OnFailure.GO_ON
    timeout: float = 10.0
    look_every: timedelta = timedelta(seconds=LOOK_SECONDS)
    freezes: tuple[WeeklyFreeze | Freeze, ...] = ()
    include: Chosen = Chosen()
    exclude: Chosen = Chosen()
    mitigations: tuple[Mitigation, ...] = ()
    health: HealthWatch = HealthWatch()
    fleet_server: str = ""

    def takes_package(self, source: str) -> bool:
        """Whether patches for a source package are taken."""
        wanted = not self.include.packages or _fits(self.include.packages, (source,))
        return wanted and not _fits(self.exclude.packages, (source,))

    def takes_process(self, one: ProcessFacts) -> bool:
        """Whether a process is patched: it fits every list of `include` that is not empty, and none of `exclude`."""
        wanted = all(_fits(patterns, values) for patterns, values in self.include.pairs(one) if patterns)
        return wanted and not any(_fits(patterns, values) for patterns, values in self.exclude.pairs(one))

    @property
    def chooses_processes(self) -> bool:
        """Whether some processes may be left out."""
        return self.include.asks_for_processes or self.exclude.asks_for_processes

    def is_frozen(self, local: datetime) -> bool:
        """Whether nothing is to be applied now."""
        return any(f.holds(local) for f in self.freezes)


def _fits(patterns: tuple[str, ...], values: tuple[str, ...]) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in patterns for value in values if value)


def load(path: Path, *, owned: bool = False) -> Policy:
    """The policy of a file; with `owned` only one that nobody but root or the caller may write. Raises `BadPolicy`."""
    try:
        with open(path, "rb") as file:
            facts = path.stat()
            data = file.read(_MOST_BYTES + 1)
    except OSError as problem:
        raise BadPolicy(
            f"{path}: {problem.strerror}", "write a policy there: docs/reference/agent-policy.md has an example"
        ) from problem
    if owned:
        _check_owner(path, facts.st_uid, facts.st_mode)
    if len(data) > _MOST_BYTES:
        raise BadPolicy(f"{path}: more than {_MOST_BYTES} bytes", "write a policy, and nothing else, there")
    return parse(data, path)


def _check_owner(path: Path, uid: int, mode: int) -> None:
    import os

    if uid not in (0, os.geteuid()) or mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BadPolicy(
            f"{path}: others than root may write it (owner {uid}, mode {stat.S_IMODE(mode):04o})",
            f"make sure that it says what you want, then: chown root {path} && chmod 644 {path}",
        )


def parse(data: bytes, path: Path) -> Policy:
    """Raises `BadPolicy`, which names the file, the line and the key."""
    try:
        text = data.decode()
        raw = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise BadPolicy(
            f"{path}: no TOML: {problem}", "correct that line: a key is written NAME = VALUE, texts in quotation marks"
        ) from problem
    return _PolicyReader(path, text, raw).policy()


@dataclass(frozen=True)
class _PolicyReader:
    """Takes values out of what tomllib read; a wrong one is an error with its place."""

    path: Path
    text: str
    raw: Mapping[str, Any]

    def policy(self) -> Policy:
        self._known(
            "", self.raw, ("feed", "apply", "look", "freeze", "include", "exclude", "mitigation", "fleet", "health")
        )
        feed, apply, look = self._table("feed"), self._table("apply"), self._table("look")
        self._known("feed", feed, ("url", "root", "channel", "every_minutes"))
        self._known(
            "apply",
            apply,
            ("mode", "delay_hours", "grades", "untried", "consistency", "on_failure", "timeout_seconds"),
        )
        self._known("look", look, ("every_seconds",))
        return Policy(
            self._url(feed),
            self._root(feed),
            self._channel(feed),
            timedelta(minutes=self._number("feed", feed, "every_minutes", 15, 0.01, 60 * 24)),
            Mode(self._choice("apply", apply, "mode", "automatic", [m.value for m in Mode])),
            timedelta(hours=self._number("apply", apply, "delay_hours", 0, 0, _MOST_HOURS)),
            self._grades(apply),
            self._flag("apply", apply, "untried"),
            self._choice("apply", apply, "consistency", "strict", ["strict", "relaxed"]) == "relaxed",
            OnFailure(self._choice("apply", apply, "on_failure", "go-on", [o.value for o in OnFailure])),
            self._number("apply", apply, "timeout_seconds", 10, 0.1, 3600),
            timedelta(seconds=self._number("look", look, "every_seconds", LOOK_SECONDS, 0.1, 3600)),
            self._freezes(),
            self._selection("include"),
            self._selection("exclude"),
            self._mitigations(),
            self._health(),
            self._fleet_server(),
        )

    def _wrong(self, table: str, key: str, why: str, remedy: str) -> BadPolicy:
        line = _line_of(self.text, table, key)
        name = f"{table}.{key}" if table and key else table or key
        return BadPolicy(f"{self.path}{f', line {line}' if line else ''}: {name}: {why}", remedy)

    def _known(self, table: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for key in given:
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                what = f"write {close[0]}" if close else f"leave it out; known here: {', '.join(known)}"
                raise self._wrong(table, key, "is not known", what)

    def _table(self, name: str) -> Mapping[str, Any]:
        found = self.raw.get(name, {})
        if not isinstance(found, dict):
            raise self._wrong("", name, "is no table", f"write a line [{name}], and its keys below it")
        return found

    def _url(self, feed: Mapping[str, Any]) -> str:
        found = feed.get("url")
        if not isinstance(found, str) or not re.match(r"(https?://[^/\s]|file:///)\S*$", found):
            why = "is missing" if found is None else "is no address"
            raise self._wrong("feed", "url", why, 'write for instance url = "https://feed.example/"')
        return found

    def _root(self, feed: Mapping[str, Any]) -> Path:
        found = feed.get("root")
        if not isinstance(found, str) or not found.startswith("/"):
            why = "is missing" if found is None else "is no absolute path"
            raise self._wrong(
                "feed", "root", why, 'write the place of the feed\'s root.json: root = "/etc/suture/root.json"'
            )
        return Path(found)

    def _channel(self, feed: Mapping[str, Any]) -> str:
        found = feed.get("channel", "stable")
        if not isinstance(found, str) or not _CHANNEL.fullmatch(found):
            raise self._wrong("feed", "channel", "is no name of a channel", 'write for instance channel = "stable"')
        return found

    def _health(self) -> HealthWatch:
        health = self._table("health")
        self._known("health", health, ("window_minutes", "crashes", "on_crash", "exits"))
        return HealthWatch(
            timedelta(minutes=self._number("health", health, "window_minutes", 10, 0.1, 60 * 24)),
            int(self._number("health", health, "crashes", 1, 1, 1000)),
            OnFailure(self._choice("health", health, "on_crash", "revert", [o.value for o in OnFailure])),
            int(self._number("health", health, "exits", 3, 2, 1000)),
        )

    def _fleet_server(self) -> str:
        fleet = self._table("fleet")
        self._known("fleet", fleet, ("server",))
        found = fleet.get("server", "")
        if found and not (isinstance(found, str) and _KEY.fullmatch(found)):
            raise self._wrong(
                "fleet", "server", "is no public key", "write the 64 digits that `suture fleet key` prints"
            )
        return str(found)

    def _choice(self, table: str, given: Mapping[str, Any], key: str, default: str, known: list[str]) -> str:
        found = given.get(key, default)
        if found not in known:
            one_of = " or ".join(f'"{k}"' for k in known)
            raise self._wrong(table, key, f"{found!r} is not known", f"write {key} = {one_of}")
        return str(found)

    def _number(
        self, table: str, given: Mapping[str, Any], key: str, default: float, least: float, most: float
    ) -> float:
        found = given.get(key, default)
        if isinstance(found, bool) or not isinstance(found, int | float) or not least <= found <= most:
            raise self._wrong(
                table,
                key,
                f"is no number from {least:g} to {most:g}",
                f"write for instance {key} = {default or least:g}",
            )
        return float(found)

    def _flag(self, table: str, given: Mapping[str, Any], key: str) -> bool:
        found = given.get(key, False)
        if not isinstance(found, bool):
            raise self._wrong(table, key, "is neither true nor false", f"write {key} = true or {key} = false")
        return found

    def _texts(self, table: str, given: Mapping[str, Any], key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        found = given.get(key, list(default))
        if not isinstance(found, list) or not all(isinstance(f, str) and f for f in found):
            raise self._wrong(table, key, "is no list of texts", f'write for instance {key} = ["..."]')
        return tuple(found)

    def _grades(self, apply: Mapping[str, Any]) -> tuple[str, ...]:
        found = self._texts("apply", apply, "grades", ("safe",))
        for grade in found:
            if grade not in _GRADES:
                raise self._wrong(
                    "apply",
                    "grades",
                    f"{grade!r} is no grade",
                    'write grades = ["safe"] or grades = ["safe", "review"]',
                )
        if not found:
            raise self._wrong("apply", "grades", "is empty, so no patch would be taken", 'write grades = ["safe"]')
        return found

    def _selection(self, name: str) -> Chosen:
        given, kinds = self._table(name), ("packages", "paths", "users", "units", "containers")
        self._known(name, given, kinds)
        return Chosen(*(self._texts(name, given, kind) for kind in kinds))

    def _mitigations(self) -> tuple[Mitigation, ...]:
        try:
            return mitigations(self.raw, self.path)
        except BadMitigation as problem:
            raise BadPolicy(problem.what, problem.remedy) from problem

    def _freezes(self) -> tuple[WeeklyFreeze | Freeze, ...]:
        rows = self.raw.get("freeze", [])
        if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
            raise self._wrong("", "freeze", "is no list of tables", "write [[freeze]] above each of them")
        return tuple(self._freeze(row) for row in rows)

    def _freeze(self, row: Mapping[str, Any]) -> WeeklyFreeze | Freeze:
        self._known("freeze", row, ("days", "from", "to", "begin", "end"))
        if "begin" in row or "end" in row:
            for key in ("days", "from", "to"):
                if key in row:
                    raise self._wrong("freeze", key, "does not go with begin and end", "leave one of the two out")
            begin, end = self._moment(row, "begin"), self._moment(row, "end")
            if begin >= end:
                raise self._wrong("freeze", "end", "is not after begin", "write a later moment")
            return Freeze(begin, end)
        days = self._texts("freeze", row, "days", _DAYS)
        for day in days:
            if day not in _DAYS:
                raise self._wrong("freeze", "days", f"{day!r} is no day", f"write some of {', '.join(_DAYS)}")
        start, end_clock = self._clock(row, "from"), self._clock(row, "to")
        if start == end_clock:
            raise self._wrong("freeze", "to", "is the same as from", "write another time; 00:00 is midnight")
        return WeeklyFreeze(frozenset(_DAYS.index(d) for d in days), start, end_clock)

    def _moment(self, row: Mapping[str, Any], key: str) -> datetime:
        found = row.get(key)
        if not isinstance(found, datetime) or found.tzinfo is None:
            raise self._wrong(
                "freeze", key, "is no moment with a time zone", f"write for instance {key} = 2026-12-24T00:00:00+01:00"
            )
        return found

    def _clock(self, row: Mapping[str, Any], key: str) -> time:
        found = row.get(key)
        match = _CLOCK.fullmatch(found) if isinstance(found, str) else None
        if match is None:
            raise self._wrong("freeze", key, "is no time of day", f'write for instance {key} = "18:00"')
        return time(int(match[1]), int(match[2]))


def _line_of(text: str, table: str, key: str) -> int:
    """The line where a key of a table stands, or the table's own; 0 for none."""
    here, place = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        head = re.match(r"\s*\[\[?\s*([\w.\"-]+)\s*\]", line)
        if head:
            here = head[1].strip('"')
            if (here == table and not place) or (not table and here == key):
                place = number
        elif here == table and re.match(rf"\s*\"?{re.escape(key)}\"?\s*=", line):
            return number
    return place
