"""How hosts come in."""

from __future__ import annotations

from datetime import timedelta

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
