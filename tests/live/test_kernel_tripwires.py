"""A kernel patch with tripwires in the archive's own kernel: an attempt raises the count, is an event, and the count
goes on in a patch that takes the place of the first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from suture.error import ExitCode
from suture.machine.vm import Guest
from suture.make_kernel.make import KernelMaking, make
from suture.make_kernel.request import KernelRequest, ready
from suture.make_kernel.target import find
from suture.make_kernel.wiring import KernelWiring
from suture.patch.tripwire import UNWIRED
from tests.command import suture

pytestmark = [pytest.mark.archive, pytest.mark.slow]
VERSION = "6.1.176-1"
_FIX = Path(__file__).resolve().parents[1] / "kernel" / "fixes" / "kdskbmeta.patch"
_PROBE = Path(__file__).resolve().parents[2] / "bench" / "kernel_probes" / "vt_meta.py"


def made(tripwires: bool = True, replace: bool = False, unwanted: tuple[tuple[str, str], ...] = ()) -> KernelMaking:
    texts = ((_FIX.name, _FIX.read_text()),)
    cves = ("CVE-2099-0001",)
    request = KernelRequest(
        f"linux={VERSION}", texts, cves=cves, replace=replace, tripwires=tripwires, no_tripwire=unwanted
    )
    return make(ready(request))


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with Guest(find(VERSION)) as machine:
        (machine.share / "probe.py").write_bytes(_PROBE.read_bytes())
        yield machine


def put(guest: Guest, patch: KernelMaking) -> str:
    name = f"{patch.manifest.module}.ko"
    (guest.share / name).write_bytes(patch.data)
    return f"/mnt/{name}"


def wires(guest: Guest, module: str) -> list[tuple[int, str]]:
    status: Any = json.loads(guest.suture("status --kernel --json").output)
    (found,) = [p for p in status["kernel"]["patches"] if p["name"] == module and p["enabled"]]
    return [(w["count"], w["wire"]["condition"]) for w in found["tripwires"]]


def test_the_module_is_the_same_but_for_its_counters_and_made_again_to_the_byte() -> None:
    plain, wired = made(tripwires=False), made()
    assert wired.manifest.functions == plain.manifest.functions and wired.manifest.fixes == plain.manifest.fixes
    assert plain.manifest.tripwires == () and b"tripwire" not in plain.data
    (wire,) = wired.manifest.tripwires
    assert (wire.file, wire.function, wire.condition) == ("drivers/tty/vt/vt_ioctl.c", "vt_k_ioctl", "!perm")
    assert made().data == wired.data
    left = made(unwanted=((f"{wire.file}:{wire.line}", "fires in a test"),)).manifest
    assert left.tripwires == () and [w.reason for w in left.without_tripwire] == ["fires in a test"]


def test_a_module_is_not_lost_where_counters_cannot_be_put_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    plain = made(tripwires=False).manifest
    monkeypatch.setattr(KernelWiring, "wired", fails)
    bare = made().manifest
    assert bare.functions == plain.functions and bare.fixes == plain.fixes and bare.tripwires == ()
    (left,) = bare.without_tripwire
    assert (left.file, left.reason) == ("drivers/tty/vt/vt_ioctl.c", f"{UNWIRED} (RecursionError)")


def test_verify_makes_a_module_with_tripwires_again_and_sees_another(tmp_path: Path) -> None:
    words = ["make", "--source", f"linux={VERSION}", "--fix", str(_FIX), "--tripwires"]
    suture(*words, "--output", str(tmp_path), check=True)
    (path,) = tmp_path.glob("*.ko")
    assert "made again from" in suture("verify", str(path), check=True).stdout
    data = path.read_bytes()
    assert data.count(b"!perm") > 0
    path.write_bytes(data.replace(b"!perm", b"!pern"))
    assert suture("verify", str(path)).returncode == ExitCode.BAD_PATCH


def test_an_attempt_is_counted_and_goes_on_in_the_next_patch(guest: Guest) -> None:
    first, second = made(), made(replace=True)
    name, newer = first.manifest.module, second.manifest.module
    assert guest.suture(f"apply {put(guest, first)} --timeout 90").status == 0
    assert wires(guest, name) == [(0, "!perm")]
    watch = "--json >/share/events 2>/share/said &"
    guest.suture(f"watch-attempts --seconds 400 {watch}")
    for _ in range(60):
        if "tripwires" in guest.run("cat /share/said 2>/dev/null; sleep 1").output:
            break
    assert guest.python("/mnt/probe.py").output.strip() == "Operation not permitted"
    assert wires(guest, name) == [(1, "!perm")]
    for _ in range(60):
        if (events := guest.run("cat /share/events; sleep 1").output).strip():
            break
    event = json.loads(events.splitlines()[0])
    assert (event["process"]["pid"], event["process"]["command"], event["count"]) == (0, "kernel", 1)
    assert event["wire"]["cves"] == ["CVE-2099-0001"] and event["wire"]["line"] == 411
    said = guest.suture("status --kernel").output
    assert f"{name}: 1 attempt: CVE-2099-0001 drivers/tty/vt/vt_ioctl.c:411" in said
    assert guest.suture(f"apply {put(guest, second)} --timeout 90").status == 0
    assert wires(guest, newer) == [(1, "!perm")]
    guest.python("/mnt/probe.py")
    assert wires(guest, newer) == [(2, "!perm")]
    log = guest.run("dmesg").output
    assert not [x for x in log.splitlines() if "BUG:" in x or "WARNING:" in x or "Oops" in x]
