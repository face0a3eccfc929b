"""Clean rooms: a file tree put together of overlay layers, entered in namespaces that end with the command.

A room's base is a chroot of one Debian release (apt and build-essential); over it lies a layer with one source
package's declared build dependencies, over that a configured tree, over that the files of a fix. Layers are made once
and never change; what a command writes goes to a layer of its own or is thrown away. No mount outlives the command.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from urllib.parse import unquote

from suture.command import CommandFailed, run
from suture.compile.sandbox import FAILED, INSTALLING, NO_SANDBOX, Order
from suture.error import ExitCode, NotFound, SutureError
from suture.progress import Progress, silent
from suture.source import cache, mirror
from suture.source.archive import Archive, SourceVersion

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DOWNLOADING = "/var/cache/apt/archives/suture.lock"

INSIDE = "/run/suture"
"""Folder in a room that holds what belongs to the running command alone (a tmpfs)."""

_OVERLAY = "redirect_dir=off,metacopy=off,index=off"
# What the indexes list and the archive has no more (security updates that a newer one has pushed out) counts as not
# there.
_PIN = "Package: /./\nPin: version *{version}\nPin-Priority: -1\n\n"
# All packages of one source then have the same older version, those that the base holds in the newer one among them
# (apt_preferences(5): above 1000 a package may go back; of several that match a version the first counts).
_BACK = "Package: src:{source}\nPin: version *\nPin-Priority: 1001\n\n"
# A package lies in the folder of its source.
_GONE = re.compile(r"^E: Failed to fetch \S+/([^/_\s]+)/[^/_\s]+_([^/_\s]+)_[a-z0-9]+\.deb\s+404\b", re.M)

# mmdebstrap mounts /proc and /sys into what it makes. It does so in namespaces of its own, which end with us: a killed
# maker leaves no mount behind into which the next one would walk. `mount` is for hosts that share /; a chroot refuses
# it.
_APART = (
    *("setpriv", "--pdeathsig=KILL"),
    *("unshare", "--mount", "--propagation=unchanged", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *("sh", "-c", 'mount --make-rprivate / 2>/dev/null; "$@"; exit', "sh"),
)

BUILDER = 65530
"""User and group that run package code in a room; Debian keeps the number free (policy 9.2.2: 65000 to 65533 are
reserved)."""


class Rights(Enum):
    """Whose code a script in a room runs."""

    BUILD = "of a package: as `BUILDER`, without any capability and without a network"
    INSTALL = "apt's and dpkg's: root of the room, with the network and what dpkg needs of root's capabilities"


class NeedsRoot(SutureError):
    """Clean rooms are chroots and overlays, which only root may make."""

    exit_code = ExitCode.NO_PERMISSION

    def __init__(self) -> None:
        super().__init__("a clean room can only be made and entered by root", "run the command again as root")


@dataclass(frozen=True)
class Room:
    """Layers of a room, the uppermost first; each is a folder that holds files at their places in the room."""

    layers: tuple[Path, ...]

    def with_layer(self, layer: Path) -> Room:
        """The same room with one more layer on top."""
        return Room((layer, *self.layers))

    def enter(
        self,
        script: str,
        *,
        keep: Path | None = None,
        directory: str = "/",
        binds: Sequence[tuple[Path, str]] = (),
        outputs: Sequence[tuple[Path, str]] = (),
        env: Mapping[str, str] | None = None,
        rights: Rights = Rights.BUILD,
        loopback: bool = False,
    ) -> str:
        """Run a POSIX shell script in the room, in a sandbox (`suture.compile.sandbox`); its standard output.

        What it writes goes to the folder `keep` (a new layer; made here), or is thrown away. `binds` are pairs of a
        host path and its place in the room, read-only but for an installation; `outputs` are folders of the host that
        it may write to, which are given to `BUILDER`. With `loopback` it has a loopback interface of its own. The
        environment is `env` and nothing else, besides PATH, HOME and locale. Raises `CommandFailed` with the end of the
        script's output, and `NeedsRoot`.
        """
        if os.geteuid() != 0:
            raise NeedsRoot
        with cache.scratch_folder(cache.root() / "run") as folder:
            job, scratch = folder / "job", folder / "scratch"
            job.mkdir(mode=0o755)
            scratch.mkdir()
            (job / "script").write_text(f"cd {shlex.quote(directory)}\n{script}")
            (job / "script").chmod(0o644)
            for path, _ in outputs:
                give(path)
            upper, work = f"{scratch}/upper", f"{scratch}/work"
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (folder / "work").mkdir()
                upper, work = str(keep), str(folder / "work")
            order = self._order(scratch, upper, work, [(job, f"{INSIDE}/job"), *binds], outputs, env or {}, rights)
            order = replace(order, loopback=loopback)
            try:
                return carry_out(order, script)
            finally:
                if os.path.ismount(scratch):
                    run(["umount", "--lazy", str(scratch)])

    def install(
        self,
        words: list[str],
        archive: Archive,
        keep: Path,
        binds: Sequence[tuple[Path, str]] = (),
        before: str = "",
    ) -> None:
        """Install packages of an archive by `apt-get WORDS` (a list, since a string is a sequence of strings too); the
        new layer is `keep`. Rooms share indexes and downloads.

        Rooms are filled side by side: one downloads at a time, while others unpack. `before` is a script that runs
        first.
        """
        own = [
            (archive.lists, "/var/lib/apt/lists"),
            (archive.debs, "/var/cache/apt/archives"),
            (archive.sources_list, "/etc/apt/sources.list"),
            (Path("/etc/resolv.conf"), "/etc/resolv.conf"),
        ]
        options = "--quiet --yes --no-install-recommends"
        what = shlex.join(words)
        script = (
            f"{before}\n"
            f"flock {_DOWNLOADING} apt-get {options} --download-only {what}\n"
            # Without apt's locks, which would lock the shared downloads: nobody else installs in this room.
            f"apt-get {options} --no-download --option=Debug::NoLocking=true {what}\n"
            "rm --force /var/cache/apt/pkgcache.bin /var/cache/apt/srcpkgcache.bin\n"
        )
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        with cache.locked(archive.folder, shared=True):  # the indexes stay as they are
            self.enter(script, keep=keep, binds=[*own, *binds], env=env, rights=Rights.INSTALL)

    def _order(
        self,
        scratch: Path,
        upper: str,
        work: str,
        binds: Sequence[tuple[Path, str]],
        outputs: Sequence[tuple[Path, str]],
        env: Mapping[str, str],
        rights: Rights,
    ) -> Order:
        root = f"{scratch}/root"
        lower = ":".join(str(x) for x in self.layers)
        own = "bind-rw" if rights is Rights.INSTALL else "bind"
        steps = [
            ("private-or-not",),
            ("tmpfs", str(scratch), "mode=755"),
            *(("folder", x) for x in (root, upper, work)),
            ("overlay", root, f"lowerdir={lower},upperdir={upper},workdir={work},{_OVERLAY}"),
            ("proc", f"{root}/proc"),
            ("devices", f"{root}/dev"),
            ("tmpfs", f"{root}/tmp", "mode=1777"),
            ("tmpfs", f"{root}/run", "mode=755"),
            ("own", root + INSIDE),
            *((own, str(path), root + place) for path, place in binds),
            *(("bind-rw", str(path), root + place) for path, place in outputs),
        ]
        settings = {"PATH": PATH, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", **env}
        who = 0 if rights is Rights.INSTALL else BUILDER
        return Order(
            tuple(steps),
            ("/bin/sh", "-eu", f"{INSIDE}/job/script"),
            tuple(settings.items()),
            root,
            who,
            who,
            INSTALLING if rights is Rights.INSTALL else (),
            network=rights is Rights.INSTALL,
        )


class NoSandbox(SutureError):
    """The kernel, or whoever is above, allows no namespaces."""

    exit_code = ExitCode.NO_PERMISSION


def carry_out(order: Order, script: str) -> str:
    """The standard output of an order that runs a script. Raises `CommandFailed` with the script as its command, and
    `NoSandbox`."""
    try:
        return run(order.argv())
    except CommandFailed as failed:
        if failed.status == FAILED and NO_SANDBOX in failed.output:
            raise NoSandbox(
                failed.output.strip(),
                "allow namespaces (as another user than root: sysctl user.max_user_namespaces, "
                "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns), or run the "
                "command as root of the host",
            ) from failed
        raise CommandFailed(["sh", "-euc", script], None, failed.status, failed.output) from failed


def give(path: Path) -> None:
    """Make `BUILDER` the owner of a folder and of all that is in it; links are not followed."""
    run(["chown", "--recursive", "--no-dereference", f"{BUILDER}:{BUILDER}", str(path)])


def base(archive: Archive, progress: Progress = silent) -> Room:
    """The chroot of a release with apt and build-essential, made once by mmdebstrap."""
    place = cache.root() / "room" / archive.release

    def make(folder: Path) -> None:
        progress(f"making the clean room of {archive.release}")
        options = [f"--aptopt={line}" for line in mirror.acquire_settings()]
        unsafe = "--dpkgopt=force-unsafe-io"
        own = ["--mode=root", "--variant=buildd", "--format=directory", *options, unsafe]
        run([*_APART, "mmdebstrap", *own, archive.release, str(folder), str(archive.sources_list)])
        for listed in (folder / "etc/apt/sources.list.d").glob("*"):
            listed.unlink()
        (folder / "etc/apt/sources.list").write_text("")
        policy = folder / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)

    if os.geteuid() != 0 and not place.exists():
        raise NeedsRoot
    return Room((cache.item(place, make),))


def with_packages(below: Room, packages: Sequence[str], archive: Archive, progress: Progress = silent) -> Room:
    """A room with these packages more; made once."""
    facts = (below.layers[-1] / "var/lib/dpkg/status").read_bytes() + " ".join(packages).encode()
    facts += "".join(layer.name for layer in below.layers[:-1]).encode()
    key = hashlib.sha256(facts).hexdigest()[:16]

    def make(folder: Path) -> None:
        progress(f"installing {', '.join(packages)}")
        below.install(["install", *packages], archive, folder)

    return below.with_layer(cache.item(cache.root() / "layer" / f"deb-{key}", make))


@dataclass(frozen=True)
class NotArriving:
    """A version, without epoch, of packages that the indexes list and the archive has no more, and their source."""

    source: str
    version: str


def not_arriving(output: str) -> list[NotArriving]:
    """What apt found in the indexes and not in the archive, as it says."""
    return [NotArriving(unquote(s), unquote(v)) for s, v in dict.fromkeys(_GONE.findall(output))]


def without(gone: Iterable[NotArriving]) -> str:
    """Stanzas of apt_preferences(5): these versions are not there, and their sources may go back to older ones."""
    rows = tuple(gone)
    versions = "".join(_PIN.format(version=v) for v in dict.fromkeys(r.version for r in rows))
    return versions + "".join(_BACK.format(source=s) for s in dict.fromkeys(r.source for r in rows))


def for_source(
    source: SourceVersion,
    archive: Archive,
    profiles: Sequence[str],
    versions: Sequence[tuple[str, str]] = (),
    progress: Progress = silent,
    *,
    whole: bool = False,
) -> Room:
    """The room of a source package: its release's base and its declared build dependencies, nothing more.

    Build-Depends and Build-Depends-Arch under the build profiles given, and with `whole` Build-Depends-Indep too; the
    newest of each but for `versions`; no recommended packages. Made once.
    """
    room = base(archive, progress)
    status = (room.layers[-1] / "var/lib/dpkg/status").read_bytes()
    wanted = "".join(f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n\n" for name, version in versions)
    facts = status + source.dsc.read_bytes() + " ".join(profiles).encode() + wanted.encode()
    facts += b"whole" * whole
    key = hashlib.sha256(facts).hexdigest()[:16]
    place = cache.root() / "layer" / f"{source.name}-{key}"

    def make(folder: Path) -> None:
        progress(f"installing the build dependencies of {source.name}")
        gone: dict[NotArriving, None] = {}
        while True:
            try:
                return install(folder, gone)
            except CommandFailed as failed:
                more = [x for x in not_arriving(failed.output) if x not in gone]
                if not more:
                    raise
                gone.update(dict.fromkeys(more))
                named = ", ".join(f"{x.source} {x.version}" for x in gone)
                progress(f"{source.name}: versions that do not arrive are left out: {named}")
                cache.discard(folder)

    def install(folder: Path, gone: Iterable[NotArriving]) -> None:
        chosen = [f"--build-profiles={','.join(profiles)}"] if profiles else []
        preferences = f"{INSIDE}/preferences"
        options = [f"--option=Dir::Etc::preferences={preferences}", "--allow-downgrades", *chosen]
        options += [] if whole else ["--arch-only"]
        words = [*options, "build-dep", f"{INSIDE}/source.dsc"]
        before = f"printf %s {shlex.quote(wanted + without(gone))} >{preferences}"
        room.install(words, archive, folder, [(source.dsc, f"{INSIDE}/source.dsc")], before)

    if not source.dsc.exists():
        raise NotFound(f"{source.dsc} is gone", "remove the source's folder in the cache and run the command again")
    return room.with_layer(cache.item(place, make))
