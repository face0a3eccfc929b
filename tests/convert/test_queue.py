"""The durable queue: queued once, gone on with after a kill, taken over from a builder that is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from suture.convert.queue import FileLives, QueueFailed, QueuePlace, builder
from suture.convert.store import folder_of
from suture.source.update import Update

ROOT = Path(__file__).parents[2]

# A builder whose workers write down that they ran, and take a while: what is converted does not matter here.
BUILDER = """
import sys, time
from pathlib import Path
from suture.convert import queue
from suture.convert.store import FACTS, folder_of
from suture.source.update import Update
output, name, count, pause, url = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
WORK = '''
import json, sys, time
from pathlib import Path
row = json.loads(sys.argv[1])
log = open(row["output"] + "/log", "a")
log.write("begin " + row["source"] + "\\\\n"); log.flush()
time.sleep(float(sys.argv[3]))
place = Path(sys.argv[2]); place.mkdir(parents=True, exist_ok=True); (place / "conversion.json").write_text("{}")
log.write("end " + row["source"] + "\\\\n")
'''
def command(order):
    import json
    from dataclasses import asdict
    place = folder_of(order.update, Path(order.output))
    return ["setpriv", "--pdeathsig", "KILL", sys.executable, "-c", WORK, json.dumps(asdict(order)), str(place), pause]
queue.worker.command = command
place = queue.QueuePlace(url, output) if url else queue.QueuePlace.beside(output)
with queue.builder(place, name, 1) as own:
    own.put([Update(f"p{n}", "bookworm", "1", "2") for n in range(count)], again="again" in sys.argv[6:])
    print("ready", flush=True)
    own.wait()
print("done", flush=True)
"""


def start(output: Path, name: str, count: int, pause: float, url: str = "", *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, str(output), name, str(count), str(pause), url, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def log(output: Path) -> list[str]:
    path = output / "log"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def wait_for(output: Path, line: str, seconds: float = 60, times: int = 1) -> None:
    end = time.monotonic() + seconds
    while log(output).count(line) < times:
        assert time.monotonic() < end, log(output)
        time.sleep(0.05)


def test_a_killed_builder_goes_on_where_it_was(tmp_path: Path) -> None:
    first = start(tmp_path, "one", 3, 0.0)
    assert first.wait(timeout=120) == 0
    assert log(tmp_path) == [f"{w} p{n}" for n in range(3) for w in ("begin", "end")]
    second = start(tmp_path / "again", "one", 2, 3.0)
    wait_for(tmp_path / "again", "begin p0")
    os.kill(second.pid, signal.SIGKILL)
    second.wait()
    third = start(tmp_path / "again", "one", 2, 0.0)
    assert third.wait(timeout=120) == 0
    found = log(tmp_path / "again")
    assert found.count("begin p0") == 2 and found.count("end p0") == 1, "the worker of a killed builder ends with it"
    assert found.count("end p1") == 1
    for n in range(2):
        assert (
            json.loads(
                (folder_of(Update(f"p{n}", "bookworm", "1", "2"), tmp_path / "again") / "conversion.json").read_text()
            )
            == {}
        )


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    for _ in range(2):
        assert start(tmp_path, "one", 2, 0.0).wait(timeout=120) == 0
    assert len(log(tmp_path)) == 4


def test_a_pass_that_does_all_again_and_was_killed_is_gone_on_with_once(tmp_path: Path) -> None:
    assert start(tmp_path, "one", 1, 0.0).wait(timeout=120) == 0
    killed = start(tmp_path, "one", 1, 30.0, "", "again")
    wait_for(tmp_path, "begin p0", times=2)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert start(tmp_path, "one", 1, 0.0, "", "again").wait(timeout=120) == 0
    assert log(tmp_path) == ["begin p0", "end p0", "begin p0", "begin p0", "end p0"]
    assert start(tmp_path, "one", 1, 0.0, "", "again").wait(timeout=120) == 0
    assert log(tmp_path).count("begin p0") == 4, "once that one has ended, again means again"


def test_another_builder_takes_over_from_one_that_is_gone_and_not_from_one_that_lives(tmp_path: Path) -> None:
    first = start(tmp_path, "one", 1, 8.0)
    wait_for(tmp_path, "begin p0")
    second = start(tmp_path, "two", 1, 0.0)
    time.sleep(4)
    assert log(tmp_path) == ["begin p0"], "the first one lives"
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert second.wait(timeout=120) == 0
    assert log(tmp_path) == ["begin p0", "begin p0", "end p0"]


def test_a_builder_is_dead_when_nobody_holds_its_lock(tmp_path: Path) -> None:
    lives = FileLives(tmp_path)
    with lives.hold("one"):
        assert not FileLives(tmp_path).is_dead("one")
    assert lives.is_dead("one") and lives.is_dead("never-seen")


def test_the_password_of_a_queue_is_not_shown() -> None:
    from suture.convert.queue import _shown

    assert "secret" not in _shown("postgresql://u:secret@h/d")


def test_a_database_that_does_not_answer_is_told_in_words(tmp_path: Path) -> None:
    place = QueuePlace(f"postgresql://u:secret@/none?host={tmp_path}", tmp_path)
    with pytest.raises(QueueFailed, match="No such file") as raised, builder(place, "one", 1):
        pass
    assert "secret" not in raised.value.what and "createdb" in raised.value.remedy
