"""Ways to people and their programs: a web address (signed), mail, syslog. A file of the server names them; secrets are
in files of their own, and no error shows one."""

from __future__ import annotations

import json
import os
import smtplib
import socket
import ssl
import tomllib
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Protocol

from suture.error import ExitCode, SutureError
from suture.fleet.event import NoticeKind
from suture.report.webhook import HEADER, signature
from suture.visible import visible

_SECONDS = 5.0
_SEVERITY = {NoticeKind.DEADLINE_NEAR.value: 4, NoticeKind.HOST_AWAY.value: 4}  # warning; all others: error
_FACILITY = 16  # local0
_DEFAULT_PORTS = {"none": 25, "starttls": 587, "tls": 465}


class BadChannel(SutureError):
    """The file of channels does not say what it has to."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True)
class Sending:
    """An event as it is sent. `id` is the same each time that it is tried."""

    id: int
    time: datetime
    kind: str
    subject: str
    text: str

    def as_json(self) -> bytes:
        return json.dumps(
            {
                "id": self.id,
                "time": self.time.isoformat(),
                "kind": self.kind,
                "subject": self.subject,
                "text": self.text,
            }
        ).encode()


class Channel(Protocol):
    """`kinds` are those of the events that it is told. `send` says why an event was not taken, "" for taken."""

    @property
    def name(self) -> str: ...

    @property
    def kinds(self) -> frozenset[str]: ...

    def send(self, event: Sending) -> str: ...


@dataclass(frozen=True)
class WebhookChannel:
    """A web address, which gets JSON that is signed with a secret (`suture.report.webhook`)."""

    name: str
    kinds: frozenset[str]
    url: str
    secret: bytes = field(repr=False)
    authority: str = ""

    def send(self, event: Sending) -> str:
        body, moment = event.as_json(), int(datetime.now(UTC).timestamp())
        headers = {"Content-Type": "application/json", HEADER: signature(self.secret, moment, body)}
        request = urllib.request.Request(self.url, data=body, headers=headers, method="POST")
        context = ssl.create_default_context(cafile=self.authority or None)
        opener = urllib.request.build_opener(_NoRedirection, urllib.request.HTTPSHandler(context=context))
        try:
            with opener.open(request, timeout=_SECONDS):
                return ""
        except urllib.error.HTTPError as problem:
            return f"it answers {problem.code}"
        except (OSError, ValueError) as problem:
            return _without(str(problem), self.url)


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True)
class MailChannel:
    """Mail by SMTP. `security` is `tls`, `starttls` or `none`; a password goes over the first two alone."""

    name: str
    kinds: frozenset[str]
    host: str
    port: int
    security: str
    sender: str
    to: tuple[str, ...]
    user: str = ""
    password: str = field(default="", repr=False)
    authority: str = ""

    def send(self, event: Sending) -> str:
        mail = EmailMessage()
        mail["Subject"], mail["From"], mail["To"] = f"[suture] {event.subject}", self.sender, ", ".join(self.to)
        mail["Date"], mail["Message-ID"] = format_datetime(event.time), f"<suture-{event.id}@{self.name}>"
        mail.set_content(f"{event.subject}\n\n{event.text}\n\n{event.kind}, {event.time.isoformat()}\n")
        try:
            context = ssl.create_default_context(cafile=self.authority or None)
            with self._connected(context) as smtp:
                if self.security == "starttls":
                    smtp.starttls(context=context)
                if self.user:
                    smtp.login(self.user, self.password)
                smtp.send_message(mail)
            return ""
        except (OSError, smtplib.SMTPException) as problem:
            return _without(str(problem), self.password)

    def _connected(self, context: ssl.SSLContext) -> smtplib.SMTP:
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=_SECONDS, context=context)
        return smtplib.SMTP(self.host, self.port, timeout=_SECONDS)


@dataclass(frozen=True)
class SyslogChannel:
    """Syslog (RFC 5424): a datagram to a socket of this machine, or by UDP."""

    name: str
    kinds: frozenset[str]
    address: str | tuple[str, int]

    def send(self, event: Sending) -> str:
        priority = _FACILITY * 8 + _SEVERITY.get(event.kind, 3)
        said = visible(f"{event.subject}: {event.text}")
        moment = event.time.astimezone(UTC).isoformat().replace("+00:00", "Z")
        line = f"<{priority}>1 {moment} {socket.gethostname() or '-'} suture-fleet {os.getpid()} {event.kind} - {said}"
        try:
            if isinstance(self.address, str):
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
                    local.sendto(line.encode(), self.address)
            else:
                family = socket.getaddrinfo(*self.address, type=socket.SOCK_DGRAM)[0]
                with socket.socket(family[0], socket.SOCK_DGRAM) as away:
                    away.sendto(line.encode(), family[4])
            return ""
        except OSError as problem:
            return str(problem)


def load(path: Path) -> tuple[Channel, ...]:
    """The channels of a file (docs/how-to/fleet.md). Raises `BadChannel`."""
    try:
        raw = tomllib.loads(path.read_text())
        found: list[Channel] = [_webhook(t) for t in raw.pop("webhook", [])]
        found += [_mail(t) for t in raw.pop("mail", [])]
        found += [_syslog(t) for t in raw.pop("syslog", [])]
        if raw:
            raise ValueError(f"{next(iter(raw))!r} is no channel")
        names = [c.name for c in found]
        if len(set(names)) != len(names):
            raise ValueError("two channels have one name")
    except OSError as problem:
        raise BadChannel(f"{problem.filename}: {problem.strerror}", "give files that can be read") from problem
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BadChannel(f"{path}: {problem}", "docs/how-to/fleet.md has an example") from problem
    return tuple(found)


def _common(table: Mapping[str, Any], *names: str) -> tuple[str, frozenset[str]]:
    """The name and the kinds of events of a table that has `names` beside these."""
    strange = table.keys() - {"name", "events", *names}
    if strange:
        raise ValueError(f"{sorted(strange)[0]!r} is not known")
    known = {k.value for k in NoticeKind}
    kinds = frozenset(table.get("events", known))
    if kinds - known:
        raise ValueError(f"{sorted(kinds - known)[0]!r} is no event; there are {', '.join(sorted(known))}")
    name = str(table["name"])
    if not name.isascii() or not name.replace("-", "").isalnum() or len(name) > 50:
        raise ValueError(f"{name!r} is no name of letters, digits and -")
    return name, kinds


def _webhook(table: Mapping[str, Any]) -> WebhookChannel:
    name, kinds = _common(table, "url", "secret_file", "authority")
    url = str(table["url"])
    if not url.startswith(("https://", "http://")):
        raise ValueError("a webhook's url begins with https:// or http://")
    secret = Path(table["secret_file"]).read_bytes().strip()
    if len(secret) < 16:
        raise ValueError("the secret of a webhook has 16 characters and more")
    return WebhookChannel(name, kinds, url, secret, str(table.get("authority", "")))


def _mail(table: Mapping[str, Any]) -> MailChannel:
    words = ("server", "security", "from", "to", "user", "password_file", "authority")
    name, kinds = _common(table, *words)
    security = str(table.get("security", "starttls"))
    if security not in _DEFAULT_PORTS:
        raise ValueError(f"security is one of {', '.join(_DEFAULT_PORTS)}")
    user = str(table.get("user", ""))
    if user and security == "none":
        raise ValueError("a password would go over the network as it is: set security")
    host, _, port = str(table["server"]).partition(":")
    password = Path(table["password_file"]).read_text().strip() if user else ""
    return MailChannel(
        name, kinds, host, int(port) if port else _DEFAULT_PORTS[security], security, str(table["from"]),
        tuple(str(t) for t in table["to"]), user, password, str(table.get("authority", "")),
    )  # fmt: skip


def _syslog(table: Mapping[str, Any]) -> SyslogChannel:
    name, kinds = _common(table, "address")
    address = str(table.get("address", "/dev/log"))
    if address.startswith("/"):
        return SyslogChannel(name, kinds, address)
    host, _, port = address.partition(":")
    return SyslogChannel(name, kinds, (host, int(port) if port else 514))


def _without(text: str, secret: str) -> str:
    return text.replace(secret, "...") if secret else text
