"""What may cross the socket, and what may not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suture.agent import request
from suture.agent.request import AgentAnswer, AgentRequest, NoService, RefusedRequest, Work
from suture.report.agent import AgentVerdict, MappedBinary

ID, SHA = "0123456789abcdef", "ab" * 32
GOOD = (
    AgentRequest(Work.SCAN),
    AgentRequest(Work.REVERT, patch=ID),
    AgentRequest(Work.APPLY, f"{ID}.suture.o", SHA),
    AgentRequest(Work.APPLY, f"{ID}.ko", SHA),
)


@pytest.mark.parametrize("one", GOOD)
def test_a_request_comes_over_as_it_was(one: AgentRequest) -> None:
    assert request.decode_request(request.encode(one)) == one


@pytest.mark.parametrize(
    "one",
    [
        AgentRequest(Work.APPLY),
        AgentRequest(Work.APPLY, f"../{ID}.ko", SHA),
        AgentRequest(Work.APPLY, f"{ID}.ko\n", SHA),
        AgentRequest(Work.APPLY, f"{ID}.ko", SHA[1:]),
        AgentRequest(Work.APPLY, f"{ID}.ko", SHA, ID),
        AgentRequest(Work.SCAN, patch=ID),
        AgentRequest(Work.SCAN, name=f"{ID}.ko", sha256=SHA),
        AgentRequest(Work.SCAN, sha256="x"),
        AgentRequest(Work.REVERT),
        AgentRequest(Work.REVERT, patch=f"{ID}/"),
        AgentRequest(Work.REVERT, patch=ID, name="x"),
    ],
)
def test_nothing_else_is_a_request(one: AgentRequest) -> None:
    with pytest.raises(RefusedRequest):
        request.decode_request(request.encode(one))


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{}", b"[]", b"scan", b'{"work": "scan"}', b'{"work":"scan","name":"","sha256":"","patch":"","x":1}',
        b'{"work":"format","name":"","sha256":"","patch":""}', b'{"work":"scan","work":"scan","name":"","sha256":""}',
        b"\xff\xfe", b'{"work":"scan","name":"' + b"x" * 2000 + b'","sha256":"","patch":""}', b"[" * 900,
    ],
)  # fmt: skip
def test_garbage_is_refused(line: bytes) -> None:
    with pytest.raises(RefusedRequest):
        request.decode_request(line)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_a_request(line: bytes) -> None:
    try:
        request.decode_request(line)
    except RefusedRequest:
        return
    raise AssertionError("bytes by chance are a request")


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def test_a_line_is_bounded_in_length_and_time() -> None:
    here, there = pair()
    with here, there:
        there.sendall(b"x" * 2000)
        with pytest.raises(RefusedRequest, match="too long"):
            request.receive(here, 5)
    here, there = pair()
    with here, there:
        there.sendall(b"x")
        with pytest.raises(RefusedRequest, match=r"did not come within 0\.2 s"):
            request.receive(here, 0.2)
    here, there = pair()
    with here:
        there.close()
        with pytest.raises(NoService):
            request.receive(here, 5)


def test_a_line_in_pieces_is_a_line() -> None:
    here, there = pair()
    sent = request.encode(GOOD[2])

    def send(wait: Callable[[float], bool]) -> None:
        for byte in sent:
            there.sendall(bytes([byte]))
            wait(0.0005)

    thread = threading.Thread(target=send, args=(threading.Event().wait,))
    with here, there:
        thread.start()
        assert request.decode_request(request.receive(here, 20)) == GOOD[2]
        thread.join()


def test_nobody_at_the_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoService, match="No such file"):
        request.ask(tmp_path / "none", GOOD[0], 1)


def test_an_answer_comes_over_as_it_was() -> None:
    one = AgentAnswer(AgentVerdict.APPLY, None, (), (MappedBinary("ab", "/x", 3, "x", "1"),), (ID,), 2)
    assert request.decode_answer(request.encode(one)) == one
