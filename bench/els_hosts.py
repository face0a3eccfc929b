"""What a repository and live patches do on a host of the older release. `bench/els_hosts` calls it.

A clean chroot gets the versions that the packages were built on, and a process for each patched binary that runs it.
Then the live patches are applied to these processes, and apt installs the published packages, which it fetches from the
signed repository over the loopback interface. No process is restarted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from facts import RESULTS, Start

from suture.cli.els.live import update_of
from suture.cli.output import print_json, print_table
from suture.convert.result import Closing, Conversion, PatchResult
from suture.convert.store import folder_of, is_done, load
from suture.els.apt_repository import KEYRING, AptRepository
from suture.els.oval_definitions import binaries
from suture.els.shelf import BuiltShelf
from suture.els.source_package import SUITE
from suture.report.document import ElsBuildReport
from suture.source.update import Update
from tests import minimal
from tests.els.served import served

_OLD = "bullseye"
_HOLDS = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"
# Programs that stay while they wait; a library is held by a process that has loaded it.
_STAYS = {
    "/usr/bin/rsync": ["rsync", "--daemon", "--no-detach", "--port=58873", "--config=/dev/null"],
    "/usr/bin/curl": ["curl", "--silent", "file:///run/waits"],
    "/usr/bin/redis-check-rdb": ["redis-server", "--port", "0", "--save", ""],
}
COLUMNS = ("package", "CVEs", "installed", "live in processes")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/els_hosts", description="Published packages and live patches on a host of the older release."
    )
    parser.add_argument("--built", type=Path, default=Path("built"), metavar="DIR", help="folder of suture els build")
    parser.add_argument("--repository", type=Path, default=Path("repository"), metavar="DIR", help="the apt repository")
    parser.add_argument("--patches", type=Path, default=Path("patches"), metavar="DIR", help="folder of live patches")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    args = parser.parse_args(words)
    start = Start.now("els_hosts", words)
    repository = AptRepository(args.repository.absolute(), f"{_OLD}{SUITE}")
    rows = on_a_host(published(BuiltShelf(args.built), repository), repository, args.patches)
    path = start.finish({"old": _OLD, "packages": rows}).write(args.into)
    if args.json:
        print_json(json.loads(path.read_text()))
    else:
        print_table(COLUMNS, [_line(r) for r in rows])
    return 0 if all(r["installed"] for r in rows) else 1


def _line(row: dict[str, Any]) -> list[str]:
    live = [f"{p['binary']}: {p['outcome']}" for p in row["live"]]
    return [row["package"], " ".join(row["cves"]), ", ".join(row["installed"]) or "-", "; ".join(live) or "-"]


def published(shelf: BuiltShelf, repository: AptRepository) -> list[ElsBuildReport]:
    """The builds whose source package the repository's signed index names."""
    sources = (repository.folder / "dists" / repository.suite / "main/source/Sources").read_text()
    return [b for b in shelf.builds() if any(f.sha256 in sources for f in b.files if f.name.endswith(".dsc"))]


def on_a_host(builds: Sequence[ElsBuildReport], repository: AptRepository, patches: Path) -> list[dict[str, Any]]:
    """A row for each package: what apt installed, and what became of each live patch."""
    conversions = {b.package: load(update_of(b), patches) for b in builds if is_done(update_of(b), patches)}
    wanted = sorted({name for b in builds for name in _installable(b)})
    with minimal.system("python3-minimal", "libpython3-stdlib", *wanted, release=_OLD) as root, ExitStack() as stack:
        before = _versions(root, wanted)
        processes = {
            p.id: stack.enter_context(_running(root, p.binary)) for c in conversions.values() for p in c.patches
        }
        rows = {
            name: [_applied(c, p, processes[p.id].pid, patches) for p in c.patches] for name, c in conversions.items()
        }
        with served(repository.folder) as address:
            _upgraded(root, repository, address, wanted)
        after = _versions(root, wanted)
        for row in (row for own in rows.values() for row in own):
            row["afterwards"] = _outcome(_suture("status", str(row.pop("pid"))), row["id"])
    return [
        {
            "package": b.package,
            "version": b.version,
            "made": b.made,
            "cves": sorted({c for f in b.fixes for c in f.cves}),
            "grade": b.grade.value,
            "tests": b.tests.detail,
            "outcome": b.tests.outcome.value,
            "before": {n: before[n] for n in _installable(b)},
            "installed": {n: after[n] for n in _installable(b) if after[n] == b.made},
            "live": rows.get(b.package, []),
        }
        for b in builds
    ]


def _installable(build: ElsBuildReport) -> list[str]:
    """Binary packages that one host has side by side: no headers, no documentation, no variants for other libraries."""
    return [n for n in binaries(build) if not n.endswith(("-dev", "-doc", "-nss", "-gnutls", "-demos", "-tests"))]


def _versions(root: Path, names: Sequence[str]) -> dict[str, str]:
    said = _in(root, "dpkg-query", "--show", "--showformat=${Package} ${Version}\\n", *names)
    return {name: version for name, version in (row.split(" ") for row in said.splitlines())}


def _in(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["chroot", root, *words],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": minimal.PATH, "DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    return done.stdout


@contextmanager
def _running(root: Path, binary: str) -> Iterator[subprocess.Popen[str]]:
    """A process of the chroot that executes a file, or has it loaded."""
    pipe = root / "run/waits"
    if not pipe.exists():
        subprocess.run(["mkfifo", pipe], check=True)
    held = ".so" in binary
    place = next(p for top in ("usr/lib", "usr/bin", "usr/sbin", "lib", "bin") for p in (root / top).rglob(binary))
    inside = f"/{place.relative_to(root)}"
    words = ["python3", "-c", _HOLDS, inside] if held else _STAYS[inside]
    process = subprocess.Popen(
        ["chroot", root, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PATH": minimal.PATH}
    )
    try:
        if held and process.stdout:
            assert process.stdout.readline() == "ready\n"
        else:
            time.sleep(1)
        yield process
    finally:
        process.kill()
        process.wait()


def _suture(*words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "suture.cli", *words, "--json"], capture_output=True, text=True, check=False
    )
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"error": done.stderr}
    return found


def _applied(conversion: Conversion, patch: PatchResult, pid: int, patches: Path) -> dict[str, Any]:
    path = (
        folder_of(Update(conversion.source, conversion.release, conversion.old, conversion.new), patches)
        / Path(patch.path).name
    )
    said = _suture("apply", str(path), str(pid))
    row = {"id": patch.id, "binary": patch.binary, "pid": pid, "trial": patch.trial, "functions": patch.functions}
    return {
        **row,
        "outcome": _outcome(said, patch.id),
        "cves": [c.cve for c in conversion.cves if c.closing is Closing.LIVE],
    }


def _outcome(said: dict[str, Any], patch: str) -> str:
    """What a report says of a patch in its one process: `applied` where all groups of it are."""
    if "error" in said:
        return str(said["error"]).strip().splitlines()[0]
    found = [p for p in said.get("processes", []) if p.get("patch") == patch]
    found += [
        p
        for process in said.get("processes", [])
        for p in process.get("patches", [])
        if p.get("id") == patch or p.get("patch") == patch
    ]
    states = {g["state"] for p in found for g in p["groups"]}
    return ", ".join(sorted(states)) or "; ".join(f["error"] for f in said.get("failed", [])) or "nothing"


def _upgraded(root: Path, repository: AptRepository, address: str, wanted: Sequence[str]) -> None:
    """Install from the repository, of which the host knows address and key."""
    keyrings = root / "etc/apt/keyrings"
    keyrings.mkdir(parents=True, exist_ok=True)
    (keyrings / KEYRING).write_text((repository.folder / KEYRING).read_text())
    (root / "etc/apt/sources.list.d/suture-els.sources").write_text(repository.sources(address))
    only = ["--option=Dir::Etc::sourcelist=/dev/null", "--option=Acquire::http::Proxy=DIRECT"]
    check = ["--option=Acquire::Check-Valid-Until=true", "--option=Acquire::Check-Date=true"]
    _in(root, "apt-get", *only, *check, "--error-on=any", "update")
    _in(root, "apt-get", *only, "--yes", "--no-install-recommends", "install", *wanted)


if __name__ == "__main__":
    raise SystemExit(main())
