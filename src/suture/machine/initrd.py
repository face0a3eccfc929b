"""The first file system of the test machine: busybox, the few modules that it needs, and an agent on the second serial
port.

The agent reads one line per command (a number and the command in base64), runs it, and answers with status and output
in base64. After start the host's own file system is mounted read-only at /host, so that Suture itself runs in the
guest, in a chroot. A kernel without 9p has a part of it in the initrd. The guest has a /tmp and a /run of its own; what
Suture is imported from is bound to folders below that /run before they cover the host's, since a checkout may lie in
one of these.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import capstone

import suture
from suture.error import NotFound
from suture.machine.userland import userland
from suture.make_kernel.image import read_depends
from suture.make_kernel.target import ArchiveKernel

NEEDED = ("virtio_pci", "9pnet_virtio", "9p", "virtio_rng")

IMPORTED = tuple(Path(package.__path__[0]).resolve().parent for package in (suture, capstone))
"""Folders of the host that Suture is imported from."""

PYTHON_PATH = ":".join(f"/run/import/{number}" for number in range(len(IMPORTED)))
"""Where the guest has them, in its chroot."""

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /host /share
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
mount -t debugfs debug /sys/kernel/debug; mount -t securityfs security /sys/kernel/security
mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs tmp /tmp; mount -t tmpfs shm /dev/shm
echo 0 >/proc/sys/kernel/kptr_restrict; echo 7 >/proc/sys/kernel/printk
for m in $(cat /modules); do insmod "/lib/$m" || echo "insmod $m failed"; done
ifconfig lo 127.0.0.1 up
grep -qw 9p /proc/filesystems && mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro root /host
mkdir /run; mount -t tmpfs run /run; mkdir /run/import; n=0
while read -r f; do mkdir /run/import/$n; [ ! -d "/host$f" ] || mount --bind "/host$f" /run/import/$n; n=$((n+1));
    done </imported
for d in proc sys dev tmp; do mount --bind /$d /host/$d; done
mount --bind /sys/kernel/debug /host/sys/kernel/debug; mount --bind /sys/kernel/security /host/sys/kernel/security
mount --bind /dev/pts /host/dev/pts; mount --bind /dev/shm /host/dev/shm; mount --rbind /run /host/run
grep -qw 9p /proc/filesystems && mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /share
mount --bind /share /host/mnt
exec </dev/ttyS1 >/dev/ttyS1 2>/dev/null; stty raw -echo
echo "UP $(cat /proc/uptime)"
while read -r n c; do
  echo "$c" | base64 -d >/tmp/.command
  setsid sh /tmp/.command </dev/null >/tmp/.output 2>&1; s=$?
  echo "BEGIN $n $s"; base64 </tmp/.output; echo "END $n"
done
poweroff -f
"""


def initrd(target: ArchiveKernel, shared: Mapping[str, bytes] | None = None) -> bytes:
    """The archive, packed; `shared` are files of the shared folder. Raises `NotFound` when busybox is not there."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise NotFound("busybox is not installed", "install busybox-static")
    files: dict[str, tuple[int, bytes]] = {
        "bin": (0o040755, b""),
        "lib": (0o040755, b""),
        "bin/busybox": (0o100755, Path(busybox).read_bytes()),
        "init": (0o100755, INIT.encode()),
    }
    ordered = in_order(target, NEEDED)
    for path in ordered:
        files[f"lib/{path.name}"] = (0o100644, path.read_bytes())
    if target.module("9p") is None:
        files |= {"host": (0o040755, b""), **userland("host"), "share": (0o040755, b"")}
    files |= {f"share/{name}": (0o100644, data) for name, data in (shared or {}).items()}
    files["imported"] = (0o100644, "".join(f"{folder}\n" for folder in IMPORTED).encode())
    files["modules"] = (0o100644, "\n".join(p.name for p in ordered).encode())
    return gzip.compress(_cpio(files), 1, mtime=0)


def in_order(target: ArchiveKernel, names: Iterable[str]) -> list[Path]:
    """Module files, each after those that it depends on; what is built in has no file."""
    found: list[Path] = []

    def add(name: str) -> None:
        path = target.module(name)
        if path is None or path in found:
            return
        for needed in read_depends(path):
            add(needed)
        found.append(path)

    for name in names:
        add(name)
    return found


def _cpio(files: dict[str, tuple[int, bytes]]) -> bytes:
    """The newc format (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    out = bytearray()
    entries = [*files.items(), ("TRAILER!!!", (0, b""))]
    for number, (name, (mode, data)) in enumerate(entries, 1):
        raw = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + raw
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)
