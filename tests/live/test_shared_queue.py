"""Two builders share one queue in the archive's PostgreSQL; one is killed, and the other takes over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from suture.convert.queue import DatabaseLives
from tests.convert.test_queue import log, start, wait_for

pytestmark = [pytest.mark.archive, pytest.mark.slow]
_BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server that runs in a room of its own, reached by a socket in a folder of this host."""
    sys.path.insert(0, str(_BENCH))
    try:
        from postgresql_server import cluster
    finally:
        sys.path.remove(str(_BENCH))
    with cluster([], lambda text: None) as server:
        subprocess.run(server.command("createdb", "suture"), check=True)
        yield f"postgresql://postgres@/suture?host={server.talk}"


def test_of_two_builders_that_share_postgresql_one_goes_on_with_what_the_other_had_begun(
    tmp_path: Path, url: str
) -> None:
    updates = 4
    first = start(tmp_path, "one", updates, 600.0, url)
    wait_for(tmp_path, "begin p0", 120)
    second = start(tmp_path, "two", updates, 0.0, url)
    for n in range(1, updates):
        wait_for(tmp_path, f"end p{n}", 120)  # the other builder has the rest meanwhile
    assert log(tmp_path).count("begin p0") == 1, "the first one lives: what it has begun is its own"
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert second.wait(timeout=120) == 0
    found = Counter(log(tmp_path))
    assert found["begin p0"] == 2 and found["end p0"] == 1
    assert all(found[f"begin p{n}"] == found[f"end p{n}"] == 1 for n in range(1, updates))


def test_who_asks_whether_a_builder_is_dead_does_not_keep_it_from_coming_back(url: str) -> None:
    lives = DatabaseLives(url)
    assert lives.is_dead("one") and lives.is_dead("one")
    with DatabaseLives(url).hold("one"):
        assert not lives.is_dead("one")
    assert lives.is_dead("one")
