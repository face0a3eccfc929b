"""The demo's service and its forged order, judged by the archive's own libraries: the vulnerable and the fixed one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from demo_files import message, packages
from demo_files.clients import Load, post
from demo_files.server import Server

pytestmark = pytest.mark.archive

FIXED = "3.0.20-1~deb12u2"
NOBODY_LISTENS = 1  # tcpmux, a port that Debian gives to no program


@pytest.mark.parametrize(("version", "paid"), [(packages.VERSION, True), (FIXED, False)])
def test_the_forged_order_is_paid_on_the_vulnerable_library_only(version: str, paid: bool) -> None:
    with Server(packages.fetch(version)) as server:
        genuine = message.seal(message.ORDER, server.certificate)
        forged = message.forge(genuine, message.ORDER, message.FORGED_ORDER)
        assert post(server.port, server.certificate, genuine).order == message.ORDER.decode()
        answer = post(server.port, server.certificate, forged)
        assert answer.accepted is paid
        assert answer.order == (message.FORGED_ORDER.decode() if paid else "")


def test_the_service_runs_on_the_vulnerable_library_in_every_process() -> None:
    with Server(packages.fetch()) as server:
        end = time.monotonic() + 5
        while len(found := server.processes()) < 6 and time.monotonic() < end:
            time.sleep(0.05)  # it answers as soon as its first worker runs
        assert sorted(process.name for process in found) == ["nginx"] * 3 + ["php-fpm8.2"] * 3
        for process in found:
            maps = Path(f"/proc/{process.pid}/maps").read_text()
            libraries = {line.split()[-1] for line in maps.splitlines() if packages.LIBRARY in line}
            assert len(libraries) == 1 and packages.VERSION in libraries.pop()
        pids = [process.pid for process in found]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_load_counts_a_wrong_answer_and_a_refused_connection_as_failures() -> None:
    with Server(packages.fetch()) as server:
        genuine = message.seal(message.ORDER, server.certificate)
        with Load(server.port, server.certificate, genuine, "PAY 0000 TO NULL") as load:
            time.sleep(0.3)
        wrong = load.count()
        with Load(server.port, server.certificate, genuine, message.ORDER.decode()) as load:
            time.sleep(0.3)
        right = load.count()
        with Load(NOBODY_LISTENS, server.certificate, genuine, message.ORDER.decode()) as load:
            time.sleep(0.3)
        gone = load.count()
    assert wrong.served == 0 and "PAY 0100 TO ANNA" in wrong.failures[0]
    assert right.served > 0 and right.failures == []
    assert gone.served == 0 and gone.failures[0].startswith("ConnectionRefusedError")
