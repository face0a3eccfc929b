"""A host with an agent: a feed that is served, both parts as plain processes, a service with an old library."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from suture.agent import request
from suture.agent.request import AgentAnswer, AgentRequest, Work
from suture.elf.file import ElfFile
from suture.feed.server import server
from tests.cli.test_feed import run
from tests.command import SUTURE
from tests.process.conftest import Running, Start, gcc, make_patch

LIBRARY = "int answer(int x) { return x * 3 + 1; }"
SERVICE = """
#include <stdio.h>
int answer(int x);
int main(void) { char l[64]; setvbuf(stdout, 0, _IOLBF, 0); while (fgets(l, 64, stdin)) printf("%d\\n", answer(l[0])); }
"""
SANDBOXED = """
#include <stddef.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
static void confine(void) {
  struct sock_filter rows[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)};
  struct sock_fprog program = {4, rows};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) __builtin_trap();
}
""" + SERVICE.replace("{ char l[64];", "{ char l[64]; confine();")
NEW = "int answer(int x) { return x * 3 + 2; }"
OLD_ANSWER, NEW_ANSWER = str(ord("a") * 3 + 1), str(ord("a") * 3 + 2)


@dataclass
class AgentHost:
    """`url` of the feed; `feed` its options. Parts are started by `up` and killed by `kill`."""

    folder: Path
    start: Start
    feed: tuple[str | Path, ...]
    program: Path
    patch: Path
    url: str
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def policy(self) -> Path:
        return self.folder / "agent.toml"

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "socket"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def kept(self) -> Path:
        return self.folder / "kept"

    @property
    def build_id(self) -> str:
        return ElfFile.read(self.program.with_name("libanswer.so")).build_id or ""

    def say(self, more: str = "", untried: bool = True, url: str = "") -> None:
        """Write the policy."""
        self.policy.write_text(
            f'[feed]\nurl = "{url or self.url}"\nroot = "{self.feed[1]}/root.json"\nevery_minutes = 0.01\n'
            f"[look]\nevery_seconds = 0.2\n[apply]\nuntried = {'true' if untried else 'false'}\n{more}"
        )

    def service(self) -> Running:
        return self.start(self.program)

    def up(self, *names: str, user: int = -1) -> None:
        uid = user if user >= 0 else os.geteuid()
        for name in names or ("apply-service", "run"):
            words = [SUTURE, "agent", name, *self.places(), "--socket", self.socket]
            words += ["--user", str(uid)] if name == "apply-service" else []
            with open(self.folder / f"{name}.log", "ab") as log:
                self.parts[name] = subprocess.Popen([str(w) for w in words], stderr=log)
            if name == "apply-service":
                eventually_in(10, lambda: self.log("apply-service").endswith(f"for user {uid}\n"))

    def places(self) -> tuple[str | Path, ...]:
        return "--policy", self.policy, "--state", self.state, "--kept", self.kept

    def kill(self, name: str) -> None:
        self.parts[name].send_signal(signal.SIGKILL)
        self.parts.pop(name).wait()

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def publish(self) -> str:
        """The patch, whose id is given."""
        (added,) = run("feed", "add", self.patch, *self.feed[:2], "--accept", "review", "--channel", "stable")["added"]
        run("feed", "publish", *self.feed)
        return str(added["patch"])

    def withdraw(self, patch: str, how: str = "--revert") -> None:
        run("feed", "withdraw", patch, *self.feed[:2], how, "--reason", "it fails")
        run("feed", "publish", *self.feed)

    def upgrade(self) -> None:
        """The fixed library takes the place of the old one, as dpkg puts it there."""
        library = self.program.with_name("libanswer.so")
        new = gcc(library.with_name("libanswer.so.dpkg-new"), own(NEW, self.folder), "-shared", "-fPIC")
        new.rename(library)

    def status(self, code: int = 0) -> Any:
        return run("agent", "status", *self.places(), code=code)

    def ask(self, work: Work, name: str = "", sha256: str = "", patch: str = "") -> AgentAnswer:
        return request.ask(self.socket, AgentRequest(work, name, sha256, patch), 60)


def eventually_in(seconds: float, check: Any) -> float:
    """Wait until something holds; seconds that it took."""
    begin = time.monotonic()
    while not check():
        assert time.monotonic() < begin + seconds, "it did not come to hold"
        time.sleep(0.02)
    return time.monotonic() - begin


@contextlib.contextmanager
def clients(service: Running) -> Iterator[list[str]]:
    """Requests one after the other meanwhile; what was answered."""
    answers: list[str] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            answers.append(service.ask("a"))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="session")
def first_feed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a feed that holds nothing yet, and its keys."""
    place = tmp_path_factory.mktemp("first")
    folder, keys = place / "feed", place / "keys"
    run("feed", "init", "--feed", folder, "--keys", keys, "--root-keys", keys)
    run("feed", "publish", "--feed", folder, "--keys", keys)
    return place


@pytest.fixture
def feed(first_feed: Path, tmp_path: Path) -> tuple[str | Path, ...]:
    """A new feed of this test's own, as options."""
    for name in ("feed", "keys"):
        shutil.copytree(first_feed / name, tmp_path / name, symlinks=True)
    return "--feed", tmp_path / "feed", "--keys", tmp_path / "keys"


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a feed's files; `suture feed serve` itself is tested in tests/cli/test_feed.py."""
    with server(folder / "public", "127.0.0.1", 0) as own:
        thread = threading.Thread(target=own.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{own.server_address[1]}/"
        finally:
            own.shutdown()
            thread.join()


@contextlib.contextmanager
def a_host(
    folder: Path, start: Start, feed: tuple[str | Path, ...], program: Path, target: Path
) -> Iterator[AgentHost]:
    patch = Path(make_patch(folder / "made", target, NEW, {"answer": ["answer"]}).object.name)
    with served(Path(feed[1])) as url:
        one = AgentHost(folder, start, feed, program, patch, url)
        one.say()
        try:
            yield one
        finally:
            for name in tuple(one.parts):
                one.kill(name)


def own(source: str, folder: Path) -> str:
    """A build of its own, whose patch means no process of another run."""
    return f'{source} const char place[] = "{folder}";'


@pytest.fixture
def host(tmp_path: Path, start: Start, feed: tuple[str | Path, ...]) -> Iterator[AgentHost]:
    library = gcc(tmp_path / "libanswer.so", own(LIBRARY, tmp_path), "-shared", "-fPIC")
    program = gcc(tmp_path / "service", SERVICE, str(library), f"-Wl,-rpath,{tmp_path}")
    with a_host(tmp_path, start, feed, program, library) as one:
        yield one


@pytest.fixture
def host_of_program(tmp_path: Path, start: Start, feed: tuple[str | Path, ...]) -> Iterator[AgentHost]:
    """The hole is in the program itself."""
    inside = own(LIBRARY.replace("int answer", "__attribute__((noinline, noclone)) int answer"), tmp_path)
    program = gcc(tmp_path / "service", inside + SERVICE.replace("int answer(int x);", ""))
    with a_host(tmp_path, start, feed, program, program) as one:
        yield one
