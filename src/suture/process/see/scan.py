"""What every process runs, against known patches and against what is installed on disk: the facts that `standing`
judges.

A row is one process and one binary that it has loaded; a binary that is loaded twice has two, because each copy is
patched by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from suture.error import ExitCode
from suture.patch.file import PatchFile
from suture.patch.manifest import Manifest, closed
from suture.process.allowance import limited
from suture.process.memory.image import Image
from suture.process.memory.placed import Placed, State, find_placed
from suture.process.see.aside import each
from suture.process.see.comparison import doubt
from suture.process.see.copies import Copies
from suture.process.see.disk import Files, OnDisk
from suture.process.see.find import Found, Unread, every_process
from suture.process.see.package import InstalledPackage
from suture.process.see.reexec import executes_itself
from suture.process.see.status import PatchStatus, states_of, with_old_frames
from suture.process.tracee import Tracee
from suture.report.hole import exposed, holes, until_exec
from suture.report.reason import Cause, Reason
from suture.report.row import Row
from suture.report.spread import Part, judged_together
from suture.report.standing import Carried, Disk, Known, Memory, Standing, judge

_NAMED = 3
_MOST_COMPARED, _COMPARING_SECONDS = 256 << 20, 5.0
_MOST_COPIES = 16  # rows of one build-id in one process; more are counted


@dataclass(frozen=True)
class Scan:
    """All rows, and the processes that could not be looked at: what they run is not known. `loaded`: for each process
    with a row, the paths of all that it has mapped."""

    rows: tuple[Row, ...]
    unread: tuple[Unread, ...]
    loaded: Mapping[int, Sequence[str]]


def scan(patches: Sequence[PatchFile]) -> Scan:
    """A row for each process and binary that a patch is for, that carries a patch, whose file was replaced on disk, or
    that holds a copy of a library's old code."""
    by_target: dict[str, list[PatchFile]] = {}
    for patch in patches:
        by_target.setdefault(patch.manifest.target.build_id, []).append(patch)
    processes, unread = every_process()
    copies = Copies(patches)
    rows: list[Row] = []
    by_pid = {p.pid: p for p in processes}
    with Files() as files:

        def look_at(pid: int) -> list[Row]:
            with limited(pid):
                return _rows(by_pid[pid], by_target, files) + _copies(by_pid[pid], copies, files)

        for answer in each([p.pid for p in processes], look_at):
            if answer.problem is None:
                rows += answer.result or []
            elif answer.problem.exit_code not in (ExitCode.NO_PROCESS, ExitCode.NO_PERMISSION):
                unread.append(
                    Unread.of(answer.pid, answer.problem)
                )  # else it has ended, or become another user's program
    rows.sort(key=lambda r: r.pid)
    loaded = _loaded(processes, rows)
    rows = judged_together(rows, {p.id: _parts(p.manifest) for p in patches}, loaded)
    again = executes_itself(processes, {r.pid for r in rows})
    return Scan(tuple(_until_exec(r, again) for r in rows), tuple(unread), loaded)


def _parts(manifest: Manifest) -> list[Part]:
    return [Part(f.sha256, f.name, f.ledger.others, f.cves) for f in manifest.fixes]


def _loaded(processes: Sequence[Found], rows: Sequence[Row]) -> dict[int, list[str]]:
    """The paths of all binaries of the processes that have a row."""
    told = {r.pid for r in rows}
    return {p.pid: [i.path for i in p.images] for p in processes if p.pid in told}


def _until_exec(row: Row, again: Mapping[int, str]) -> Row:
    """A process that executes its own file again and again is fixed no longer than until then."""
    standing = row.standing
    if row.pid not in again or standing.memory is not Memory.FIXED or not standing.is_lost_at_next_start:
        return row
    cause = Cause(Reason.UNTIL_EXEC, f"{again[row.pid]}: what it executes next is not fixed")
    standing = replace(standing, memory=Memory.UNTIL_EXEC)
    return replace(row, standing=standing, holes=until_exec(row.holes), causes=(*row.causes, cause))


def _copies(process: Found, copies: Copies, files: Files) -> list[Row]:
    """What a static program holds of a library's old code: exposed, and out of the library's patch's reach."""
    holder = copies.held_by(process)
    if holder is None:
        return []
    image = next((i for i in process.images if i.path == holder.path), None)
    build_id = image.build_id if image is not None else ""
    package = files.package_of(process, image) if image is not None else InstalledPackage()
    rows = []
    for copy in holder.copies:
        target = copy.patch.manifest.target
        if target.build_id == build_id:
            continue  # the patch is for this very program
        names = ", ".join(f"{name} at {address:#x}" for name, address in copy.functions[:_NAMED])
        more = f" and {len(copy.functions) - _NAMED} more" if len(copy.functions) > _NAMED else ""
        why = (
            f"linked statically, with a copy of {target.file}'s code of its own: {len(copy.functions)} of {copy.of} "
            f"functions that {copy.patch.manifest.name} replaces ({names}{more}); that patch cannot reach them: "
            "rebuild the program, or make a patch for it (suture make --tree)"
        )
        causes = [Cause(Reason.STATIC_COPY, why)]
        if holder.is_deleted:
            causes.append(Cause(Reason.DISK_DELETED, "its file was replaced or deleted meanwhile"))
        standing = Standing(Memory.OPEN, Disk.DELETED if holder.is_deleted else Disk.SAME)
        found = exposed(copy.patch.manifest.named_cves, copy.patch.id, standing)
        rows.append(
            Row(
                process.pid,
                process.command,
                holder.path,
                build_id,
                holder.address,
                standing,
                (),
                found,
                tuple(causes),
                package.name,
                installed=package.version,
            )
        )
    return rows


def _rows(process: Found, by_target: Mapping[str, Sequence[PatchFile]], files: Files) -> list[Row]:
    placed, remains = find_placed(process.via, process.maps)
    states = states_of(process.via, placed, remains, process.images) if placed else []
    times = Counter(i.build_id for i in process.images)
    told: Counter[str] = Counter()
    rows = []
    for image in process.images:
        carried = [(p, s) for p, s in zip(placed, states, strict=False) if _is_for(p, image)]
        wanted = by_target.get(image.build_id, ())
        if not carried and not wanted and not image.is_deleted:
            continue
        told[image.build_id] += 1
        if told[image.build_id] > _MOST_COPIES:
            continue
        row = _row(process, image, carried, wanted, files.behind(process, image), by_target)
        if not carried and not wanted and row.standing.disk is Disk.SAME:
            continue  # written anew, as it was
        package = files.package_of(process, image, row.package)
        rows.append(replace(row, package=package.name, installed=package.version, copies=times[image.build_id]))
    return rows


def _is_for(placed: Placed, image: Image) -> bool:
    return (placed.record.build_id, placed.record.bias) == (image.build_id, image.bias)


def _row(
    process: Found,
    image: Image,
    carried: Sequence[tuple[Placed, PatchStatus]],
    wanted: Sequence[PatchFile],
    on_disk: OnDisk,
    by_target: Mapping[str, Sequence[PatchFile]],
) -> Row:
    files = {p.id: p for p in wanted}
    mine = [
        _carried(process, placed, status, files.get(placed.record.id))
        for placed, status in carried
        if status.state in (State.APPLIED, State.PARTIAL, State.INTERRUPTED, State.DAMAGED)
    ]
    known = [_known(p) for p in wanted]
    verdict = judge(known, mine)
    disk, told = _disk(image, on_disk, by_target)
    standing = Standing(verdict.memory, disk)
    if standing.is_lost_at_next_start:
        told = [Cause(Reason.LOST_AT_NEXT_START, f"the file on disk is {disk.value}: lost at the next start")]
    ids = tuple(c.id for c in mine)
    packages = [p.manifest.target.package for p in wanted] + [p.record.package for p, _ in carried]
    return Row(
        process.pid,
        process.command,
        image.path,
        image.build_id,
        image.start,
        standing,
        ids,
        holes(verdict, standing, known),
        (*verdict.causes, *told),
        next((name for name in packages if name), ""),
    )


def _carried(process: Found, placed: Placed, status: PatchStatus, file: PatchFile | None) -> Carried:
    if status.state is State.DAMAGED:
        reason = status.why.text if status.why else ""
    elif file is None:
        reason = ""
    else:
        with limited(process.pid, most_bytes=_MOST_COMPARED, seconds=_COMPARING_SECONDS):  # the patch's size decides
            reason = doubt(process.via, file, placed)
    staying = _old_frames(process, placed, status) if status.relaxed else ""
    is_whole = status.state is State.APPLIED
    return Carried(
        status.id, status.name, status.state.value, is_whole, reason, staying, status.cves, status.companions
    )


def _old_frames(process: Found, placed: Placed, status: PatchStatus) -> str:
    """Who is still in old code, for which the process is stopped for a moment."""
    with Tracee(process.pid) as tracee:
        found = with_old_frames(tracee, status, placed.record).old_frames
        tracee.check_same()
    return found.text if found is not None else ""


def _known(patch: PatchFile) -> Known:
    manifest = patch.manifest
    closes = tuple(closed(manifest.fixes).items())
    return Known(patch.id, manifest.name, manifest.named_cves, manifest.supersedes, _left_out(manifest), closes)


def _left_out(manifest: Manifest) -> tuple[str, ...]:
    """What the fixes change in the binary and the patch does not."""
    refused = manifest.verdict.refused
    parts = [f"{r.file}{f': {r.function}' if r.function else ''}: {r.reason}" for r in refused]
    known = {r.reason for r in refused}
    parts += [a.reason for fix in manifest.fixes for a in fix.ledger.missing if a.reason not in known]
    if not parts and not manifest.is_complete:
        parts.append("lines of which its ledger does not tell what became")
    return tuple(dict.fromkeys(parts))


def _disk(image: Image, now: OnDisk, by_target: Mapping[str, Sequence[PatchFile]]) -> tuple[Disk, list[Cause]]:
    if now.is_missing:
        return Disk.DELETED, [Cause(Reason.DISK_DELETED, "the file was deleted")]
    if not now.build_id:
        return Disk.UNREAD, [Cause(Reason.DISK_UNREAD, f"the file on disk was not read: {now.why}")]
    if now.build_id == image.build_id:
        return Disk.OPEN if now.build_id in by_target else Disk.SAME, []
    new = f"the file on disk is now build-id {now.build_id[:16]}, the process still runs the old one"
    if now.build_id in by_target:
        return Disk.OPEN, [Cause(Reason.DISK_PATCHED, f"{new}; a patch is for that build too")]
    return Disk.REPLACED, [Cause(Reason.DISK_REPLACED, new)]
