"""All that changed between two versions of openssl as one live patch per library, in servers under TLS load.
`bench/whole_way` calls it.

A round in each process of a server is: apply a patch of a few files first (`--first`), replace it by the whole, revert;
the clients must not notice. Then connections that stay idle: what they hold back, and what not. Numbers are kept in
bench/results.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from facts import RESULTS, Start
from target import NotMeasured
from tls_load import Load, Phase, Target
from tls_service import Programs, Service, nginx, reader, s_server
from whole_way_page import document

from suture.error import ExitCode, SutureError
from suture.patch.file import PatchFile, read_patch
from suture.process.change.apply import apply
from suture.process.change.result import Result
from suture.process.change.revert import revert
from suture.process.error import Busy
from suture.process.memory.placed import State
from suture.process.see.find import find
from suture.process.see.status import status

OLD, NEW = "3.0.17-1~deb12u2", "3.0.20-1~deb12u2"
LIBRARIES = ("libcrypto.so.3", "libssl.so.3")
FIRST = ("crypto/x509/x509_vfy.c", "ssl/ssl_sess.c", "ssl/statem/statem_srvr.c")
APART = "measured is how far each function holds back the others"
_PAGE = Path(__file__).resolve().parent.parent / "docs/results/whole-way.md"
_BUSY_SECONDS = 30.0
_IDLE_SECONDS = 2.0
_PLACES = ("--patches", "--page")


@dataclass
class Rounds:
    """Pauses in microseconds and what was left out (`busy`: group and reason), by what was done."""

    pauses_us: dict[str, list[float]] = field(default_factory=dict)
    busy: list[str] = field(default_factory=list)

    def add(self, what: str, result: Result) -> None:
        self.pauses_us.setdefault(what, []).extend(result.pauses_us)
        self.busy += [f"{what}: {g.name}: {g.why}" for g in result.groups if g.state is not result.wanted]


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 when a handshake failed, a patch could not be verified, or a group stayed out under load."""
    parser = argparse.ArgumentParser(
        prog="bench/whole_way", description="All that changed between two versions of openssl, live, under TLS load."
    )
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="rounds of apply, replace and revert (10)")
    parser.add_argument("--clients", type=int, default=4, metavar="N", help="client processes (4)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="of load before, with and after (10)")
    parser.add_argument(
        "--patches", type=Path, metavar="DIR", help="keep the patches here, and take them if they are there"
    )
    parser.add_argument("--no-verify", action="store_true", help="leave out making the patches again to compare")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    parser.add_argument("--page", type=Path, default=_PAGE, metavar="FILE", help="the page (docs/results/whole-way.md)")
    args = parser.parse_args(words)
    start = Start.now("whole_way", _without_place(sys.argv[1:] if words is None else words))
    with tempfile.TemporaryDirectory() as name:
        folder = args.patches or Path(name)
        whole = _made(folder / "whole", ())
        first = _made(folder / "first", FIRST)
        together = _made(folder / "together", (), apart=False)
        verified = {} if args.no_verify else {p.name: _verified(p) for p in _files(folder / "whole", LIBRARIES)}
        patches = [[read_patch(p) for p in _files(folder / kind, LIBRARIES)] for kind in ("first", "whole")]
        programs = Programs.fetch(OLD, _say)
        servers = [_server(make, programs, patches, args) for make in (nginx, s_server)]
        libcrypto = [patches[1][0], *map(read_patch, _files(folder / "together", LIBRARIES[:1]))]
        reading = [_reading(programs, patch) for patch in libcrypto]
    data = {
        "old": OLD,
        "new": NEW,
        "first": FIRST,
        "made": whole,
        "made_first": first,
        "made_together": together,
        "verified": verified,
        "servers": servers,
    }
    record = start.finish(data | {"reading": reading, "groups": [_groups(p) for p in patches[1]]})
    record.write(args.into)
    args.page.write_text(document(record))
    if args.json:
        print(json.dumps(record.data))
    wrong = [] if all(r["answered"] for r in reading) else ["openssl pkcs7: wrong output"]
    wrong += [f for s in servers for f in s["faults"]] + [n for n, same in verified.items() if not same]
    for fault in wrong:
        _say(fault)
    return int(bool(wrong))


def _without_place(words: Sequence[str]) -> list[str]:
    """Arguments without the folder where patches are kept and the page's own path, which change nothing about the
    numbers."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word in _PLACES:
            skip = not skip
        elif not word.startswith(tuple(f"{place}=" for place in _PLACES)):
            kept.append(word)
    return kept


def _say(text: str) -> None:
    print(f"whole_way: {text}", file=sys.stderr, flush=True)


def _made(folder: Path, only: Sequence[str], *, apart: bool = True) -> dict[str, Any]:
    """Patches by `suture make`, with what it says; taken as they are when the folder has them. `apart`: functions may
    switch apart."""
    answer = folder / "made.json"
    if not answer.exists():
        words = ["make", f"--source=openssl={OLD}", f"--to={NEW}", *(f"--only={p}" for p in only)]
        words += [f"--apart={APART}"] if apart else ["--file=libcrypto.so.3"]
        _say(f"suture {' '.join(words)}")
        done = _suture(*words, f"--output={folder}", "--json")
        if done.returncode not in (ExitCode.OK, ExitCode.PARTIAL):
            raise NotMeasured(f"suture make ended with {done.returncode}: {done.stdout[-2000:]}")
        answer.write_text(done.stdout)
    told: dict[str, Any] = json.loads(answer.read_text())
    for patch in told["patches"]:
        patch["path"] = Path(patch["path"]).name
        del patch["fixes"]  # the ledger of 950 files, which the patch keeps
    return told


def _suture(*words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("suture")), *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)


def _files(folder: Path, names: Sequence[str]) -> list[Path]:
    """The patches of libraries, in their order."""
    found = [path for name in names for path in sorted(folder.glob(f"*-{name}.suture.o"))[:1]]
    if len(found) != len(names):
        raise NotMeasured(f"no patch came out for one of {', '.join(names)}")
    return found


def _verified(path: Path) -> bool:
    _say(f"suture verify {path.name}")
    return _suture("verify", str(path)).returncode == ExitCode.OK


def _groups(patch: PatchFile) -> dict[str, Any]:
    target = patch.manifest.target
    groups = {g.name: [f.name for f in g.functions] for g in patch.manifest.groups}
    return {"file": target.file, "id": patch.id, "build_id": target.build_id, "groups": groups}


def _server(
    make: Callable[[Programs], AbstractContextManager[Service]],
    programs: Programs,
    patches: Sequence[Sequence[PatchFile]],
    args: argparse.Namespace,
) -> dict[str, Any]:
    with make(programs) as service:
        pids = service.pids
        for patch in patches[1]:
            missing = set(pids) - set(find(patch.manifest.target.build_id))
            if missing:
                raise NotMeasured(f"{service.name} does not run the {patch.manifest.target.file} that the patch is for")
        _say(f"{service.name}: {len(pids)} processes, {args.clients} clients")
        rounds = Rounds()
        marks: dict[str, tuple[float, float]] = {}
        with Load(service.target, args.clients) as load:
            time.sleep(1.0)  # the clients start
            with _marked(marks, "before"):
                time.sleep(args.seconds)
            with _marked(marks, "rounds of apply, replace, revert"):
                for _ in range(args.rounds):
                    _round(pids, patches, rounds)
            with _marked(marks, "applying"):
                _each(pids, patches[1], lambda pid, patch: rounds.add("apply", _apply(pid, patch)))
            with _marked(marks, "with the patches"):
                time.sleep(args.seconds)
            with _marked(marks, "reverting"):
                _each(pids, patches[1], lambda pid, patch: rounds.add("revert", _revert(pid, patch)))
            with _marked(marks, "after"):
                time.sleep(args.seconds)
        idle = _idle(service, patches[1])
        if service.process.poll() is not None or service.pids != pids:
            raise NotMeasured(f"{service.name}: a process ended or was started anew")
    phases = [Phase.of(name, *marks[name], load.connections) for name in marks]
    failed = [asdict(c) for c in load.connections if c.stage]
    faults = [f"{service.name}: {c['stage']} failed: {c['fault']}" for c in failed]
    faults += [f"{service.name}: {b}" for b in rounds.busy]
    return {
        "name": service.name, "processes": len(pids), "clients": args.clients, "rounds": args.rounds,
        "phases": [asdict(p) for p in phases], "whole": asdict(Phase.of("all",
        0.0, time.monotonic(), load.connections)),
        "pauses_us": rounds.pauses_us, "faults": faults, "idle": idle,
    }  # fmt: skip


@contextmanager
def _marked(marks: dict[str, tuple[float, float]], name: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    marks[name] = (start, time.monotonic())


def _each(pids: Sequence[int], patches: Sequence[PatchFile], do: Callable[[int, PatchFile], None]) -> None:
    for pid in pids:
        for patch in patches:
            do(pid, patch)


def _round(pids: Sequence[int], patches: Sequence[Sequence[PatchFile]], rounds: Rounds) -> None:
    first, whole = patches
    _each(pids, first, lambda pid, patch: rounds.add("apply a part", _apply(pid, patch)))
    _each(pids, whole, lambda pid, patch: rounds.add("replace", _apply(pid, patch, replace=True)))
    _each(pids, whole, lambda pid, patch: rounds.add("revert", _revert(pid, patch)))


def _apply(pid: int, patch: PatchFile, *, replace: bool = False) -> Result:
    return apply(pid, patch, timeout=_BUSY_SECONDS, replace=replace)


def _revert(pid: int, patch: PatchFile) -> Result:
    return revert(pid, patch.id, timeout=_BUSY_SECONDS)


def _idle(service: Service, patches: Sequence[PatchFile]) -> list[dict[str, Any]]:
    """Apply while a client has made its handshake and says nothing; then let it speak and apply what was left out."""
    rows = []
    with ExitStack() as stack:
        secured = stack.enter_context(_quiet(service.target))
        time.sleep(0.3)
        for pid in service.pids:
            for patch in patches:
                try:
                    result = apply(pid, patch, timeout=_IDLE_SECONDS)
                    rows.append(_stand(pid, service, patch, result))
                except SutureError as problem:
                    rows.append(_stand(pid, service, patch, None) | {"busy": {"(all)": problem.what}})
        request = f"GET {service.target.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        secured.sendall(request.encode())
        answered = b" 200 " in secured.recv(65536).split(b"\r\n")[0]
        while secured.recv(65536):
            pass
    time.sleep(0.3)
    for row in rows:
        patch = next(p for p in patches if p.manifest.target.file == row["file"])
        pid = service.pids[row["process"]]
        row["answered"] = answered
        row["later"] = _settled(pid, patch)
        revert(pid, patch.id, timeout=_BUSY_SECONDS)
    return rows


def _reading(programs: Programs, patch: PatchFile) -> dict[str, Any]:
    """Apply to a program that is blocked inside a function to be replaced; then let it end."""
    with reader(programs) as (process, rest):
        groups = patch.manifest.groups
        try:
            result = apply(process.pid, patch, timeout=_IDLE_SECONDS)
            left = {g.name: g.why for g in result.groups if g.state is not State.APPLIED}
        except Busy as problem:  # nothing at all could be applied
            left = dict.fromkeys((g.name for g in groups), problem.what)
        left = {name: why.replace(str(process.pid), "PID") for name, why in left.items()}
        output, _ = process.communicate(rest, timeout=_BUSY_SECONDS)
        answered = process.returncode == 0 and output.startswith(b"-----BEGIN PKCS7-----")
    return {
        "file": patch.manifest.target.file,
        "groups": len(groups),
        "applied": len(groups) - len(left),
        "busy": left,
        "answered": answered,
    }


@contextmanager
def _quiet(target: Target) -> Iterator[ssl.SSLSocket]:
    """A connection after its handshake."""
    context = ssl.create_default_context(cafile=target.certificate)
    plain = socket.create_connection(("127.0.0.1", target.port), 20)
    with plain, context.wrap_socket(plain, server_hostname="localhost") as secured:
        yield secured


def _stand(pid: int, service: Service, patch: PatchFile, result: Result | None) -> dict[str, Any]:
    groups = result.groups if result else ()
    applied = sum(g.state is State.APPLIED for g in groups)
    busy = {g.name: _without_numbers(g.why, service) for g in groups if g.state is not State.APPLIED}
    return {
        "process": service.pids.index(pid), "file": patch.manifest.target.file,
        "groups": len(patch.manifest.groups), "applied": applied, "busy": busy,
    }  # fmt: skip


def _without_numbers(why: str, service: Service) -> str:
    """Process numbers differ from run to run."""
    for pid in service.pids:
        why = why.replace(str(pid), "PID")
    return why


def _settled(pid: int, patch: PatchFile) -> int:
    """Groups that are in force after the rest was applied when the connection had ended."""
    result = apply(pid, patch, timeout=_BUSY_SECONDS)
    seen = next(p for p in status(pid).patches if p.id == patch.id)
    applied = sum(g.state is State.APPLIED for g in seen.groups)
    if applied != sum(g.state is State.APPLIED for g in result.groups):
        raise NotMeasured("status and the applier do not agree")
    return applied


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    sys.exit(main())
