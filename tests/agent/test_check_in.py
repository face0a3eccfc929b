"""A real agent and a real server: what the fleet lets in goes in, and what it takes back comes out."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from suture.agent import membership
from suture.error import ExitCode
from suture.fleet import enrolment
from suture.fleet.database import open_database
from suture.fleet.role import Role, Visitor
from suture.fleet.rollout_order import HostTurn
from suture.fleet.server_key import server_key
from suture.fleet.table import ApplicantRow, HostPatchRow, HostRow, RolloutHostRow, RolloutRow
from suture.report.moment import now as moment_text
from tests.agent.conftest import NEW_ANSWER, OLD_ANSWER, AgentHost, eventually_in
from tests.cli.test_feed import run, said
from tests.cli.test_fleet import serving
from tests.command import SUTURE
from tests.process.conftest import start

__all__ = ["start"]


def test_a_patch_waits_for_the_fleet_goes_in_and_is_taken_back(host: AgentHost, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fleet.sqlite'}"
    database = open_database(url)
    with database.writing() as session:
        key = server_key(session).name
    host.say(f'mode = "fleet"\n[fleet]\nserver = "{key}"\n')
    service = host.service()
    with serving(url, "--every-seconds", "1") as server:
        token = tmp_path / "token"
        token.write_text(said("fleet", "token", "--database", url))
        enrol = ("agent", "enrol", "--url", server, "--token-file", token, "--state", host.state)
        run(*enrol, "--server", "0" * 64, code=ExitCode.NOT_FOUND)
        token.write_text(said("fleet", "token", "--database", url))
        assert key in said(*enrol, "--server", key, code=0)
        run(*enrol, code=ExitCode.USAGE)
        assert (host.state / "fleet.json").stat().st_mode & 0o777 == 0o600
        host.up()
        patch = host.publish()

        def rows() -> list[tuple[str, str]]:
            with database.reading() as session:
                return [(r.patch, r.state) for r in session.query(HostPatchRow)]

        eventually_in(30, lambda: rows() == [(patch, "waiting")])
        assert service.ask("a") == OLD_ANSWER
        own = membership.read(host.state)
        assert own is not None
        with database.writing() as session:
            now = session.get_one(HostRow, own.id).enrolled
            session.add(
                RolloutRow(
                    id=1, name="x", patch=patch, plan={}, status="running", stage_since=now, approved=[],
                    created_by="ann", created=now,
                )
            )  # fmt: skip
            session.flush()
            session.add(RolloutHostRow(rollout=1, host=own.id, stage=0, state=HostTurn.CHOSEN.value, since=now))
        eventually_in(40, lambda: service.ask("a") == NEW_ANSWER)
        eventually_in(20, lambda: rows() == [(patch, "in force")])
        with database.writing() as session:
            session.get_one(RolloutHostRow, (1, own.id)).state = HostTurn.TAKEN_BACK.value
            session.get_one(RolloutRow, 1).status = "stopped"
        eventually_in(40, lambda: service.ask("a") == OLD_ANSWER)
        assert "by a rollout of the fleet's server" in host.log("apply-service")
        eventually_in(20, lambda: rows() == [(patch, "waiting")])


def test_a_server_with_another_key_is_not_believed(host: AgentHost, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'one.sqlite'}"
    with serving(url, "--every-seconds", "1") as server:
        (tmp_path / "token").write_text(said("fleet", "token", "--database", url))
        said("agent", "enrol", "--url", server, "--token-file", tmp_path / "token", "--state", host.state)
    with serving(f"sqlite:///{tmp_path / 'other.sqlite'}", "--every-seconds", "1") as other:
        kept = json.loads((host.state / "fleet.json").read_text())
        (host.state / "fleet.json").write_text(json.dumps(kept | {"url": other}))
        host.up()
        eventually_in(30, lambda: "no host of this fleet has signed it" in host.log("run"))
    assert moment_text() > "2026"


def test_a_host_without_a_token_waits_for_a_person_and_can_have_another_key(tmp_path: Path) -> None:
    url, state = f"sqlite:///{tmp_path / 'fleet.sqlite'}", tmp_path / "state"
    with serving(url) as server:
        words = [SUTURE, "agent", "enrol", "--url", server, "--state", state]
        with subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, text=True) as waits:
            assert waits.stdout is not None
            line = waits.stdout.readline()
            with open_database(url).writing() as session:
                (row,) = session.query(ApplicantRow)
                assert row.id in line
                enrolment.admit(session, Visitor("ann", Role.OPERATOR), row.id, "", datetime.now(UTC))
            assert waits.stdout.readline().startswith("enrolled as ") and waits.wait(30) == 0
        before = membership.read(state)
        shown = said("agent", "rotate-key", "--state", state)
        after = membership.read(state)
        assert before is not None and after is not None and (after.id, after.next_secret) == (before.id, "")
        assert after.secret != before.secret
        membership.write(state, replace(before, next_secret=after.secret))  # the answer was lost
        assert said("agent", "rotate-key", "--state", state) == shown
    run("agent", "rotate-key", "--state", state, code=ExitCode.NOT_FOUND)
    kept = membership.read(state)
    assert kept is not None and kept.secret == after.secret and kept.next_secret not in ("", after.secret)
