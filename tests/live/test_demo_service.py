"""The demo's service and its forged picture, judged by two libraries of the archive: an old and a fixed one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from demo_files import packages, picture
from demo_files.clients import Load, ask_workers, asker
from demo_files.server import Server

pytestmark = pytest.mark.archive

FIXED = "2.3.3-9+deb12u1"
NOBODY_LISTENS = 1  # tcpmux, a port that Debian gives to no program


@pytest.mark.parametrize(("version", "is_given_away"), [(packages.VERSION, True), (FIXED, False)])
def test_the_forged_picture_brings_another_one_back_on_the_vulnerable_library_only(
    version: str, is_given_away: bool
) -> None:
    with Server(packages.fetch(version)) as server:
        ask, workers = asker(server.port, server.certificate), server.workers()
        genuine = ask_workers(ask, workers, picture.genuine(picture.SECRET), bool)
        assert {text.strip() for text in genuine.values()} == {picture.SECRET}
        forged = ask_workers(ask, workers, picture.forged(), bool)
        wanted = picture.SECRET if is_given_away else ""
        assert {pid: picture.stolen(text) for pid, text in forged.items()} == dict.fromkeys(workers, wanted)


def test_the_service_runs_on_the_vulnerable_library_in_every_process() -> None:
    with Server(packages.fetch()) as server:
        end = time.monotonic() + 5
        while len(found := server.processes()) < 3 and time.monotonic() < end:
            time.sleep(0.05)  # it answers as soon as its first worker runs
        assert [process.name for process in found] == ["php-fpm8.2"] * 3
        for process in found:
            maps = Path(f"/proc/{process.pid}/maps").read_text()
            libraries = {line.split()[-1] for line in maps.splitlines() if packages.LIBRARY in line}
            assert len(libraries) == 1 and packages.VERSION in libraries.pop()
        pids = [process.pid for process in found]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_load_counts_a_wrong_answer_and_a_refused_connection_as_failures() -> None:
    with Server(packages.fetch()) as server:
        ask = asker(server.port, server.certificate)
        with Load(lambda gif: ask(picture.genuine("nothing")), picture.SECRET) as load:
            time.sleep(0.3)
        wrong = load.count()
        with Load(ask, picture.SECRET) as load:
            time.sleep(0.3)
        right = load.count()
        with Load(asker(NOBODY_LISTENS, server.certificate), picture.SECRET) as load:
            time.sleep(0.3)
        gone = load.count()
    assert wrong.served == 0 and "nothing" in wrong.failures[0]
    assert right.served > 0 and right.failures == []
    assert gone.served == 0 and gone.failures[0].startswith("ConnectionRefusedError")
