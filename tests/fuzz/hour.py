"""Hostile processes beside honest ones, for an hour: what the honest ones answer, what a look costs, and that nothing
is left. See --help."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]

from tests.fuzz.hostile import FLAGS, NEED_ROOT, SOURCES  # noqa: E402
from tests.process.conftest import LIBRARY, NEW, PROGRAM, gcc, make_patch  # noqa: E402

SUTURE = Path(sys.executable).with_name("suture")
NOBODY = 65534
HONEST = 4
LARGE = frozenset({"images", "records"})  # of these one at a time: each takes some 200 MiB of its own


class Hour:
    """The programs, and what was counted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "own").mkdir()
        (folder / "own").chmod(0o777)
        folder.chmod(0o755)
        self.counts: Counter[str] = Counter()
        self.worst: dict[str, float] = {
            "scan seconds": 0.0,
            "scan MiB": 0.0,
            "apply seconds": 0.0,
            "revert seconds": 0.0,
        }
        self.faults: list[str] = []
        self.last: object = None
        self.hostile: dict[str, subprocess.Popen[bytes]] = {}
        self.programs = {n: gcc(folder / n, text, "-w", *FLAGS.get(n, ())) for n, text in SOURCES.items()}
        # of a build-id of its own: the patch goes into all processes that have the library, and tests may run beside
        # this
        library = gcc(folder / "libanswer.so", f"{LIBRARY}\nint hour_{os.getpid()};\n", "-fPIC", "-shared")
        honest = gcc(folder / "asks", PROGRAM, str(library), f"-Wl,-rpath,{folder}")
        self.patch = make_patch(folder / "patches", library, NEW, {"answer": ["answer"]}, name="answer")
        self.honest = [
            subprocess.Popen([honest], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(HONEST)
        ]

    def start(self, name: str) -> None:
        who = {} if name in NEED_ROOT else {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        env = {"TMPDIR": str(self.folder / "own")}
        process = subprocess.Popen([self.programs[name]], stdout=subprocess.PIPE, env=env, **who)  # type: ignore[call-overload]
        assert process.stdout is not None and process.stdout.readline() == b"up\n", name
        self.hostile[name] = process
        self.counts[f"started {name}"] += 1

    def stop(self, name: str) -> None:
        process = self.hostile.pop(name)
        if process.poll() is not None and name not in ("births", "execs", "headless"):
            self.faults.append(f"{name} ended by itself: {process.returncode}")
        process.kill()
        process.wait()

    def ask(self, wanted: str) -> None:
        """Every honest process answers as it should."""
        for process in self.honest:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("2\n")
            process.stdin.flush()
            answer = process.stdout.readline().strip()
            self.counts["answers"] += 1
            if answer != wanted:
                self.faults.append(
                    f"round {self.counts['rounds']}: pid {process.pid} answers {answer!r}, not {wanted!r}: {self.last}"
                )

    def run(self, *words: object) -> tuple[int, dict[str, object], float, float]:
        """Status, document, seconds and MiB of one command."""
        begin = time.monotonic()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = subprocess.Popen([SUTURE, *map(str, words), "--json"], stdout=out, stderr=err)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            done = subprocess.CompletedProcess(child.args, child.returncode, out.read(), err.read())
        seconds = time.monotonic() - begin
        self.counts[f"{words[0]} ended with {done.returncode}"] += 1
        if b"Traceback" in done.stderr or b"unforeseen" in done.stdout + done.stderr:
            self.faults.append(f"{words[0]}: {(done.stdout + done.stderr)[-500:]!r}")
        with contextlib.suppress(ValueError):
            return done.returncode, json.loads(done.stdout), seconds, used.ru_maxrss / 1024
        self.faults.append(f"{words[0]}: no JSON: {done.stdout[-300:]!r}")
        return done.returncode, {}, seconds, used.ru_maxrss / 1024

    def round(self, rng: random.Random) -> None:
        for name in rng.sample(sorted(SOURCES), 4):
            if name in self.hostile:
                self.stop(name)
            elif name not in LARGE or not LARGE & set(self.hostile):
                self.start(name)
        self.ask("7 107 9")
        mine = {p.pid for p in self.honest}
        _, applied, seconds, _ = self.run("apply", self.patch.object.name)
        self.last = applied
        self._note("apply seconds", seconds)
        done = {r["pid"] for r in applied.get("processes", [])}  # type: ignore[attr-defined]
        if not mine <= done:
            self.faults.append(f"apply left out {mine - done}: {applied}")
        self.ask("10 110 9")
        _, scanned, seconds, mib = self.run("scan", "--patches", self.folder / "patches")
        self._note("scan seconds", seconds)
        self._note("scan MiB", mib)
        rows = {r["pid"] for r in scanned.get("processes", [])}  # type: ignore[attr-defined]
        if not mine <= rows:
            self.faults.append(f"scan left out {mine - rows}")
        for row in scanned.get("unread", []):  # type: ignore[attr-defined]
            name = next((n for n, p in self.hostile.items() if p.pid == row["pid"]), "another process")
            self.counts[f"unread: {name}"] += 1
        target = rng.choice(sorted(self.hostile)) if self.hostile else ""
        if target:
            code = self.run("apply", self.patch.object.name, self.hostile[target].pid, "--timeout", "1")[0]
            if code == 0:
                self.faults.append(f"the patch went into {target}")
        _, _, seconds, _ = self.run("revert", self.patch.id)
        self._note("revert seconds", seconds)
        self.ask("7 107 9")
        self.counts["rounds"] += 1

    def _note(self, what: str, value: float) -> None:
        self.worst[what] = max(self.worst[what], round(value, 2))

    def end(self) -> None:
        for name in list(self.hostile):
            self.stop(name)
        for process in self.honest:
            if process.poll() is not None:
                self.faults.append(f"an honest process ended: {process.returncode}")
            process.kill()
            process.wait()
        left = os.listdir("/run/suture") if Path("/run/suture").is_dir() else []
        self.counts["locks left"] = len([n for n in left if any(n.startswith(f"{p.pid}-") for p in self.honest)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, default=1, help="of which programs come and go (1)")
    parser.add_argument("--pause", type=float, default=0.0, metavar="SECONDS", help="rest after each round (none)")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    begin = time.monotonic()
    hour = Hour(folder)
    rng = random.Random(args.seed)
    try:
        while time.monotonic() - begin < 60 * args.minutes and len(hour.faults) < 20:
            hour.round(rng)
            time.sleep(args.pause)
    finally:
        hour.end()
        shutil.rmtree(folder, ignore_errors=True)
    minutes = round((time.monotonic() - begin) / 60, 1)
    print(
        json.dumps(
            {"minutes": minutes, **hour.worst, **dict(sorted(hour.counts.items())), "faults": hour.faults}, indent=1
        )
    )
    return 1 if hour.faults else 0


if __name__ == "__main__":
    sys.exit(main())
