"""A test machine: the archive's kernel image under qemu, driven through a serial port. Never needed to make or apply a
patch.

Hardware virtualisation is tried where there is any, and given up for emulation (TCG) when the guest does not come up
with it. On a loaded host an emulated timer has too few ticks for the kernel's check of it, which ends in a panic:
`no_timer_check` leaves the check out.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from suture.error import ExitCode, NotFound, SutureError
from suture.machine.initrd import PYTHON_PATH, initrd
from suture.make_kernel.target import ArchiveKernel
from suture.source import cache

_START = {"kvm": 40.0, "tcg": 400.0}


class GuestFailed(SutureError):
    """The test machine did not come up, or gave no answer."""

    exit_code = ExitCode.COMMAND


@dataclass(frozen=True)
class GuestAnswer:
    """What a command in the guest ended with."""

    status: int
    output: str


class Guest:
    """A running test machine; ended when the context is left. `share` is a folder of this host, in the guest at /share.

    `shared` are files that are in that folder from the start; where the kernel has no 9p they are all that the guest
    sees of it. `firmware` are the files of UEFI's code and variables, for a machine that starts by it and trusts the
    keys in these variables.
    """

    def __init__(
        self,
        target: ArchiveKernel,
        append: str = "",
        cores: int = 2,
        memory: int = 1024,
        accel: str = "",
        firmware: tuple[Path, Path] | None = None,
        shared: Mapping[str, bytes] | None = None,
    ) -> None:
        self.shared = dict(shared or {})
        self.target, self.append, self.cores, self.memory = target, append, cores, memory
        self.firmware = firmware
        self.accel = accel or os.environ.get("SUTURE_ACCEL", "")
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._qemu: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._number = 0

    @property
    def share(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / "share"

    @property
    def console(self) -> str:
        """All that the kernel has written to its console."""
        assert self._folder is not None
        path = Path(self._folder.name) / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Guest:
        self._folder = tempfile.TemporaryDirectory()
        self.share.mkdir()
        for name, data in self.shared.items():
            (self.share / name).write_bytes(data)
        (Path(self._folder.name) / "initrd").write_bytes(initrd(self.target, self.shared))
        choice = self.accel or _remembered()
        for accel in [choice] if choice else ["kvm", "tcg"]:
            try:
                self._boot(accel)
            except GuestFailed:
                self._end()
                if accel in (choice, "tcg"):
                    self.__exit__(None, None, None)
                    raise
                continue
            if not choice:
                _remember(accel)
            self.accel = accel
            return self
        raise AssertionError  # the loop returns or raises

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._folder is not None:
            self._folder.cleanup()

    def run(self, command: str, timeout: float = 300.0) -> GuestAnswer:
        """Run a shell command in the guest's busybox. Raises `GuestFailed` without an answer in time (seconds)."""
        assert self._socket is not None
        self._number += 1
        line = f"{self._number} {base64.b64encode(command.encode()).decode()}\n"
        data = line.encode()
        try:
            for at in range(0, len(data), 512):
                self._socket.sendall(data[at : at + 512])
        except OSError as problem:
            raise self._failed("has ended") from problem
        deadline = time.monotonic() + timeout
        begin = self._until(f"BEGIN {self._number} ", deadline)
        lines = []
        while (text := self._line(deadline)) != f"END {self._number}":
            lines.append(text)
        output = base64.b64decode("".join(lines)).decode(errors="replace")
        return GuestAnswer(int(begin.split()[2]), output)

    def suture(self, arguments: str, timeout: float = 300.0) -> GuestAnswer:
        """Run this Suture in the guest, on the host's file system. The shared folder is /mnt there."""
        return self.python(f"-m suture.cli {arguments}", timeout)

    def python(self, arguments: str, timeout: float = 300.0) -> GuestAnswer:
        """Run the archive's Python of this host in the guest, with this Suture in its path."""
        return self.run(
            "chroot /host /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "
            f"SUTURE_STATE=/run/suture-state PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={PYTHON_PATH} "
            f"/usr/bin/python3 {arguments}",
            timeout,
        )

    def _boot(self, accel: str) -> None:
        assert self._folder is not None
        folder = Path(self._folder.name)
        qemu = shutil.which("qemu-system-x86_64")
        if qemu is None:
            raise NotFound("qemu-system-x86_64 is not installed", "install qemu-system-x86")
        if accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            raise GuestFailed("/dev/kvm can't be opened", "emulation is used instead")
        path = folder / "agent"
        path.unlink(missing_ok=True)
        cpu = "host" if accel == "kvm" else "max"
        self._qemu = subprocess.Popen(
            [
                qemu, "-accel", accel if accel == "kvm" else "tcg,thread=multi", "-cpu", cpu,
                "-smp", str(self.cores), "-m", str(self.memory), "-nodefaults", "-display", "none", "-no-reboot",
                "-monitor", "none", "-serial", f"file:{folder / 'console'}",
                "-serial", f"unix:{path},server=on,wait=off",
                "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
                "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
                "-fsdev", f"local,id=share,path={self.share},security_model=none",
                "-device", "virtio-9p-pci,fsdev=share,mount_tag=share", "-device", "virtio-rng-pci",
                "-kernel", str(self.target.vmlinuz), "-initrd", str(folder / "initrd"),
                "-append", f"console=ttyS0 panic=-1 no_timer_check {self.append}", *self._firmware(),
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        deadline = time.monotonic() + _START[accel]
        while True:
            try:
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.connect(str(path))
                break
            except OSError:
                self._close()
                if self._qemu.poll() is not None or time.monotonic() > deadline:
                    raise self._failed("qemu does not start") from None
                time.sleep(0.1)
        self._buffer = b""
        self._until("UP ", deadline)

    def _firmware(self) -> list[str]:
        if self.firmware is None:
            return []
        code, variables = (f"if=pflash,unit={n},format=raw,file={p}" for n, p in enumerate(self.firmware))
        return ["-machine", "q35", "-drive", f"{code},readonly=on", "-drive", variables]

    def _until(self, start: str, deadline: float) -> str:
        while not (text := self._line(deadline)).startswith(start):
            pass
        return text

    def _line(self, deadline: float) -> str:
        assert self._socket is not None
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._failed("gave no answer in time")
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65536)
            except OSError:  # a time limit, or a connection that a dying qemu has reset
                data = b""
            if not data:
                raise self._failed("ended, or gave no answer in time")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.strip(b"\r").decode(errors="replace")

    def _failed(self, what: str) -> GuestFailed:
        said = self._qemu.stderr.read() if self._qemu and self._qemu.stderr and self._qemu.poll() is not None else b""
        tail = "\n".join(self.console.splitlines()[-30:])
        return GuestFailed(
            f"the test machine {what} {said.decode(errors='replace')}\n{tail}", "look at the console above"
        )

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _end(self) -> None:
        self._close()
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            if self._qemu.stderr is not None:
                self._qemu.stderr.close()
            self._qemu = None


def _memory() -> Path:
    return cache.root() / "accelerator"


def _remembered() -> str:
    """What brought a guest up before on this machine."""
    if not os.path.exists("/dev/kvm"):
        return "tcg"
    return _memory().read_text() if _memory().exists() else ""


def _remember(accel: str) -> None:
    _memory().parent.mkdir(parents=True, exist_ok=True)
    _memory().write_text(accel)
