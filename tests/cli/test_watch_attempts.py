"""Attempts on a patched process become events: which process, which place, how many; forks count for themselves."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from suture.report.document import AttemptReport
from suture.report.encoding import decode
from tests.command import SUTURE, suture
from tests.tripwire.conftest import BOUND, LIMIT, Tree, build


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return build(tmp_path_factory.mktemp("watched"))


class Server:
    def __init__(self, tree: Tree) -> None:
        self.process = subprocess.Popen([tree.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._line()

    def ask(self, word: str) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@pytest.fixture
def server(tree: Tree) -> Iterator[Server]:
    one = Server(tree)
    yield one
    one.process.kill()
    one.process.communicate()


@contextmanager
def watching(server: Server, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The command, from its first look on."""
    command = [str(SUTURE), "watch-attempts", str(server.pid), "--every", "0.2", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None and process.stderr.readline() == "watching 1 processes that have tripwires\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def put(tree: Tree, server: Server, *changes: tuple[str, str], options: tuple[str, ...] = ()) -> str:
    made = tree.make(*changes)["patches"][0]
    suture("apply", made["path"], str(server.pid), *options, check=True)
    return str(made["id"])


def counted(pid: int) -> dict[tuple[str, int], int]:
    """Counts by patch and line, as `suture status` tells."""
    said = suture("status", str(pid), "--json", check=True).stdout
    rows: Any = json.loads(said)["processes"][0]["tripwires"]
    return {(r["wire"]["patch"], r["wire"]["line"]): r["count"] for r in rows}


def test_an_attempt_is_an_event_within_a_second(tree: Tree, server: Server) -> None:
    identity = put(tree, server, LIMIT)
    with watching(server, "--json") as watch:
        assert server.ask("p 5") == 5 and server.ask("p -1") == -1  # harmless, and rejected before the fix
        asked = time.monotonic()
        assert server.ask("p 65") == -1
        assert watch.stdout is not None
        event = decode(json.loads(watch.stdout.readline()))
        assert time.monotonic() - asked < 1
    assert isinstance(event, AttemptReport)
    assert (event.process.pid, event.process.program, event.count) == (server.pid, str(tree.program), 1)
    assert (event.wire.patch, event.wire.file, event.wire.line) == (identity, "server.c", 9)
    assert event.wire.cves == ("CVE-2099-1000",) and event.wire.condition == "n > 64"


def test_a_flood_is_told_together(tree: Tree, server: Server) -> None:
    put(tree, server, LIMIT)
    with watching(server, "--json", "--apart", "1.5", "--seconds", "4") as watch:
        for _ in range(500):
            server.ask("p 99")
        events = [json.loads(line) for line in watch.communicate(timeout=30)[0].splitlines()]
    assert 1 <= len(events) <= 2 and sum(e["count"] for e in events) == 500
    assert events[-1]["total"] == 500


def test_each_process_counts_for_itself_after_a_fork(tree: Tree, server: Server) -> None:
    identity = put(tree, server, LIMIT)
    server.ask("p 65")
    child = server.ask("f")
    try:
        wait = time.monotonic() + 5
        while counted(server.pid) == counted(child) and time.monotonic() < wait:
            server.ask("p 65")  # parent or child reads the line; one of both counts
        assert counted(server.pid)[identity, 9] != counted(child)[identity, 9]
    finally:
        subprocess.run(["kill", "-KILL", str(child)], check=True)


def test_what_was_counted_stays_when_a_patch_is_replaced(tree: Tree, server: Server) -> None:
    first = put(tree, server, LIMIT)
    server.ask("p 65")
    with watching(server, "--json", "--apart", "0") as watch:
        second = put(tree, server, LIMIT, BOUND, options=("--replace",))
        server.ask("p 66")
        assert watch.stdout is not None
        event = json.loads(watch.stdout.readline())
    assert (event["wire"]["patch"], event["count"], event["total"]) == (second, 1, 2)
    assert counted(server.pid)[first, 9] == counted(server.pid)[second, 9] == 1


def test_an_event_is_one_line_for_people(tree: Tree, server: Server) -> None:
    put(tree, server, LIMIT)
    with watching(server) as watch:
        server.ask("p 65")
        assert watch.stdout is not None
        line = watch.stdout.readline()
    assert f"1 attempt: CVE-2099-1000 pid {server.pid} {tree.program} user root" in line
    assert line.endswith("server server.c:9 put: n > 64\n")
    said = suture("status", str(server.pid), check=True).stdout
    assert f"{server.pid} server: 1 attempt: CVE-2099-1000 server.c:9" in said


def test_a_process_that_executes_another_program_is_let_go(tree: Tree, server: Server, tmp_path: Path) -> None:
    put(tree, server, LIMIT)
    with watching(server, "--json", "--seconds", "2") as watch:
        server.process.kill()
        assert watch.communicate(timeout=30)[0] == ""
        assert watch.returncode == 0
