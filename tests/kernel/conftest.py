"""A patch as facts, for tests that load nothing."""

from __future__ import annotations

from suture.delta.ledger import Account, Fate, FileAccount, Ledger
from suture.kernel.check import KernelFacts
from suture.kernel.livepatch import LoadedPatch
from suture.kernel.manifest import KernelFunction, KernelManifest, KernelPatch, KernelTarget
from suture.number import BuildId, Vaddr
from suture.patch.manifest import FixFact

WHOLE = Ledger((FileAccount("drivers/tty/vt/vt_ioctl.c", (Account(Fate.PATCHED, functions=("vmlinux:vt_ioctl",)),)),))
RELEASE, BUILD_ID = "6.1.0-50-amd64", "06f8bde3"


def manifest(replace: bool = False, objects: dict[str, str] | None = None) -> KernelManifest:
    return KernelManifest(
        module="suture_new_00000001",
        target=KernelTarget(RELEASE, "6.1.176-1", BuildId(BUILD_ID)),
        fixes=(FixFact("a.patch", ("CVE-2026-1111",), "00", WHOLE),),
        functions=(
            KernelFunction("vmlinux", "vt_ioctl", 0, Vaddr(0xFFFFFFFF81000000), 64, "drivers/tty/vt/vt_ioctl.c"),
        ),
        effective="",
        replace=replace,
        keep=(),
        notes=(),
        objects=objects or {},
        units=(),
        symbols=(),
    )


def patch(data: bytes = b"module", **fields: object) -> KernelPatch:
    return KernelPatch("0" * 16, manifest(**fields), data)  # type: ignore[arg-type]


def facts(**fields: object) -> KernelFacts:
    usual: dict[str, object] = {
        "release": RELEASE,
        "build_id": BUILD_ID,
        "livepatch": True,
        "lockdown": "none",
        "signatures": False,
        "taint": 0,
        "modules": {},
        "patches": (),
    }
    return KernelFacts(**{**usual, **fields})  # type: ignore[arg-type]


def loaded(name: str, enabled: bool = True, transition: bool = False, ours: bool = True) -> LoadedPatch:
    record = {"patch": name, "target": "6.1.176-1", "cves": "CVE-2026-1", "fixes": "x.patch"} if ours else {}
    return LoadedPatch(name, enabled, transition, (("vmlinux", "vt_ioctl", 1),), record)
