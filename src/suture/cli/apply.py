"""`suture apply`: put a live patch into running processes."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from suture.cli import number
from suture.cli.ledger import spread_notes
from suture.cli.output import print_json, print_table, progress
from suture.cli.unread import unread_lines
from suture.error import ExitCode
from suture.patch.admission import admit
from suture.patch.file import PatchFile, read_patch
from suture.patch.main_loop import endless_notes
from suture.process.change.apply import GroupResult, Prepared, Result, apply, prepare
from suture.process.change.fitting import fitting_images
from suture.process.everywhere import Everywhere, Failure, Outcome, Report, apply_everywhere, in_each
from suture.process.memory.maps import read_maps
from suture.process.see.aside import alone, named
from suture.process.see.find import Unread, find
from suture.process.see.population import Population
from suture.process.tracee import Tracee, command_name

_PROGRESS_SECONDS = 0.5
_DETAIL = 60

HELP = """\
Put a live patch into running processes. Nothing is loaded into them, nothing is restarted; the only pause is the moment in
which all threads are stopped while the entries of the old functions are rewritten. Without a pid: every process that runs the
binary that the patch is for, in every container, found by its build-id in memory; those that start meanwhile are found by
looking again. A process whose threads stay inside a function to be replaced is
left as it was (busy), or gets the groups of the patch that are free (partial). The file must be whole, root's (or one's own), and
nobody else may be able to write it."""
EXAMPLES = (
    "# all processes that run the binary the patch is for",
    "suture apply libssl.suture.o",
    "# one process; only tell what would be written",
    "suture apply libssl.suture.o 812 --dry-run",
    "# a kernel patch: load it and wait until every task has changed over",
    "suture apply suture_cve_2026_12345_0a1b2c3d.ko --timeout 60",
    "# take the place of an earlier patch of the same functions in one stop",
    "suture apply new.suture.o 812 --replace",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.REFUSED,
    ExitCode.BUSY,
    ExitCode.PARTIAL,
    ExitCode.BAD_PATCH,
    ExitCode.WRONG_TARGET,
    ExitCode.NO_PROCESS,
    ExitCode.NO_PERMISSION,
    ExitCode.NOT_FOUND,
    ExitCode.UNSUPPORTED,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("patch", type=Path, help="the live patch, a .suture.o file")
    parser.add_argument("pid", type=number.pid, nargs="*", help="processes (default: all that run the patch's target)")
    parser.add_argument(
        "--timeout",
        type=number.seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for threads that are inside (10)",
    )
    parser.add_argument(
        "--jobs", type=number.jobs, metavar="N", help="processes at a time (as many as there are processor cores)"
    )
    parser.add_argument("--replace", action="store_true", help="take over functions that another patch has replaced")
    parser.add_argument(
        "--accept-partial",
        action="store_true",
        help="apply a patch that does not hold all of its fix (suture show tells)",
    )
    parser.add_argument(
        "--accept-unproved", action="store_true", help="apply a patch without a proof that it fits the binary"
    )
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="take the place of patches with fixes that this one does not have",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be written, change nothing")
    parser.add_argument(
        "--at-boot", action="store_true", help="a kernel patch: load it again at each boot of its kernel (systemd)"
    )


def run(args: argparse.Namespace) -> int:
    if args.patch.suffix == ".ko":
        from suture.cli import kernel

        return kernel.apply(args)
    if args.at_boot:
        from suture.cli.kernel import BadKernelOption

        raise BadKernelOption("--at-boot is for kernel patches", "processes load their files anew: fix the file too")
    patch = read_patch(args.patch, owned=True)
    manifest = patch.manifest
    admit(
        str(args.patch),
        is_complete=manifest.is_complete,
        is_proved=bool(manifest.proof.units),
        missing=manifest.missing,
        accept_partial=args.accept_partial,
        accept_unproved=args.accept_unproved,
    )
    target = manifest.target
    if args.dry_run:
        return _dry_run(args, patch, args.pid or find(target.build_id))
    nothing = f"no process runs {target.file} {target.build_id}"
    notes = spread_notes(manifest.fixes)
    if len(args.pid) == 1:
        pid = args.pid[0]
        one = partial(apply, pid, patch, timeout=args.timeout, replace=args.replace, accept_loss=args.accept_loss)
        return report(args, [one() if args.debug else alone(pid, one, args.timeout)], nothing, notes=notes)
    with counted(args, "applying") as count:
        if args.pid:
            change = partial(_apply, patch, args.replace, args.accept_loss)
            outcomes = in_each(args.pid, change, timeout=args.timeout, jobs=args.jobs, report=count)
            return report(args, outcomes, nothing, notes=notes)
        run = apply_everywhere(
            patch,
            timeout=args.timeout,
            replace=args.replace,
            accept_loss=args.accept_loss,
            jobs=args.jobs,
            report=count,
        )
    return report(args, run.outcomes, nothing, run, notes=notes)


def _apply(
    patch: PatchFile, replace: bool, accept_loss: bool, pid: int, seconds: float, population: Population
) -> Result:
    return apply(pid, patch, timeout=seconds, replace=replace, accept_loss=accept_loss, population=population)


@contextmanager
def counted(args: argparse.Namespace, doing: str) -> Iterator[Report]:
    """How far a run through many processes has come, twice a second."""
    with progress(args) as step:
        last = time.monotonic()

        def count(done: int, of: int) -> None:
            nonlocal last
            if time.monotonic() - last > _PROGRESS_SECONDS:
                last = time.monotonic()
                step(f"{doing}: {done} of {of} processes")

        yield count


def report(
    args: argparse.Namespace,
    outcomes: Sequence[Outcome],
    nothing: str,
    run: Everywhere | None = None,
    unread: Sequence[Unread] = (),
    notes: Sequence[str] = (),
) -> int:
    """Print what became of each process; the exit code tells all, some or none. `unread` may be among those meant. `notes` are
    printed where something was done."""
    unread = run.unread if run else unread
    done = [o for o in outcomes if isinstance(o, Result)]
    failed = [o for o in outcomes if isinstance(o, Failure)]
    if args.json:
        more = (
            {"ended": run.ended, "executed": run.executed, "scan_seconds": run.scan_seconds, "seconds": run.seconds}
            if run
            else {}
        )
        told = {"notes": notes} if notes and done else {}
        print_json({"processes": done, "failed": failed, "unread": unread, **more, **told})
    elif not outcomes:
        print(nothing)
    else:
        rows = [_row(r) for r in done]
        rows += [(str(f.pid), f.command, "failed", "", f"{f.error} ({f.remedy})") for f in failed]
        print_table(("pid", "command", "state", "pause", "detail"), rows)
    if not args.json:
        for line in (*(_summary(run, done, failed) if run else ()), *unread_lines(unread)):
            print(line)
        for note in notes if done else ():
            print(f"note: {note}")
    if failed and not any(r.exit_code is ExitCode.OK or r.changed for r in done):
        return failed[0].exit_code if len({f.exit_code for f in failed}) == 1 else ExitCode.REFUSED
    if failed or unread or any(r.exit_code is not ExitCode.OK for r in done):
        return ExitCode.PARTIAL
    return ExitCode.OK


def _summary(run: Everywhere, done: Sequence[Result], failed: Sequence[Failure]) -> Iterator[str]:
    if run.outcomes or run.ended or run.executed:
        whole = sum(r.exit_code is ExitCode.OK for r in done)
        parts = [f"{whole} of {len(run.outcomes)} processes"]
        parts += [f"{len(done) - whole} in part"] if len(done) > whole else []
        parts += [f"{len(failed)} failed"] if failed else []
        parts += [f"{len(run.ended)} ended meanwhile"] if run.ended else []
        parts += [f"{len(run.executed)} executed another program meanwhile"] if run.executed else []
        yield f"{', '.join(parts)}; {run.seconds:.1f} s, {run.scan_seconds:.2f} s of them to find them"


def _row(result: Result) -> tuple[str, str, str, str, str]:
    there = [g for g in result.groups if g.state is result.wanted]
    state = (
        result.wanted.value if len(there) == len(result.groups) else f"partial, {len(there)} of {len(result.groups)}"
    )
    if result.never_applied and not result.changed:
        state = "never applied"
    elif not result.changed:
        state += " already"
    detail = [names_that_fit(dict.fromkeys(f for g in there for f in g.functions))]
    copies = {g.copy for g in result.groups}
    detail += [f"{len({g.copy for g in there})} of {len(copies)} copies"] if len(copies) > 1 else []
    detail += [_rest(g) for g in result.groups if g not in there]
    if result.replaced:
        detail.append(f"in place of {', '.join(result.replaced)}")
    if result.lost:
        detail.append(f"no longer patched: {names_that_fit(result.lost)}")
    if result.earlier:
        detail.append("the original code is in force")
    for other in result.earlier:
        again = f"suture revert {result.patch} {result.pid} --to {other.id}"
        detail.append(f"{other.id} ({other.name}) is there too: {again} puts it in force")
    if result.old_frames is not None:
        detail.append(result.old_frames.text or "nobody is in old code")
    if result.suspended_stacks:
        detail.append(f"{result.suspended_stacks} suspended stacks searched")
    pause = f"{result.pauses_us[-1]:.0f} us" if result.pauses_us else "-"
    if len(result.pauses_us) > 1:
        pause += f" (of {len(result.pauses_us)} stops)"
    return str(result.pid), command_name(result.pid), state, pause, "; ".join(d for d in detail if d)


def names_that_fit(names: Iterable[str]) -> str:
    """As many names as there is room for, and how many more there are."""
    rows = list(names)
    shown: list[str] = []
    for name in rows:
        if shown and len(", ".join([*shown, name])) > _DETAIL:
            break
        shown.append(name)
    more = f" and {len(rows) - len(shown)} more" if len(shown) < len(rows) else ""
    return ", ".join(shown) + more


def _rest(group: GroupResult) -> str:
    """What is not as it was wanted."""
    where = f" (the copy at {group.copy:#x})" if group.copy else ""
    return f"{group.name}{where}: {group.state.value}{': ' + group.why if group.why else ''}"


def _dry_run(args: argparse.Namespace, patch: PatchFile, pids: list[int]) -> int:
    def planned(pid: int) -> list[tuple[str, str, str, str]]:
        with Tracee(pid) as tracee:
            maps = read_maps(tracee.via)
            found = []
            for image in fitting_images(tracee, maps, patch):
                found += _plan_rows(pid, prepare(tracee, maps, patch, args.replace, image, args.accept_loss))
            return found

    rows = [row for pid in pids for row in named(pid, partial(planned, pid))]
    notes = [*endless_notes(patch.manifest.verdict.notes), *spread_notes(patch.manifest.fixes)]
    if args.json:
        steps = [dict(zip(("pid", "address", "bytes", "what"), r, strict=True)) for r in rows]
        print_json({"steps": steps, "notes": notes})
    else:
        print_table(("pid", "address", "bytes", "what"), rows)
        for note in notes:
            print(f"note: {note}")
    return ExitCode.OK


def _plan_rows(pid: int, prepared: Prepared) -> list[tuple[str, str, str, str]]:
    linked = prepared.linked
    rows = []
    if prepared.existing is None and prepared.transitions:
        base = linked.record.base
        rows.append((str(pid), f"{base:#x}", f"{len(linked.text)} r-x", "new memory: record, code, constants, stubs"))
        rows.append(
            (str(pid), f"{base + len(linked.text):#x}", f"{len(linked.data)} rw-", "new memory: switches, data")
        )
    present = {linked.record.base: linked.text, linked.record.base + len(linked.text): linked.data}

    def planned(address: int, size: int) -> bytes:
        for start, data in present.items():
            if start <= address < start + len(data):
                return data[address - start : address - start + size]
        return b""

    first = (prepared.registration,) if prepared.registration and prepared.transitions else ()
    for transition in (*first, *prepared.transitions):
        rows += [(str(pid), f"{s.address:#x}", s.data.hex(), s.what) for s in transition.steps(planned)]
    return rows
