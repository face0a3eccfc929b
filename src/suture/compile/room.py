"""Clean rooms: a file tree put together of overlay layers, entered in namespaces that end with the command.

A room's base is a chroot of one Debian release (apt and build-essential); over it lies a layer with one source package's
declared build dependencies, over that a configured tree, over that the files of a fix. Layers are made once and never
change; what a command writes goes to a layer of its own or is thrown away. No mount outlives the command.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from suture.command import CommandFailed, run
from suture.error import ExitCode, NotFound, SutureError
from suture.progress import Progress, silent
from suture.source import cache, mirror
from suture.source.archive import Archive, SourceVersion

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INSIDE = "/run/suture"
"""Folder in a room that holds what belongs to the running command alone (a tmpfs)."""

_OVERLAY = "redirect_dir=off,metacopy=off,index=off"
# What the indexes list and the archive has no more (security updates that a newer one has pushed out) counts as not there.
_PIN = "Package: /./\nPin: version *{version}\nPin-Priority: -1\n\n"
_GONE = re.compile(r"^E: Failed to fetch \S+/[^/_\s]+_([^/_\s]+)_[a-z0-9]+\.deb\s+404\b", re.M)
_DEVICES = "null zero full random urandom tty"

# Arguments: scratch, lowerdir, upperdir or empty, workdir or empty, then pairs of host path and path inside.
_MOUNTS = f"""
scratch=$1 lower=$2 upper=$3 work=$4; shift 4
mount -t tmpfs -o mode=755 suture "$scratch"
mount --make-private "$scratch"
root=$scratch/root; mkdir "$root"
if [ -z "$upper" ]; then upper=$scratch/upper work=$scratch/work; mkdir "$upper" "$work"; fi
mount -t overlay suture -o "lowerdir=$lower,upperdir=$upper,workdir=$work,{_OVERLAY}" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 suture "$root/dev"
for d in {_DEVICES}; do : >"$root/dev/$d"; mount --bind "/dev/$d" "$root/dev/$d"; done
ln -s /proc/self/fd "$root/dev/fd"; ln -s fd/0 "$root/dev/stdin"; ln -s fd/1 "$root/dev/stdout"; ln -s fd/2 "$root/dev/stderr"
mount -t tmpfs -o mode=1777 suture "$root/tmp"
mount -t tmpfs -o mode=755 suture "$root/run"
mkdir "$root{INSIDE}"
while [ $# -gt 1 ]; do
  if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$root${{2%/*}}"; [ -e "$root$2" ] || : >"$root$2"; fi
  mount --bind "$1" "$root$2"; shift 2
done
exec chroot "$root" sh -eu {INSIDE}/job/enter
"""


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
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a POSIX shell script in the room; its standard output.

        What it writes goes to the folder `keep` (a new layer; made here), or is thrown away. `binds` are pairs of a host
        path and its place in the room. The environment is `env` and nothing else, besides PATH, HOME and locale.
        Raises `CommandFailed` with the end of the script's output, and `NeedsRoot`.
        """
        if os.geteuid() != 0:
            raise NeedsRoot
        with cache.scratch_folder(cache.root() / "run") as folder:
            job, scratch = folder / "job", folder / "scratch"
            job.mkdir()
            scratch.mkdir()
            (job / "script").write_text(script)
            (job / "enter").write_text(_entry(directory, env or {}))
            upper = work = ""
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (folder / "work").mkdir()
                upper, work = str(keep), str(folder / "work")
            lower = ":".join(str(x) for x in self.layers)
            pairs = [str(x) for pair in [(job, f"{INSIDE}/job"), *binds] for x in pair]
            namespaces = ["unshare", "--mount", f"--propagation={_propagation()}", "--pid", "--fork", "--kill-child"]
            try:
                return run([*namespaces, "sh", "-euc", _MOUNTS, "suture", str(scratch), lower, upper, work, *pairs])
            finally:
                if os.path.ismount(scratch):
                    run(["umount", "--lazy", str(scratch)])


def _propagation() -> str:
    """How unshare(1) is to treat the mounts that the new namespace inherits.

    Private, so that nothing of ours is seen outside. In a chroot whose root is no mount point the kernel refuses that
    (mount(2): MS_PRIVATE needs a mount point); then at most the scratch mount is seen outside, and `enter` removes it.
    """
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return "private" if "/" in points else "unchanged"


def _entry(directory: str, env: Mapping[str, str]) -> str:
    settings = {"PATH": PATH, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", **env}
    pairs = " ".join(shlex.quote(f"{k}={v}") for k, v in settings.items())
    return f"cd {shlex.quote(directory)}\nexec env -i {pairs} sh -eu {INSIDE}/job/script\n"


def base(archive: Archive, progress: Progress = silent) -> Room:
    """The chroot of a release with apt and build-essential, made once by mmdebstrap."""
    place = cache.root() / "room" / archive.release

    def make(folder: Path) -> None:
        progress(f"making the clean room of {archive.release}")
        options = [f"--aptopt={line}" for line in mirror.acquire_settings()]
        unsafe = "--dpkgopt=force-unsafe-io"
        own = ["--mode=root", "--variant=buildd", "--format=directory", *options, unsafe]
        run(["mmdebstrap", *own, archive.release, str(folder), str(archive.sources_list)])
        for listed in (folder / "etc/apt/sources.list.d").glob("*"):
            listed.unlink()
        (folder / "etc/apt/sources.list").write_text("")
        policy = folder / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)

    if os.geteuid() != 0 and not place.exists():
        raise NeedsRoot
    return Room((cache.item(place, make),))


def _not_arriving(output: str) -> list[str]:
    """Versions, without epoch, of packages that apt found in the indexes and not in the archive."""
    return [unquote(v) for v in dict.fromkeys(_GONE.findall(output))]


def for_source(
    source: SourceVersion,
    archive: Archive,
    profiles: Sequence[str],
    versions: Sequence[tuple[str, str]] = (),
    progress: Progress = silent,
) -> Room:
    """The room of a source package: its release's base and its declared build dependencies, nothing more.

    Build-Depends and Build-Depends-Arch under the build profiles given, the newest of each but for `versions`; no
    recommended packages. Made once.
    """
    room = base(archive, progress)
    status = (room.layers[-1] / "var/lib/dpkg/status").read_bytes()
    wanted = "".join(f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n\n" for name, version in versions)
    facts = status + source.dsc.read_bytes() + " ".join(profiles).encode() + wanted.encode()
    key = hashlib.sha256(facts).hexdigest()[:16]
    place = cache.root() / "layer" / f"{source.name}-{key}"

    def make(folder: Path) -> None:
        progress(f"installing the build dependencies of {source.name}")
        pins: dict[str, None] = {}
        while True:
            try:
                return install(folder, pins)
            except CommandFailed as failed:
                gone = [v for v in _not_arriving(failed.output) if v not in pins]
                if not gone:
                    raise
                pins.update(dict.fromkeys(gone))
                progress(f"{source.name}: versions that do not arrive are left out: {', '.join(pins)}")
                cache.discard(folder)

    def install(folder: Path, pins: Iterable[str]) -> None:
        binds = [
            (archive.lists, "/var/lib/apt/lists"),
            (archive.debs, "/var/cache/apt/archives"),
            (archive.sources_list, "/etc/apt/sources.list"),
            (Path("/etc/resolv.conf"), "/etc/resolv.conf"),
            (source.dsc, f"{INSIDE}/source.dsc"),
        ]
        chosen = f"--build-profiles={','.join(profiles)} " if profiles else ""
        rows = "".join(_PIN.format(version=v) for v in pins)
        preferences = f"{INSIDE}/preferences"
        script = (
            f"printf %s {shlex.quote(wanted + rows)} >{preferences}\n"
            f"apt-get --quiet --yes --no-install-recommends --option=Dir::Etc::preferences={preferences} --allow-downgrades"
            f" --arch-only {chosen}build-dep {INSIDE}/source.dsc\n"
            "rm --force /var/cache/apt/pkgcache.bin /var/cache/apt/srcpkgcache.bin\n"
        )
        with cache.locked(archive.folder):
            room.enter(script, keep=folder, binds=binds, env={"DEBIAN_FRONTEND": "noninteractive"})

    if not source.dsc.exists():
        raise NotFound(f"{source.dsc} is gone", "remove the source's folder in the cache and run the command again")
    return room.with_layer(cache.item(place, make))
