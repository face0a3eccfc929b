"""The kernel's source tree, made ready once per version: the archive's source, its configuration and symbol versions.

It is a layer over the release's clean room, at the same path for all versions, so that objects do not tell where they
were made. Nothing but the scripts and generated headers of `modules_prepare` is built.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path

from suture.command import run
from suture.compile import room
from suture.compile.room import Room
from suture.error import NotFound
from suture.make_kernel.target import ArchiveKernel
from suture.progress import Progress, silent
from suture.source import cache

ROOT = "/build/reproducible-path/linux"
_FORMAT = 2
# Where the kernel is built for indirect branch tracking, the archive's objtool runs once over all of vmlinux or of a
# module. Here it runs for each unit, as without: --ibt, which only collects places that the loader may seal, needs the
# whole (tools/objtool/builtin-check.c).
_UNIT_OBJTOOL = "tools/objtool/for-a-unit"
_UNIT_OBJTOOL_TEXT = """#!/bin/sh
for a; do shift; [ "$a" = --ibt ] || set -- "$@" "$a"; done
exec "${0%/*}/objtool" "$@"
"""


@dataclass(frozen=True)
class KernelTree:
    """A prepared tree. `files` is the source on this host without what was generated, `key` names its contents and its
    room's."""

    target: ArchiveKernel
    room: Room
    files: Path
    key: str

    @property
    def make(self) -> str:
        """The beginning of a make command in the room."""
        cc = self.target.compiler
        return f"make -s -C {ROOT} CC={cc} HOSTCC={cc} KERNELRELEASE={self.target.release}"

    @property
    def make_unit(self) -> str:
        """The same for compiling and linking, with objtool run for each unit."""
        return (
            f"{self.make} delay-objtool= objtool={ROOT}/{_UNIT_OBJTOOL}" if _tracks_branches(self.target) else self.make
        )

    @property
    def keeps_memory_init(self) -> bool:
        """Whether the kernel keeps `__meminit` code, since memory may be plugged in."""
        return _has(self.target, "CONFIG_MEMORY_HOTPLUG")

    def has(self, path: str) -> bool:
        """Whether the source has a file of this path."""
        return (self.files / path).is_file()


def _tracks_branches(target: ArchiveKernel) -> bool:
    return _has(target, "CONFIG_X86_KERNEL_IBT")


def _has(target: ArchiveKernel, option: str) -> bool:
    return f"\n{option}=y\n" in target.config.read_text()


def unpacked(target: ArchiveKernel, version: str, progress: Progress = silent) -> Path:
    """The patched source of a version of the series, as the target's flavour has it, unpacked once; a layer that has it
    at `ROOT`."""

    def make(folder: Path) -> None:
        progress(f"unpacking the source of linux {version}")
        files = folder / ROOT.lstrip("/")
        files.mkdir(parents=True)
        run(["tar", "--extract", f"--file={target.tarball(version)}", "--strip-components=1", f"--directory={files}"])
        for patch in _realtime_patches(target, version) if target.is_rt else ():
            run(["patch", "--strip=1", "--forward", "--silent", f"--directory={files}", f"--input={patch}"])
        room.give(files.parent)

    folder = "linux-patched-rt-2" if target.is_rt else "linux-patched-2"
    return cache.item(cache.root() / "source" / folder / cache.safe(version), make)


def _realtime_patches(target: ArchiveKernel, version: str) -> list[Path]:
    """The patches that the archive applies for its rt flavour alone, in order; the packed source does not have them."""
    package = target.name("source")
    sources = [b.source for b in target.archive.binaries(package) if b.version == version]
    if not sources:
        raise NotFound(f"the archive lists no {package} {version}", "choose a version that `apt-cache policy` lists")
    folder = target.archive.packaging(sources[0], version) / "patches-rt"
    lines = (folder / "series").read_text().splitlines()
    return [folder / line.split()[0] for line in lines if line.split() and not line.startswith("#")]


def prepare(target: ArchiveKernel, progress: Progress = silent) -> KernelTree:
    """The prepared tree of a kernel, made now (about a minute) or opened from the cache."""
    own = _room(target, progress)
    inputs = "\0".join([target.recipe.digest, target.version, target.release, *(str(x) for x in own.layers)])
    objtool = _UNIT_OBJTOOL_TEXT if _tracks_branches(target) else ""
    key = hashlib.sha256(f"{_FORMAT}\0{inputs}{objtool}".encode()).hexdigest()
    place = cache.root() / "tree" / "linux" / cache.safe(target.version) / key[:16]
    # config and symvers are copied from the packages, whose version the key names

    below = own.with_layer(unpacked(target, target.version, progress))
    files = below.layers[0] / ROOT.lstrip("/")

    def make(folder: Path) -> None:
        progress(f"preparing the tree of linux {target.version}")
        inputs = folder.parent / "inputs"
        inputs.mkdir()
        (inputs / "config").write_bytes(target.config.read_bytes())
        (inputs / "symvers").write_bytes(target.symvers.read_bytes())
        tree = KernelTree(target, below, files, key)
        script = (
            f"cp {room.INSIDE}/inputs/config .config; cp {room.INSIDE}/inputs/symvers Module.symvers\n{tree.make} "
            f"olddefconfig\ngrep -v '^#' {room.INSIDE}/inputs/config >/tmp/wanted; grep -v '^#' .config >/tmp/got\n"
            "diff /tmp/wanted /tmp/got || { echo 'olddefconfig changes the configuration: the tools differ'; exit "
            f"1; }}\n{tree.make} -j2 modules_prepare\nprintf %s {shlex.quote(objtool)} >{_UNIT_OBJTOOL}; chmod 755 "
            f"{_UNIT_OBJTOOL}\n"
        )
        below.enter(script, keep=folder, directory=ROOT, binds=[(inputs, f"{room.INSIDE}/inputs")])

    return KernelTree(target, below.with_layer(cache.item(place, make)), files, key)


def _room(target: ArchiveKernel, progress: Progress) -> Room:
    """The release's base with the tools that the kernel's makefiles need, installed once."""
    archive = target.archive
    below = room.base(archive, progress)
    status = (below.layers[-1] / "var/lib/dpkg/status").read_bytes()
    wanted = " ".join(target.recipe.build_depends)
    place = cache.root() / "layer" / f"linux-{hashlib.sha256(status + wanted.encode()).hexdigest()[:16]}"

    def make(folder: Path) -> None:
        progress("installing what the kernel's makefiles need")
        below.install(["install", *target.recipe.build_depends], archive, folder)

    return below.with_layer(cache.item(place, make))
