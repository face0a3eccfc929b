"""The story that ./demo tells: a hole open, closed and open again in running servers, while clients keep connecting.

Everything about the live patch goes through the `suture` command, as a person would use it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo_files import message, packages
from demo_files.clients import Answer, Count, Load, post
from demo_files.server import Running, Server
from suture.error import SutureError

SUTURE = Path(sys.executable).with_name("suture")
FIX = Path(__file__).with_name("CVE-2026-34182.patch")
HEARTBEAT = 15.0  # seconds between signs of life of a command that takes long
CALM = 0.2  # seconds between two orders of a client while the live patch is made
SETTLE = 1.0  # seconds of load on the patched and on the reverted code
ATTEMPTS = 200  # orders sent until every worker has answered one; the kernel chooses the worker


class DemoFailed(SutureError):
    """Something did not go as the demo promises."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "run ./test, and report what it and the demo print")


@dataclass
class TimeLine:
    """What was done and how long it took, in seconds, in order."""

    steps: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.steps.append((name, time.monotonic() - start))


def say(text: str = "") -> None:
    print(text, flush=True)


def suture(*words: str) -> dict[str, Any]:
    """Run the command before the reader's eyes, with --json; its answer."""
    shown = [word if len(word) < 60 or "/" not in word else f".../{Path(word).name}" for word in words]
    say(f"$ suture {shlex.join(shown)}")
    start = time.monotonic()
    with subprocess.Popen([SUTURE, *words, "--json"], stdout=subprocess.PIPE, text=True) as process:
        while True:
            try:
                out, _ = process.communicate(timeout=HEARTBEAT)
                break
            except subprocess.TimeoutExpired:
                say(f"    ... {time.monotonic() - start:.0f} s")
    answer: dict[str, Any] = json.loads(out) if out else {}
    if process.returncode != 0:
        raise DemoFailed(f"suture {words[0]} ended with {process.returncode}: {json.dumps(answer, indent=2)}")
    return answer


def ask_every_worker(server: Server, order: bytes) -> dict[int, Answer]:
    """The answer of each php-fpm worker to one order, by pid."""
    workers = server.workers()
    answers: dict[int, Answer] = {}
    for _ in range(ATTEMPTS):
        answer = post(server.port, server.certificate, order)
        answers[answer.php_pid] = answer
        if set(answers) == workers:
            return answers
    raise DemoFailed(f"of the workers {workers}, only {set(answers)} answered")


def show_hole(server: Server, genuine: bytes, forged: bytes, expect_open: bool) -> None:
    """Send both orders to each worker and say what came back; raises `DemoFailed` when it is not as expected."""
    for pid, answer in sorted(ask_every_worker(server, genuine).items()):
        if answer.order != message.ORDER.decode():
            raise DemoFailed(f"php-fpm {pid} answered the genuine order with {answer}")
    for pid, answer in sorted(ask_every_worker(server, forged).items()):
        verdict = f"pays {answer.order!r}: HOLE OPEN" if answer.accepted else "refuses: HOLE CLOSED"
        say(f"    php-fpm {pid}: genuine order paid; forged order: {verdict}")
        if answer.accepted is not expect_open or (expect_open and answer.order != message.FORGED_ORDER.decode()):
            raise DemoFailed(f"the hole was expected to be {'open' if expect_open else 'closed'}, but: {answer}")


def make(folder: Path, timeline: TimeLine) -> tuple[str, str]:
    """Make the live patch from the fix's source: its path and id."""
    answer = suture(
        "make", "--source", f"{packages.SOURCE}={packages.VERSION}", "--fix", str(FIX), "--output", str(folder)
    )
    (patch,) = answer["patches"]
    if patch["file"] != packages.LIBRARY:
        raise DemoFailed(f"the patch is for {patch['file']}, not for {packages.LIBRARY}")
    seconds = answer["seconds"]
    for name in ("prepare", "compile", "match", "make"):
        timeline.steps.append((name, seconds[name]))
    say(f"    {patch['id']} for {patch['file']} (build-id {patch['build_id'][:12]}...), {', '.join(patch['cves'])}")
    say(f"    replaces {', '.join(patch['functions'])}")
    return patch["path"], patch["id"]


def switch(verb: str, what: str, processes: list[Running], wanted: str) -> None:
    """Apply or revert in the service's processes and no others; say the pause of each."""
    answer = suture(verb, what, *(str(process.pid) for process in processes))
    names = {process.pid: process.name for process in processes}
    for result in answer["processes"]:
        groups = {group["state"] for group in result["groups"]}
        if groups != {wanted}:
            raise DemoFailed(f"pid {result['pid']}: {verb} left it {groups}, not {wanted}")
        pause = sum(result["pauses_us"])
        say(f"    {names[result['pid']]:<12} {result['pid']:>7}  {wanted}, paused for {pause:6.0f} us")
    missing = set(names) - {result["pid"] for result in answer["processes"]}
    if missing:
        raise DemoFailed(f"{verb} did not report on {sorted(missing)}")


def report(timeline: TimeLine, count: Count, total: float) -> None:
    """The time line and the outcome of the load."""
    say("Time line, seconds")
    for name, seconds in timeline.steps:
        say(f"    {name:<24}{seconds:8.2f}")
    say(f"    {'all, with set-up':<24}{total:8.2f}")
    say()
    say(f"Clients: served {count.served}, failed {len(count.failures)}; slowest answer {count.slowest * 1000:.0f} ms")
    for failure in count.failures[:5]:
        say(f"    {failure}")


def story(timeline: TimeLine, folder: Path) -> Count:
    """The demo from the first request to the last; what the clients met meanwhile."""
    say(f"{packages.SOURCE} {packages.VERSION}, as the archive ships it, has CVE-2026-34182: an encrypted and")
    say("authenticated message (CMS AuthEnvelopedData) that was changed on its way is accepted.")
    say()
    with timeline.step("fetch the programs"):
        programs = packages.fetch(progress=lambda step: say(f"    {step}"))
    with Server(programs) as server:
        genuine = message.seal(message.ORDER, server.certificate)
        forged = message.forge(genuine, message.ORDER, message.FORGED_ORDER)
        processes = server.processes()
        listed = ", ".join(f"{process.name} {process.pid}" for process in processes)
        say(f"A payment service runs on it, unmodified: {listed}")
        with Load(server.port, server.certificate, genuine, message.ORDER.decode()) as load:
            say(f"Clients send it {message.ORDER.decode()!r}, each time over a new TLS connection.")
            say()
            show_hole(server, genuine, forged, expect_open=True)
            say()
            # Fewer orders while the compiler runs: it is to have the machine's cores.
            busy, load.pause = load.pause, CALM
            path, identity = make(folder, timeline)
            load.pause = busy
            say()
            with timeline.step("apply"):
                switch("apply", path, processes, "applied")
            time.sleep(SETTLE)
            show_hole(server, genuine, forged, expect_open=False)
            say()
            with timeline.step("revert"):
                switch("revert", identity, processes, "reverted")
            time.sleep(SETTLE)
            show_hole(server, genuine, forged, expect_open=True)
            say()
        if server.processes() != processes:
            raise DemoFailed(f"the processes changed: {processes} became {server.processes()}")
        say(f"The same {len(processes)} processes run as at the start; none was restarted.")
        say()
    return load.count()


def main() -> int:
    """Tell the story; 0 when everything went as promised."""
    # ./demo notes the time before the set-up, so that the total is what the person waited for.
    start = float(os.environ.get("SUTURE_DEMO_START", time.time()))
    timeline = TimeLine()
    try:
        with tempfile.TemporaryDirectory(prefix="suture-demo-") as folder:
            count = story(timeline, Path(folder))
        report(timeline, count, time.time() - start)
        if count.failures or not count.served:
            raise DemoFailed(f"{len(count.failures)} requests failed")
    except SutureError as error:
        print(f"error: {error.what}\nremedy: {error.remedy}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
