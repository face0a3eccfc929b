"""The tables of the server's database."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
)  # fmt: skip
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from suture.visible import visible

_MOST_TEXT = 4000


class UtcMoment(TypeDecorator[datetime]):
    """A moment with its time zone; kept in UTC without one, as SQLite has none."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class SaidLine(TypeDecorator[str]):
    """A line that somebody else has written: kept harmless and no longer than the column, as PostgreSQL takes neither a
    zero byte, nor half a character, nor a longer one."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        most = self.impl_instance.length or _MOST_TEXT  # type: ignore[attr-defined]
        return None if value is None else visible(value, most)[:most]


class SaidText(TypeDecorator[str]):
    """A text that somebody else has written, as `SaidLine`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else visible(value, _MOST_TEXT)[:_MOST_TEXT]


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map: ClassVar = {datetime: UtcMoment, dict[str, Any]: JSON, list[str]: JSON}


class SettingRow(Base):
    """What there is once: the server's own key, the time of the last sweep."""

    __tablename__ = "setting"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class HostRow(Base):
    """A host. `away_since`: not heard of since then. `clone_since`: two machines report with its key. `withdrawn`:
    its key counts no more. `machine` is its own id (`Host.id`)."""

    __tablename__ = "host"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(SaidLine(255), index=True)
    group: Mapped[str] = mapped_column(SaidLine(64), index=True, default="")
    tags: Mapped[list[str]] = mapped_column(default=list)
    exposed: Mapped[bool | None]
    classes: Mapped[list[str]] = mapped_column(default=list)
    key: Mapped[bytes] = mapped_column(LargeBinary(32))
    machine: Mapped[str] = mapped_column(SaidLine(64), index=True, default="")
    boot_id: Mapped[str] = mapped_column(SaidLine(64), default="")
    old_boots: Mapped[list[str]] = mapped_column(default=list)
    address: Mapped[str] = mapped_column(SaidLine(64), default="")
    kernel: Mapped[str] = mapped_column(SaidLine(255), default="")
    enrolled: Mapped[datetime]
    last_seen: Mapped[datetime] = mapped_column(index=True)
    sequence: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), default=0)
    digest: Mapped[str] = mapped_column(String(64), default="")
    state_time: Mapped[datetime | None]
    away_since: Mapped[datetime | None] = mapped_column(index=True)
    clone_since: Mapped[datetime | None]
    withdrawn: Mapped[datetime | None] = mapped_column(index=True)
    open_holes: Mapped[int] = mapped_column(default=0, index=True)
    problems: Mapped[int] = mapped_column(default=0)

    __table_args__ = (Index("host_counted", "withdrawn", "group", "away_since", "clone_since", "open_holes"),)


class HostStateRow(Base):
    """The whole state that a host has sent last."""

    __tablename__ = "host_state"

    host: Mapped[str] = mapped_column(ForeignKey("host.id", ondelete="CASCADE"), primary_key=True)
    agent: Mapped[dict[str, Any]]
    scan: Mapped[dict[str, Any] | None]


class HoleRow(Base):
    """A CVE that some host has or had, with what is known of it (`suture.comply.fact.HoleFacts`). `kev_removed`: CISA
    had taken it back by then. `debian`: what Debian's tracker says, a line for each source package."""

    __tablename__ = "hole"

    cve: Mapped[str] = mapped_column(String(32), primary_key=True)
    first_seen: Mapped[datetime]
    disclosed: Mapped[datetime | None]
    fixed: Mapped[datetime | None]
    in_kev: Mapped[bool | None] = mapped_column(index=True)
    kev_added: Mapped[date | None]
    kev_due: Mapped[date | None]
    exploited: Mapped[bool | None]
    automatable: Mapped[bool | None]
    impact: Mapped[str | None] = mapped_column(String(16))
    cvss: Mapped[float | None]
    severity: Mapped[str | None] = mapped_column(String(16))
    agency_impact: Mapped[int | None]
    epss: Mapped[float | None]
    kev_removed: Mapped[date | None]
    debian: Mapped[list[str] | None]


class SpanRow(Base):
    """A hole on a host in one state for a time. `state` is none where the host no longer runs the code; `until` is none
    for the span of now. `seen`: since when the host has it without a break."""

    __tablename__ = "span"

    id: Mapped[int] = mapped_column(primary_key=True)
    host: Mapped[str] = mapped_column(ForeignKey("host.id", ondelete="CASCADE"))
    cve: Mapped[str] = mapped_column(ForeignKey("hole.cve"))
    state: Mapped[str | None] = mapped_column(String(32))
    seen: Mapped[datetime]
    since: Mapped[datetime]
    until: Mapped[datetime | None]

    __table_args__ = (
        Index("span_of_host", "host", "until", "cve"),
        Index("span_of_hole", "cve", "until", "since", "state"),
    )


class TallyRow(Base):
    """In how many hosts of a group a hole has which state now."""

    __tablename__ = "tally"

    cve: Mapped[str] = mapped_column(ForeignKey("hole.cve"), primary_key=True)
    group: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[str] = mapped_column(String(32), primary_key=True)
    hosts: Mapped[int] = mapped_column(default=0)


class PatchRow(Base):
    """A patch that the feed has signed, as agents have it from there (`suture.report.feed.Offer`)."""

    __tablename__ = "patch"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    offer: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))
    first_seen: Mapped[datetime]


class HostPatchRow(Base):
    """A patch on a host: in force, held, failed or waiting (`suture.fleet.state.PatchStanding`)."""

    __tablename__ = "host_patch"

    host: Mapped[str] = mapped_column(ForeignKey("host.id", ondelete="CASCADE"), primary_key=True)
    patch: Mapped[str] = mapped_column(ForeignKey("patch.id"), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    why: Mapped[str] = mapped_column(SaidText, default="")

    __table_args__ = (Index("host_patch_of_patch", "patch", "state"),)


class TokenRow(Base):
    """What lets hosts in. Only its digest is kept."""

    __tablename__ = "enrolment_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    label: Mapped[str] = mapped_column(SaidLine(255))
    group: Mapped[str] = mapped_column(String(64), default="")
    uses_left: Mapped[int]
    created: Mapped[datetime]
    expires: Mapped[datetime]


class ApplicantRow(Base):
    """A host without a token that waits until a person lets it in. `id` is the fingerprint of its key. `declined`: it
    was turned away then."""

    __tablename__ = "applicant"

    id: Mapped[str] = mapped_column(String(39), primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary(32))
    name: Mapped[str] = mapped_column(SaidLine(255))
    machine: Mapped[str] = mapped_column(SaidLine(64))
    boot_id: Mapped[str] = mapped_column(SaidLine(64))
    address: Mapped[str] = mapped_column(SaidLine(64))
    asked: Mapped[datetime]
    last_asked: Mapped[datetime] = mapped_column(index=True)
    declined: Mapped[datetime | None]


class AccountRow(Base):
    """A person. `groups` are those of hosts that he sees, none for all."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16))
    groups: Mapped[list[str]] = mapped_column(default=list)
    created: Mapped[datetime]
    disabled: Mapped[bool] = mapped_column(default=False)
    failed: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None]


class LoginRow(Base):
    """A person who has logged in. Only the digest of the cookie is kept."""

    __tablename__ = "login"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    account: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    created: Mapped[datetime]
    used: Mapped[datetime]


class ApiTokenRow(Base):
    """A program that may do what a role may, until it expires. Only the digest is kept."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(16))
    groups: Mapped[list[str]] = mapped_column(default=list)
    expires: Mapped[datetime]


class AuditRow(Base):
    """Who did what. Each row's digest is over its contents and the digest of the row before."""

    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(80), index=True)
    what: Mapped[str] = mapped_column(String(64), index=True)
    subject: Mapped[str] = mapped_column(String(255))
    detail: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))


class ExemptionRow(Base):
    """An exception (`suture.report.deadline.Exemption`)."""

    __tablename__ = "exemption"

    id: Mapped[int] = mapped_column(primary_key=True)
    cve: Mapped[str] = mapped_column(String(32), index=True)
    host: Mapped[str] = mapped_column(String(32), default="")
    reason: Mapped[str] = mapped_column(SaidText)
    owner: Mapped[str] = mapped_column(SaidLine(64))
    control: Mapped[str] = mapped_column(SaidText)
    created: Mapped[datetime]
    expires: Mapped[datetime]
    approved_by: Mapped[str] = mapped_column(String(64), default="")


class RolloutRow(Base):
    """A rollout: its plan, and where it stands (`suture.fleet.rollout`)."""

    __tablename__ = "rollout"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(SaidLine(255))
    patch: Mapped[str] = mapped_column(ForeignKey("patch.id"))
    plan: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(32).with_variant(String(16), "sqlite"), index=True)
    stage: Mapped[int] = mapped_column(default=0)
    stage_since: Mapped[datetime]
    approved: Mapped[list[str]] = mapped_column(default=list)
    why: Mapped[str] = mapped_column(SaidText, default="")
    created_by: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime]
    ended: Mapped[datetime | None]


class RolloutHostRow(Base):
    """A host of a rollout, the stage that it belongs to, and whether it may have the patch."""

    __tablename__ = "rollout_host"

    rollout: Mapped[int] = mapped_column(ForeignKey("rollout.id", ondelete="CASCADE"), primary_key=True)
    host: Mapped[str] = mapped_column(ForeignKey("host.id", ondelete="CASCADE"), primary_key=True)
    stage: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    since: Mapped[datetime]

    __table_args__ = (Index("rollout_host_of_host", "host", "state"),)


class RolloutEventRow(Base):
    """What happened in a rollout."""

    __tablename__ = "rollout_event"

    id: Mapped[int] = mapped_column(primary_key=True)
    rollout: Mapped[int] = mapped_column(ForeignKey("rollout.id", ondelete="CASCADE"), index=True)
    time: Mapped[datetime]
    text: Mapped[str] = mapped_column(SaidText)


class EventRow(Base):
    """Something that people are told of (`suture.fleet.event`). `key`: the same is told once."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    time: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(SaidLine(255))
    text: Mapped[str] = mapped_column(SaidText)


class DeliveryRow(Base):
    """An event on its way through a channel. `next_try` is none where it was taken, or given up (`why`)."""

    __tablename__ = "delivery"

    event: Mapped[int] = mapped_column(ForeignKey("event.id", ondelete="CASCADE"), primary_key=True)
    channel: Mapped[str] = mapped_column(String(64), primary_key=True)
    tries: Mapped[int] = mapped_column(default=0)
    next_try: Mapped[datetime | None] = mapped_column(index=True)
    sent: Mapped[datetime | None]
    why: Mapped[str] = mapped_column(SaidText, default="")


class DataSourceRow(Base):
    """Data from elsewhere that was taken in (`suture.report.deadline.DataSource`)."""

    __tablename__ = "data_source"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[str] = mapped_column(String(64))
    read: Mapped[datetime]
    rows: Mapped[int]
