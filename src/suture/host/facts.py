"""What this host is."""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from suture.kernel.livepatch import build_id, patches
from suture.kernel.version import effective
from suture.report.host import Host, Kernel

_APPLICATION = bytes.fromhex(
    "6f2d0f0c6e8e4d0f9a4e0b1f5b0c7d3a"
)  # ours, chosen once at random; another one would make other ids


def this_host(root: Path = Path("/")) -> Host:
    """The host's facts; those that cannot be read are empty."""
    names = os.uname()
    version = effective(patches(root / "sys"), names)
    boot_id = _text(root / "proc/sys/kernel/random/boot_id")
    kernel = Kernel(
        version.release, version.version, version.effective, build_id(root / "sys"), version.fixes, version.cves
    )
    return Host(identity(_text(root / "etc/machine-id")), names.nodename, boot_id, names.machine, kernel)


def identity(machine_id: str) -> str:
    """The host's id from its machine-id, which is not to be shown to others (machine-id(5)); made as
    sd_id128_get_machine_app_specific(3) does. "" for none."""
    try:
        key = bytes.fromhex(machine_id)
    except ValueError:
        return ""
    if len(key) != 16:
        return ""
    digest = bytearray(hmac.digest(key, _APPLICATION, "sha256")[:16])
    digest[6] = digest[6] & 0x0F | 0x40  # version 4, as that function has it
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
