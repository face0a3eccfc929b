"""What a host and the server send one another: signed as what it is, and a state with a digest."""

from __future__ import annotations

import re
from dataclasses import replace

from suture.report.agent import AgentEvent
from suture.report.check_in import digest_of, fingerprint, state_document, to_prove, to_sign
from tests.report.test_document import AGENT

SCAN = {"kind": "scan", "time": "2026-11-28T07:00:00.000Z", "holes": [{"cve": "CVE-2026-1"}], "exit_code": 0}


def test_what_changes_with_each_look_alone_is_no_new_state() -> None:
    later = replace(
        AGENT,
        time="2026-11-28T08:00:00.000Z",
        looked="2026-11-28T08:00:00.000Z",
        fetched="2026-11-28T07:59:00.000Z",
        expires="2026-12-28T07:59:00.000Z",
        events=(AgentEvent("2026-11-28T08:00:00.000Z", "looked", "", ""),),
    )
    assert digest_of(state_document(later), None) == digest_of(state_document(AGENT), None)


def test_anything_else_is_a_new_state() -> None:
    before = digest_of(state_document(AGENT), SCAN)
    for other in (replace(AGENT, url="https://other.example"), replace(AGENT, version=AGENT.version + 1)):
        assert digest_of(state_document(other), SCAN) != before
    assert digest_of(state_document(AGENT), None) != before
    assert digest_of(state_document(AGENT), {**SCAN, "holes": []}) != before
    assert digest_of(state_document(AGENT), {**SCAN, "exit_code": 1}) != before


def test_when_a_scan_was_made_and_the_order_of_names_make_no_difference() -> None:
    state = state_document(AGENT)
    before = digest_of(state, SCAN)
    assert digest_of(state, {**SCAN, "time": "2026-11-28T09:00:00.000Z"}) == before
    backwards = {k: state[k] for k in reversed(state)}
    assert list(backwards) != list(state) and digest_of(backwards, dict(reversed(SCAN.items()))) == before
    assert re.fullmatch("[0-9a-f]{64}", before)


def test_what_is_signed_says_what_it_is_and_for_which_server() -> None:
    assert to_sign("check-in", "aa", b"x") == b"suture fleet 1 check-in aa\nx"
    assert to_prove("aa", "host", "key") == to_sign("new-key", "aa", b"host key")


def test_a_fingerprint_is_what_people_compare() -> None:
    """The judge is sha256sum(1) of the key's bytes: 64 digits, of which these are the first half."""
    assert fingerprint(b"") == "e3b0-c442-98fc-1c14-9afb-f4c8-996f-b924"
