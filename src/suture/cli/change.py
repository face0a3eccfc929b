"""What an apply or a revert came to, as lines for people."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from suture.cli.output import print_document, print_table, progress
from suture.cli.unread import unread_lines
from suture.host.recipient import Count
from suture.progress import Progress
from suture.report.change import ChangedProcess
from suture.report.document import ChangeReport
from suture.report.kernel import ChangedKernel
from suture.report.patch import ReportedGroup

_PROGRESS_SECONDS = 0.5
_DETAIL = 60


@contextmanager
def counted(args: argparse.Namespace, doing: str) -> Iterator[Count]:
    """How far a run through many processes has come, twice a second. What is done sooner draws nothing."""
    with ExitStack() as kept:
        last = time.monotonic()
        step: Progress | None = None

        def count(done: int, of: int) -> None:
            nonlocal last, step
            if time.monotonic() - last > _PROGRESS_SECONDS:
                last = time.monotonic()
                step = step or kept.enter_context(progress(args))
                step(f"{doing}: {done} of {of} processes")

        yield count


def print_change(args: argparse.Namespace, change: ChangeReport, nothing: str) -> int:
    """Print what became of each process or of the kernel; `nothing` where there was none. Gives the exit code."""
    if args.json:
        print_document(change)
    elif change.kernel is not None:
        _print_kernel(change.kernel)
    else:
        _print_processes(change, nothing)
    return change.exit_code


def _print_processes(change: ChangeReport, nothing: str) -> None:
    rows = [_row(p) for p in change.processes]
    rows += [(str(f.pid), f.command, "failed", "", f"{f.error} ({f.remedy})") for f in change.failed]
    if rows:
        print_table(("pid", "command", "state", "pause", "detail"), rows)
    else:
        print(nothing)
    for line in (*_summary(change), *unread_lines(change.unread)):
        print(line)
    for note in change.notes if change.processes else ():
        print(f"note: {note}")


def _print_kernel(change: ChangedKernel) -> None:
    print(f"{change.name}: {change.outcome.value} ({change.seconds:.2f} s)")
    for older in change.replaced:
        print(f"in place of {older}")
    for note in change.notes:
        print(f"note: {note}")


def _summary(change: ChangeReport) -> Iterator[str]:
    done = change.processes
    ended = [f"{len(change.ended)} ended meanwhile"] if change.ended else []
    if change.seconds is None or change.scan_seconds is None:
        yield from ended
    elif done or change.failed or change.ended or change.executed:
        pids = {p.pid for p in done}
        part = {p.pid for p in done if not p.is_whole}
        whole, count = len(pids - part), len(pids) + len(change.failed)
        parts = [f"{whole} of {count} processes"]
        parts += [f"{len(part)} in part"] if part else []
        parts += [f"{len(change.failed)} failed"] if change.failed else []
        parts += ended
        parts += [f"{len(change.executed)} executed another program meanwhile"] if change.executed else []
        yield f"{', '.join(parts)}; {change.seconds:.1f} s, {change.scan_seconds:.2f} s of them to find them"


def _row(result: ChangedProcess) -> tuple[str, str, str, str, str]:
    there = [g for g in result.groups if g.state is result.wanted]
    state = result.wanted.value if result.is_whole else f"partial, {len(there)} of {len(result.groups)}"
    if result.never_applied and not result.changed:
        state = "never applied"
    elif not result.changed:
        state += " already"
    detail = [f"{result.name} in the same stop as {', '.join(result.companions)}"] if result.companions else []
    detail += [names_that_fit(dict.fromkeys(f for g in there for f in g.functions))]
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
    return str(result.pid), result.command, state, pause, "; ".join(d for d in detail if d)


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


def _rest(group: ReportedGroup) -> str:
    """What is not as it was wanted."""
    where = f" (the copy at {group.copy:#x})" if group.copy else ""
    return f"{group.name}{where}: {group.state.value}{': ' + group.why.text if group.why else ''}"
