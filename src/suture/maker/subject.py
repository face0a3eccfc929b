"""What `--for pid:N` and `--for path:FILE` mean: the source version that a process or a file was built from, and its
file name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from suture.error import ExitCode, NotFound, SutureError
from suture.number import BuildId
from suture.process.memory.image import images
from suture.process.memory.maps import read_maps
from suture.process.see.aside import alone, named
from suture.process.tracee import Tracee
from suture.progress import Progress
from suture.source.origin import build_id_of, identify

_IDENTIFY_SECONDS = 300.0  # it may ask the archive; a root of the process's own may not answer at all


class BadSubject(SutureError):
    """Neither pid:N nor path:FILE."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True)
class NamedSource:
    """`source` is NAME=VERSION of the source package, `file` the shipped file's name."""

    source: str
    file: str


def find(text: str, files: Sequence[str], sources: Sequence[str], progress: Progress) -> NamedSource:
    """Identify a subject. For a process: the mapped file called as in `files` (`libz.so.1` means `libz.so.1.2.13` too),
    else the one whose source is among `sources`, else its program. Raises `NotFound`, `BadSubject`, and what looking at
    a process raises.
    """
    kind, _, what = text.partition(":")
    if kind == "path" and what:
        path = Path(what).resolve()
        if not path.is_file():
            raise NotFound(
                f"{path}: no such file", "give the path of a program or library, or pid:N of a process that runs it"
            )
        origin = identify(path, build_id_of(path), progress=progress)
        return NamedSource(f"{origin.source}={origin.source_version}", path.name)
    if kind == "pid" and what.isdigit():
        return _of_process(int(what), files, sources, progress)
    raise BadSubject(
        f"--for {text}: neither pid:N nor path:FILE", "for example --for pid:812 or --for path:/usr/sbin/nginx"
    )


@dataclass(frozen=True)
class Mapped:
    """A file that a process maps: the root that it lies in, as a folder of this host, and its path there."""

    root: Path
    path: Path
    build_id: BuildId | None


def place(path: str, build_id: BuildId | None, pid: int, above: str, same_files: bool) -> Mapped | None:
    """Where the file lies that /proc/PID/maps calls `path`, as one outside a chroot sees it (proc(5)).

    `above` is the process's root as that outsider sees it. What the process mapped before it entered a chroot lies in
    this host's root, if both see the same files (`same_files`); else there is no telling.
    """
    name, prefix = path.removesuffix(" (deleted)"), above.rstrip("/") + "/"
    if name.startswith(prefix):
        return Mapped(Path(f"/proc/{pid}/root"), Path("/") / name.removeprefix(prefix), build_id)
    return Mapped(Path("/"), Path(name), build_id) if same_files and name.startswith("/") else None


@dataclass(frozen=True)
class _Seen:
    """What a process maps and executes, as it names them, and from where."""

    rows: Sequence[tuple[str, BuildId | None]]
    program: str
    above: str
    same: bool

    @classmethod
    def look(cls, pid: int) -> _Seen:
        with Tracee(pid) as tracee:
            facts = Path(f"/proc/{pid}")
            above, same = str((facts / "root").readlink()), (facts / "ns/mnt").samefile("/proc/self/ns/mnt")
            rows = [(i.path, i.build_id) for i in images(tracee.via, read_maps(tracee.via)) if i.path.startswith("/")]
            return cls(rows, str((facts / "exe").readlink()), above, same)


def _of_process(pid: int, files: Sequence[str], sources: Sequence[str], progress: Progress) -> NamedSource:
    seen = named(pid, partial(_Seen.look, pid))
    mapped = [m for path, build_id in seen.rows if (m := place(path, build_id, pid, seen.above, seen.same))]
    own = place(seen.program, None, pid, seen.above, seen.same)
    wanted = [
        m for m in mapped if (_is_called(m.path.name, files) if files else own is not None and m.path == own.path)
    ]
    if files and not wanted:
        raise NotFound(
            f"pid {pid} maps no {', '.join(files)}", f"it maps: {', '.join(sorted(m.path.name for m in mapped))}"
        )
    for one in wanted if files or not sources else mapped:
        try:
            tell = partial(identify, one.path, one.build_id, one.root, progress)
            origin = tell() if one.root == Path("/") else alone(pid, tell, _IDENTIFY_SECONDS)
        except SutureError:
            if wanted == [one]:
                raise
            continue  # a file of no package can't be what a source package's fix is for
        if not sources or origin.source in sources:
            return NamedSource(f"{origin.source}={origin.source_version}", one.path.name)
    raise NotFound(f"pid {pid} runs nothing that is built from {', '.join(sources)}", "name the file with --file")


def _is_called(name: str, files: Sequence[str]) -> bool:
    """Whether a mapped file goes by one of the names; what is mapped is the file behind the link that a library is
    known by."""
    return any(name == wanted or name.startswith(f"{wanted}.") for wanted in files)
