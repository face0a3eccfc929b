"""Where the running kernel stands with the patches that are for it: what it executes now, and what the next boot would.

The judgement is that of processes (`suture.report.standing`); here its facts are gathered: live patches in sysfs, the
image that the boot loader takes, the patches that are kept for the next boot.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from suture.kernel import boot, livepatch
from suture.kernel.check import KernelFacts, facts
from suture.kernel.livepatch import LoadedPatch
from suture.kernel.manifest import KernelPatch
from suture.kernel.version import running_version
from suture.patch.manifest import closed
from suture.report.hole import holes
from suture.report.row import KernelRow
from suture.report.standing import Carried, Disk, Known, Standing, judge

_VERSION = 0x20E  # kernel_version of the boot header (Documentation/x86/boot.rst): where the text is, less 0x200
_NUMBERS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class NextBoot:
    """`version` is that of the image, "" if none is found; `modules` are names of the patches that are loaded then."""

    version: str
    modules: frozenset[str] = frozenset()


def scan(patches: Sequence[KernelPatch]) -> KernelRow | None:
    """The running kernel's row; None when no patch is for it and it has none."""
    here = facts()
    names = tuple(p.name for p in here.patches)
    kept = frozenset(r.name for r in boot.standing() if r.build_id == here.build_id and not r.held_back)
    version = running_version(os.uname().version)
    return row(patches, here, version, livepatch.module_build_ids(names), NextBoot(next_version(), kept))


def row(
    patches: Sequence[KernelPatch], here: KernelFacts, version: str, modules: Mapping[str, str], then: NextBoot
) -> KernelRow | None:
    """The row from the facts. `version` is that of the running kernel, `modules` are the build-ids of loaded patches by
    name."""
    mine = [p for p in patches if here.build_id and p.manifest.target.build_id == here.build_id]
    known = [_known(p, mine) for p in mine]
    carried = [_carried(p, mine, modules) for p in here.patches if p.enabled or p.transition]
    if not known and not carried:
        return None
    found = judge(known, carried)
    standing = Standing(found.memory, _disk(known, carried, version, then))
    return KernelRow(
        here.release,
        version,
        here.build_id,
        standing,
        then.version,
        tuple(sorted({c.id for c in carried})),
        holes(found, standing, known),
        found.causes,
    )


def _known(patch: KernelPatch, others: Sequence[KernelPatch]) -> Known:
    """A cumulative patch stands for those whose fixes it has."""
    fixes = {f.sha256 for f in patch.manifest.fixes}
    older = [p for p in others if p.id != patch.id and {f.sha256 for f in p.manifest.fixes} <= fixes]
    supersedes = tuple(p.id for p in older) if patch.manifest.replace else ()
    manifest = patch.manifest
    named = tuple(sorted({c for f in manifest.fixes for c in f.cves}))
    left_out = dict.fromkeys(a.reason for f in manifest.fixes for a in f.ledger.missing)
    closes = tuple(closed(manifest.fixes).items())
    return Known(patch.id, manifest.module, named, supersedes, tuple(left_out), closes)


def _carried(loaded: LoadedPatch, mine: Sequence[KernelPatch], modules: Mapping[str, str]) -> Carried:
    file = next((p for p in mine if p.manifest.module == loaded.name), None)
    own = loaded.record.get("patch", loaded.name)
    doubt = ""
    if file is not None and file.build_id and modules.get(loaded.name) != file.build_id:
        doubt = f"the loaded module has build-id {modules.get(loaded.name) or 'none'}, the file {file.build_id}"
    is_whole = loaded.enabled and not loaded.transition
    return Carried(file.id if file else own, loaded.name, loaded.state, is_whole, doubt, cves=loaded.cves)


def _disk(known: Sequence[Known], carried: Sequence[Carried], version: str, then: NextBoot) -> Disk:
    if not then.version:
        return Disk.UNREAD
    if then.version != version:
        return Disk.REPLACED
    if carried and {c.name for c in carried} <= then.modules:
        return Disk.PATCHED_AT_BOOT
    return Disk.OPEN if known else Disk.SAME


def next_version(root: Path = Path("/")) -> str:
    """The version of the image that the next boot takes: the one that /vmlinuz leads to, else the newest in /boot; ""
    without any."""
    link = root / "vmlinuz"
    images = [link] if link.exists() else sorted((root / "boot").glob("vmlinuz-*"), key=lambda p: _natural(p.name))
    return image_version(images[-1]) if images else ""


def image_version(path: Path) -> str:
    """The version that a boot image's header tells: `6.1.176-1`. Empty when it cannot be read or is none."""
    try:
        with open(path, "rb") as file:
            head = file.read(1 << 16)
    except OSError:
        return ""
    if head[0x202:0x206] != b"HdrS":
        return ""
    start = 0x200 + struct.unpack_from("<H", head, _VERSION)[0]
    return running_version(head[start : start + 256].split(b"\0")[0].decode(errors="replace"))


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers in a name compare as numbers."""
    return [(int(x), "") if x.isdigit() else (-1, x) for x in _NUMBERS.split(name)]
