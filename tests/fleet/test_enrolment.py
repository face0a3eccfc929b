"""How hosts come in."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from suture.fleet import applicant
from suture.fleet.role import Role
from suture.report.check_in import ROTATE, ROTATE_PATH, RotationRequest, encoded, fingerprint, to_prove, to_sign
from tests.fleet.conftest import FakeFleet, FakeHost


def test_a_token_lets_as_many_in_as_it_counts(fleet: FakeFleet) -> None:
    token = fleet.token(hosts=2, group="web")
    assert [FakeHost(fleet, n).enrol(token).status_code for n in "abc"] == [200, 200, 401]
    assert "web" in fleet.person().get("/hosts")


def test_what_is_not_signed_by_the_key_it_brings_is_refused(fleet: FakeFleet) -> None:
    token = fleet.token(hosts=9)
    other = FakeHost(fleet, "other")
    assert FakeHost(fleet, "a").enrol(token, key=other.public).status_code == 401
    assert FakeHost(fleet, "a").enrol(token, key="00").status_code == 401
    assert FakeHost(fleet, "a").enrol(token, key="zz").status_code == 422
    assert FakeHost(fleet, "a").enrol("no token").status_code == 401
    assert FakeHost(fleet, "a", clock=timedelta(hours=1)).enrol(token).status_code == 409


def test_one_key_is_one_host(fleet: FakeFleet) -> None:
    token = fleet.token(hosts=9)
    host = FakeHost(fleet, "a")
    assert host.enrol(token).status_code == 200
    assert host.enrol(token).status_code == 409


def shown(host: FakeHost) -> str:
    """The fingerprint of its key."""
    return fingerprint(host.key.public_key().public_bytes_raw())


def test_a_host_without_a_token_waits_until_a_person_lets_it_in(fleet: FakeFleet) -> None:
    host, operator = FakeHost(fleet, "<b>web1"), fleet.person("op", Role.OPERATOR)
    assert host.enrol("").json()["id"] == "" and host.enrol("").json()["id"] == ""
    assert host.send(host.message(state=False)).status_code == 401
    page = operator.get("/hosts")
    assert page.count(f"<code>{shown(host)}</code>") == 1 and "<b>web1" not in page
    assert "waiting to be let in" in operator.get("/")
    fleet.person("vic", Role.VIEWER).post(f"/applicants/{shown(host)}", 403, answer="let in")
    fleet.person("wes", Role.OPERATOR, ["web"]).post(f"/applicants/{shown(host)}", 403, answer="let in")
    operator.post(f"/applicants/{shown(host)}", answer="let in", group="web")
    assert host.enrol("").json()["id"] and host.check_in()["wants_state"] is False
    assert "waiting to be let in" not in operator.get("/") and "web" in operator.get(f"/hosts/{host.id}")
    operator.post(f"/applicants/{shown(host)}", 404, answer="let in")


def test_a_host_that_was_turned_away_stays_out(fleet: FakeFleet) -> None:
    host, operator = FakeHost(fleet, "web1"), fleet.person("op", Role.OPERATOR)
    host.enrol("")
    operator.post(f"/applicants/{shown(host)}", answer="turn away")
    assert host.enrol("").status_code == 401 and shown(host) not in operator.get("/hosts")


def test_only_so_many_wait(fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applicant, "MOST", 2)
    assert [FakeHost(fleet, n).enrol("").status_code for n in "abc"] == [200, 200, 429]


def test_a_key_that_was_withdrawn_does_not_come_in_again(fleet: FakeFleet) -> None:
    host = fleet.host()
    fleet.person().post(f"/hosts/{host.id}/withdraw")
    assert host.enrol("").status_code == 401


def rotation(host: FakeHost, new: Ed25519PrivateKey, **changes: str) -> tuple[bytes, bytes]:
    """What a host says of its new key, and its signature by the old one."""
    server, key = host.fleet.server.key.name, new.public_key().public_bytes_raw().hex()
    proof = new.sign(to_prove(server, host.id, key)).hex()
    asked = {"id": host.id, "key": key, "time": fleet_time(host), "proof": proof} | changes
    data = encoded(RotationRequest(**asked))
    return data, host.key.sign(to_sign(ROTATE, server, data))


def fleet_time(host: FakeHost) -> str:
    return (host.fleet.server.now() + host.clock).isoformat()


def test_a_host_gets_another_key_and_the_old_one_counts_no_more(fleet: FakeFleet) -> None:
    host, new = fleet.host(), Ed25519PrivateKey.generate()
    said = rotation(host, new)
    assert fleet.post(ROTATE_PATH, *said).status_code == 200
    assert fleet.post(ROTATE_PATH, *said).status_code == 200  # the answer was lost
    assert host.send(host.message(state=False)).status_code == 401
    old, host.key = host.key, new
    assert host.check_in()["wants_state"] is False
    assert "key rotated" in fleet.person().get("/audit")
    host.key = old
    assert fleet.post(ROTATE_PATH, *rotation(host, Ed25519PrivateKey.generate())).status_code == 401


def test_nobody_rotates_the_key_of_another_host_or_to_a_key_that_is_not_his(fleet: FakeFleet) -> None:
    one, other, new = fleet.host("a"), fleet.host("b"), Ed25519PrivateKey.generate()
    forged = FakeHost(fleet, "a", key=other.key, id=one.id)
    assert fleet.post(ROTATE_PATH, *rotation(forged, new)).status_code == 401
    assert fleet.post(ROTATE_PATH, *rotation(one, new, key=other.public)).status_code == 401
    assert fleet.post(ROTATE_PATH, *rotation(one, other.key)).status_code == 409
    one.clock = timedelta(minutes=-6)
    assert fleet.post(ROTATE_PATH, *rotation(one, new)).status_code == 409
    one.clock = timedelta()
    assert one.check_in()["wants_state"] is False and other.check_in()["wants_state"] is False


def test_hosts_that_say_they_are_one_machine_are_named_on_both_pages(fleet: FakeFleet) -> None:
    one, two = fleet.host("a"), fleet.host("a")
    ann = fleet.person()
    assert f'href="/hosts/{two.id}"' in ann.get(f"/hosts/{one.id}")
    assert f'href="/hosts/{one.id}"' in ann.get(f"/hosts/{two.id}")
    ann.post(f"/hosts/{two.id}/withdraw")
    assert two.id not in ann.get(f"/hosts/{one.id}")
