"""QEMU of an older release, run on this host: in a chroot of that release which holds the emulator and what it
needs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from suture.command import run
from suture.compile import room
from suture.source import cache
from suture.source.archive import Archive

_PACKAGES = ("qemu-system-x86", "qemu-system-data", "qemu-system-common")
_OF_THE_RELEASE = ("seabios", "ipxe-qemu")


def layer(release: str, version: str) -> room.Room:
    """The room of a release with the emulator of one version installed in it, made once."""
    archive = Archive(release)
    base = room.base(archive)

    def make(folder: Path) -> None:
        words = ["install", *(f"{name}={version}" for name in _PACKAGES), *_OF_THE_RELEASE]
        base.install(words, archive, folder)

    return base.with_layer(cache.item(cache.root() / "emulator" / f"{release}-{cache.safe(version)}", make))


@contextmanager
def entered(emulator: room.Room, files: Path) -> Iterator[list[str]]:
    """The words that go before a command so that it runs in the room, with `files` at the same path as here."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root"
        for folder in ("root", "upper", "work"):
            (Path(name) / folder).mkdir()
        lower = ":".join(str(x) for x in emulator.layers)
        options = f"lowerdir={lower},upperdir={name}/upper,workdir={name}/work"
        run(["mount", "-t", "overlay", "suture", "-o", options, str(root)])
        try:
            inside = root / str(files).lstrip("/")
            inside.mkdir(parents=True, exist_ok=True)
            run(["mount", "--bind", str(files), str(inside)])
            run(["mount", "--bind", "/dev", str(root / "dev")])
            yield ["chroot", str(root)]
        finally:
            run(["umount", "--recursive", "--lazy", str(root)])
