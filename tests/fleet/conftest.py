"""A server in a test client, and hosts that speak with it as agents do."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import argon2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from httpx2 import Response
from starlette.testclient import TestClient

from suture.comply.rulebook import shipped
from suture.fleet import account
from suture.fleet.app import create_app
from suture.fleet.database import open_database
from suture.fleet.enrolment import new_token
from suture.fleet.role import Role
from suture.fleet.server import Server, ServerSettings
from suture.fleet.server_key import is_signed
from suture.report.agent import AgentVerdict, MappedBinary, PatchInForce, WaitingPatch
from suture.report.check_in import (
    CHECK_IN,
    CHECK_IN_PATH,
    ENROL,
    ENROL_PATH,
    SIGNATURE_HEADER,
    CheckIn,
    EnrolmentRequest,
    digest_of,
    encoded,
    state_document,
    to_sign,
)
from suture.report.document import AgentReport
from suture.report.feed import Offer, OfferState, Product
from suture.report.host import Host, Kernel
from suture.report.patch import PatchKind
from suture.report.reason import Cause, Reason
from tests.fleet.postgresql import Postgresql, started

PASSWORD = "correct horse battery"
OFFER = Offer(
    "0123456789abcdef", "openssl-x", PatchKind.PROCESS, Product.LIBRARIES, "ab" * 20, "libcrypto.so.3", "openssl",
    "3.0.17-1~deb12u2", ("CVE-2026-1",), ("fix",), "safe", "passed", (), "00" * 32, 1000, (),
    {"stable": "2026-01-01T00:00:00Z"}, OfferState.OFFERED, "", "",
)  # fmt: skip
MAPPED = MappedBinary(OFFER.build_id, "/usr/lib/libcrypto.so.3", 3, "libssl3", OFFER.version)
WAITS = WaitingPatch(OFFER, AgentVerdict.WAIT, Cause(Reason.POLICY_FLEET, "no rollout has let it in"))
IN_FORCE = PatchInForce(OFFER, "2026-07-01T00:00:00Z", 3, 0, False, None)


def report(
    name: str = "web1",
    in_force: Sequence[PatchInForce] = (),
    waiting: Sequence[WaitingPatch] = (),
    binaries: Sequence[MappedBinary] = (MAPPED,),
    problems: Sequence[Cause] = (),
) -> AgentReport:
    """What a host says of itself."""
    kernel = Kernel("6.1.0", "6.1.176-1", "6.1.176-1", "")
    host = Host(f"machine of {name}", name, "boot", "x86_64", kernel)
    return AgentReport(
        "2026-07-01T00:00:00Z", 0, host, "https://feed.example/", "stable", 3, "", "", "", tuple(binaries),
        tuple(in_force), tuple(waiting), tuple(problems), (), (),
    )  # fmt: skip


OPEN, FIXED = report(waiting=[WAITS]), report(in_force=[IN_FORCE])


@dataclass
class FakeHost:
    """A host with its key. `state` is what it says of itself; `clock` is added to its time."""

    fleet: FakeFleet
    name: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    id: str = ""
    sequence: int = 0
    boot: str = "boot 1"
    state: AgentReport = OPEN
    clock: timedelta = timedelta()

    @property
    def public(self) -> str:
        return self.key.public_key().public_bytes_raw().hex()

    def enrol(self, token: str, **changes: str) -> Response:
        asked = EnrolmentRequest(token, self.public, self.name, f"machine of {self.name}", self.boot, self._time())
        data = encoded(replace(asked, **changes))
        found = self.fleet.post(ENROL_PATH, data, self.key.sign(to_sign(ENROL, "", data)))
        if found.status_code == 200:
            self.id = found.json()["id"]
        return found

    def message(self, *, state: bool, **changes: Any) -> bytes:
        """A check-in as it is sent."""
        self.sequence += 1
        document = state_document(
            replace(self.state, host=replace(self.state.host, name=self.name, id=f"m {self.name}"))
        )
        said = CheckIn(
            self.id,
            self.sequence,
            self._time(),
            self.boot,
            digest_of(document, None),
            document if state else None,
            None,
        )
        return encoded(replace(said, **changes))

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(to_sign(CHECK_IN, self.fleet.server.key.name, data))

    def send(self, data: bytes) -> Response:
        return self.fleet.post(CHECK_IN_PATH, data, self.sign(data))

    def check_in(self, state: AgentReport | None = None) -> Any:
        """As the agent does: the state when the server wants it. The answer."""
        self.state = state or self.state
        found = self.send(self.message(state=False))
        assert found.status_code == 200, found.text
        if found.json()["wants_state"]:
            found = self.send(self.message(state=True))
            assert found.status_code == 200, found.text
        signature = bytes.fromhex(found.headers[SIGNATURE_HEADER])
        server = self.fleet.server.key
        assert is_signed(server.public, to_sign(f"{CHECK_IN}-answer", server.name, found.content), signature)
        return found.json()

    def _time(self) -> str:
        return (datetime.now(UTC) + self.clock).isoformat()


@dataclass
class FakeFleet:
    """The server, and a client that does not keep cookies of people."""

    server: Server
    client: TestClient

    def post(self, path: str, data: bytes, signature: bytes) -> Response:
        found: Response = self.client.post(path, content=data, headers={SIGNATURE_HEADER: signature.hex()})
        return found

    def token(self, hosts: int = 1, group: str = "") -> str:
        with self.server.database.writing() as session:
            return new_token(session, "test", "label", group, hosts, datetime.now(UTC), timedelta(days=1))

    def host(self, name: str = "web1", group: str = "", state: AgentReport | None = None) -> FakeHost:
        """A host that has enrolled and checked in."""
        found = FakeHost(self, name)
        assert found.enrol(self.token(group=group)).status_code == 200
        found.check_in(state or OPEN)
        return found

    def person(self, name: str = "ann", role: Role = Role.ADMIN, groups: Sequence[str] = ()) -> Person:
        """Somebody who has logged in."""
        with self.server.database.writing() as session:
            account.add(session, "test", name, PASSWORD, role, list(groups))
        client = TestClient(self.client.app, follow_redirects=True)
        client.headers["sec-fetch-site"] = "same-origin"
        found = client.post("/login", data={"name": name, "password": PASSWORD})
        assert found.status_code == 200, found.text
        return Person(client)


@dataclass
class Person:
    """A browser of somebody who has logged in."""

    client: TestClient

    def get(self, path: str, status: int = 200) -> str:
        found = self.client.get(path)
        assert found.status_code == status, found.text
        return str(found.text)

    def form_token(self, page: str = "/") -> str:
        match = re.search(r'name="form_token" value="([0-9a-f]{64})"', self.get(page))
        assert match
        return match[1]

    def post(self, path: str, status: int = 200, **fields: str) -> str:
        found = self.client.post(path, data={"form_token": self.form_token(), **fields})
        assert found.status_code == status, found.text
        return str(found.text)


def make_server(url: str) -> Server:
    rules = [r for r in shipped() if r.id in ("cisa-bod-26-04", "thirty-days")]
    return Server(open_database(url), ServerSettings(60, timedelta(minutes=15), False, rules))


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords() -> None:
    """argon2id with the least that it allows; what is shipped is tested in test_account.py."""
    account._HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the schema of now."""
    place = tmp_path_factory.mktemp("template") / "fleet.sqlite"
    database = open_database(f"sqlite:///{place}")
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.engine.dispose()
    return place


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    with started() as found:
        yield found


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.archive)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database of this test's own, of each kind."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("_sqlite_template"), tmp_path / "fleet.sqlite")
        return f"sqlite:///{tmp_path / 'fleet.sqlite'}"
    found: Postgresql = request.getfixturevalue("postgresql")
    return found.new()


@pytest.fixture
def fleet(url: str) -> Iterator[FakeFleet]:
    server = make_server(url)
    with TestClient(create_app(server)) as client:
        yield FakeFleet(server, client)
    server.database.engine.dispose()
