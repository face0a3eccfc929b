"""The trigger of CVE-2024-3447, over QEMU's test protocol (-qtest): the transfer mode of the SD host controller is
changed while a transfer is going on, which makes it write behind its buffer. What the register holds afterwards tells
whether the write was taken.

The words are those of the report that the fix quotes; nothing is written behind the buffer here.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_MACHINE = (
    "-nodefaults -display none -M pc -accel tcg -S -m 512 -device sdhci-pci,sd-spec-version=3"
    " -device sd-card,drive=mydrive -drive if=none,index=0,file=null-co://,format=raw,id=mydrive"
)
_SETUP = """
outl 0xcf8 0x80001013
outl 0xcfc 0x91
outl 0xcf8 0x80001001
outl 0xcfc 0x06000000
write 0x9100002c 0x1 0x05
write 0x91000058 0x1 0x16
write 0x91000005 0x1 0x04
write 0x91000028 0x1 0x08
write 0x16 0x1 0x21
write 0x19 0x1 0x20
write 0x9100000c 0x1 0x01
write 0x9100000e 0x1 0x20
write 0x9100000f 0x1 0x00
"""
_MODE = "0x9100000c"


class Controller:
    """A machine that stands still, with the controller; spoken to by `say`."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self.process, self.pid = process, process.pid
        self._socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 60
        while True:
            try:
                self._socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        self._file = self._socket.makefile("r")

    def say(self, line: str) -> str:
        """Send a line of the protocol; the answer."""
        self._socket.sendall(line.encode() + b"\n")
        while True:
            answer = self._file.readline().strip()
            if not answer.startswith("IRQ"):
                return answer

    def takes_the_mode(self) -> bool:
        """Whether the controller takes a new transfer mode while a transfer is going on: it should not."""
        for line in _SETUP.strip().splitlines():
            self.say(line)
        before = self.say(f"readw {_MODE}")
        self.say(f"write {_MODE} 0x1 0x00")
        return self.say(f"readw {_MODE}") != before

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@contextmanager
def controller(folder: Path, emulator: Sequence[str]) -> Iterator[Controller]:
    path = folder / "qtest"
    path.unlink(missing_ok=True)
    argv = [*emulator, *_MACHINE.split(), "-qtest", f"unix:{path},server,nowait", "-qtest-log", "/dev/null"]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        found = Controller(process, path)
        yield found
        found.close()
    finally:
        process.kill()
        process.wait()
