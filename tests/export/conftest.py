"""A host with holes in every state, and its agent, as documents."""

from __future__ import annotations

import pytest

from suture.export.picture import Picture
from suture.report.agent import AgentVerdict, MappedBinary, PatchInForce, WaitingPatch
from suture.report.document import AgentReport, ScanReport
from suture.report.feed import Offer, OfferState, Product
from suture.report.hole import Hole, HoleState, on_host, worst
from suture.report.host import Host, Kernel
from suture.report.mitigation import DeclaredMitigation
from suture.report.patch import Patch, PatchKind
from suture.report.process import UnreadProcess
from suture.report.reason import Cause, Reason
from suture.report.scan import ScannedBinary, ScannedKernel, ScannedProcess
from suture.report.standing import Disk, Memory

DECLARED = (
    DeclaredMitigation("CVE-2099-0005", "port closed", "2026-12-31", True),
    DeclaredMitigation("CVE-2099-0009", "old", "2026-11-01", False),
    DeclaredMitigation("CVE-2099-0010", "not used", "2026-12-31", True),
)
TIME = "2026-11-28T00:30:00.000Z"
HOST = Host("0123", 'web"1\n', "4567", "x86_64", Kernel("6.1.0-40-amd64", "6.1.176-1", "6.1.176-1", "ee"))
SSL, ZLIB = "/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/lib/x86_64-linux-gnu/libz.so.1"


def hole(n: int, state: HoleState) -> Hole:
    return Hole(f"CVE-2099-{n:04}", state, (f"id{n}",))


def binary(file: str, build: str, memory: Memory, disk: Disk, *holes: Hole) -> ScannedBinary:
    patches = ("id1",) if memory is Memory.FIXED else ()
    cause = Cause(Reason.DISK_REPLACED, f"{file} is {disk.value}")
    return ScannedBinary(file, "libssl3", build, 0x1000, 1, memory, disk, patches, holes, (cause,), "3.0.20")


def process(pid: int, *binaries: ScannedBinary, unit: str = "", container: str = "") -> ScannedProcess:
    holes = tuple(h for b in binaries for h in b.holes)
    state = worst(h.state for h in holes) if holes else None
    return ScannedProcess(pid, 1, f"p{pid}", f"/usr/bin/p{pid}", unit, container, state, holes, binaries)


FIXED = process(1, binary(SSL, "aa", Memory.FIXED, Disk.REPLACED, hole(1, HoleState.FIXED_IN_MEMORY)), unit="a.service")
OPEN = process(2, binary(SSL, "aa", Memory.OPEN, Disk.OPEN, hole(1, HoleState.OPEN)), unit="b.service")
RESTART = process(3, binary(ZLIB, "bb", Memory.OPEN, Disk.REPLACED, hole(2, HoleState.FIXED_ON_DISK)), unit="c.service")
LOST = process(4, binary(SSL, "aa", Memory.FIXED, Disk.SAME, hole(3, HoleState.LOST_AT_NEXT_START)))
UNKNOWN = process(5, binary(SSL, "aa", Memory.CLAIMED, Disk.SAME, hole(4, HoleState.UNKNOWN)), container="box")
MITIGATED = process(6, binary(SSL, "aa", Memory.FIXED, Disk.SAME, hole(5, HoleState.MITIGATED)))
EVERY = (FIXED, OPEN, RESTART, LOST, UNKNOWN, MITIGATED)


def patch(n: int, build: str, package: str, version: str) -> Patch:
    return Patch(
        f"id{n}", "name", PatchKind.PROCESS, "libssl.so.3", "", build, package, "openssl", version,
        (), {}, (), (), (), True,
    )  # fmt: skip


def scan_of(
    *processes: ScannedProcess,
    unread: int = 0,
    kernel: ScannedKernel | None = None,
    patches: tuple[Patch, ...] = (patch(1, "aa", "libssl3", "1:3.0.17-1~deb12u2+x"),),
) -> ScanReport:
    holes = on_host([*(p.holes for p in processes), *([kernel.holes] if kernel else [])], unread)
    state = worst(h.state for h in holes) if holes else None
    strangers = tuple(UnreadProcess(90 + n, "x", Cause(Reason.DENIED_READ, "no")) for n in range(unread))
    return ScanReport(TIME, 0, HOST, state, holes, processes, kernel, strangers, patches, (), DECLARED)


def kernel_of(memory: Memory, disk: Disk, *holes: Hole) -> ScannedKernel:
    state = worst(h.state for h in holes) if holes else None
    return ScannedKernel("6.1.0-40-amd64", "6.1.176-1", "ee", memory, disk, "6.1.180-1", state, ("k",), holes, ())


def offer(n: int, build: str, cve: str) -> Offer:
    return Offer(
        f"id{n}", "name", PatchKind.PROCESS, Product.LIBRARIES, build, "libxml2.so.2", "libxml2", "2.9.14-1", (cve,),
        (), "safe", "passed", (), "00", 1, (), {}, OfferState.OFFERED, "", "",
    )  # fmt: skip


def agent_of(*waiting: Offer, failed: int = 0, problems: tuple[Cause, ...] = ()) -> AgentReport:
    why = Cause(Reason.POLICY_ASK, "nobody has allowed it yet", "suture agent allow ID")
    rows = tuple(WaitingPatch(o, AgentVerdict.WAIT, why) for o in waiting)
    taken = (PatchInForce(offer(1, "aa", "CVE-2099-0001"), TIME, 3, failed, False, None),)
    mapped = (MappedBinary("cc", "/usr/lib/libxml2.so.2", 4, "libxml2", "2.9.14-1"),)
    return AgentReport(
        TIME, 0, HOST, "https://feed.example/", "stable", 7, "2026-11-28T00:15:00.000Z", "2026-12-05T00:00:00+00:00",
        TIME, mapped, taken, rows, problems, (), (),
    )  # fmt: skip


@pytest.fixture
def every() -> Picture:
    """Every state, one process that could not be read, and a patch that waits."""
    return Picture(scan_of(*EVERY), agent_of(offer(9, "cc", "CVE-2099-0009"), failed=2))
