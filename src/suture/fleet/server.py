"""What the parts of a running server share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from suture.comply.rule import DeadlineRule
from suture.fleet.channel import Channel
from suture.fleet.check_in import CheckIns
from suture.fleet.database import Database
from suture.fleet.limit import RateLimit
from suture.fleet.open_kind import OpenCounts
from suture.fleet.server_key import ServerKey, server_key
from suture.report.check_in import CheckInAnswer, EnrolmentAnswer, RotationAnswer, encoded, to_sign


@dataclass
class ServerSettings:
    """`every_seconds`: how often hosts check in; a host that is not heard of for `away_after` is away. `secure`:
    cookies are for https alone. `rules` are those that deadlines are shown by, the first one on the overview.
    `channels` are told of events; a deadline is near `near` before it runs out."""

    every_seconds: int = 60
    away_after: timedelta = timedelta(minutes=15)
    secure: bool = True
    rules: Sequence[DeadlineRule] = ()
    channels: Sequence[Channel] = ()
    near: timedelta = timedelta(hours=24)


@dataclass
class Server:
    """One server process."""

    database: Database
    settings: ServerSettings
    key: ServerKey = field(init=False)
    check_ins: CheckIns = field(init=False)
    open_counts: OpenCounts = field(init=False)
    logins: RateLimit = field(default_factory=lambda: RateLimit(10, timedelta(minutes=1)))
    enrolments: RateLimit = field(default_factory=lambda: RateLimit(600, timedelta(minutes=1)))

    def __post_init__(self) -> None:
        with self.database.writing() as session:
            self.key = server_key(session)
        self.open_counts = OpenCounts(self.database)
        self.check_ins = CheckIns(self.database, self.key, self.settings.every_seconds)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def signed(self, message: EnrolmentAnswer | CheckInAnswer | RotationAnswer, what: str) -> tuple[bytes, str]:
        """An answer as it is sent, and the server's signature of it in hex digits."""
        data = encoded(message)
        return data, self.key.sign(to_sign(f"{what}-answer", self.key.name, data)).hex()

    def rule(self, name: str = "") -> DeadlineRule:
        """A rule by its id; the first one where there is none of that name."""
        return next((r for r in self.settings.rules if r.id == name), self.settings.rules[0])
