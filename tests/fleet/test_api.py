"""The interface of programs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jsonschema

from suture.fleet import account
from suture.fleet.role import Role, Visitor
from suture.report.schema import schema
from tests.fleet.conftest import OFFER, FakeFleet


def token(fleet: FakeFleet, role: Role = Role.VIEWER, groups: tuple[str, ...] = (), days: int = 1) -> dict[str, str]:
    with fleet.server.database.writing() as session:
        wished = Visitor("program", role, groups)
        made = account.new_api_token(session, "test", role.value, wished, timedelta(days=days), fleet.server.now())
    return {"Authorization": f"Bearer {made}"}


def test_what_it_says_fits_the_schema(fleet: FakeFleet) -> None:
    fleet.host()
    headers = token(fleet)
    for path in ("hosts", "holes", "deadlines", "rollouts"):
        found: Any = fleet.client.get(f"/api/v1/{path}", headers=headers).json()
        jsonschema.validate(found, schema(strict=True))
        assert found["kind"] == f"fleet-{path}" and found[path if path != "rollouts" else "patches"]


def test_it_is_for_who_has_a_token_that_lasts(fleet: FakeFleet) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic YTpi"}, token(fleet, days=-1)):
        for path in ("/api/v1/hosts", "/metrics"):
            assert fleet.client.get(path, headers=headers).status_code == 401
    assert fleet.person().client.get("/api/v1/hosts").status_code == 401  # a cookie is no token


def test_a_rollout_is_asked_for_by_one_and_approved_by_another(fleet: FakeFleet) -> None:
    host = fleet.host()
    viewer, operator, approver = token(fleet), token(fleet, Role.OPERATOR), token(fleet, Role.APPROVER)
    wanted: Any = {"patch": OFFER.patch, "plan": {"stages": [{"name": "all", "soak_minutes": 0}]}}
    assert fleet.client.post("/api/v1/rollouts", json=wanted, headers=viewer).status_code == 403
    assert fleet.client.post("/api/v1/rollouts", json={"patch": "../x"}, headers=operator).status_code == 422
    assert fleet.client.post("/api/v1/rollouts", json=wanted, headers=operator).status_code == 201
    assert fleet.client.post("/api/v1/rollouts/1/approve", headers=operator).status_code == 403
    assert fleet.client.post("/api/v1/rollouts/1/approve", headers=approver).json()["rollouts"][0]["stage"] == 0
    assert host.check_in()["chosen"] == [OFFER.patch]
    stopped = fleet.client.post("/api/v1/rollouts/1/stop", json={"why": "no"}, headers=operator).json()
    assert stopped["rollouts"][0]["status"] == "stopped" and host.check_in()["taken_back"] == [OFFER.patch]


def test_its_description_names_every_way(fleet: FakeFleet) -> None:
    paths = fleet.client.get("/api/v1/openapi.json").json()["paths"]
    assert {"/api/v1/hosts", "/api/v1/rollouts/{number}/stop", "/metrics"} <= set(paths)
    assert not any(p.startswith(("/agent", "/login")) for p in paths)


def test_metrics_count_what_a_token_may_see(fleet: FakeFleet) -> None:
    fleet.host("a", "web")
    fleet.host("b", "db")
    text = fleet.client.get("/metrics", headers=token(fleet, groups=("web",))).text
    assert "\nsuture_fleet_hosts 1\n" in text and 'suture_fleet_holes{state="open"} 1\n' in text
    assert "\nsuture_fleet_hosts 2\n" in fleet.client.get("/metrics", headers=token(fleet)).text
