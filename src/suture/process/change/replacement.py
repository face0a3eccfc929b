"""One patch in the place of others: which it takes over from, what would be lost by it, and what a process could go
back to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from suture.error import Refused
from suture.number import Address, Bias
from suture.patch.manifest import Manifest, ReplacedFunction
from suture.patch.record import PlacedFunction, Record
from suture.process.memory.placed import Placed, Route
from suture.report.patch import Earlier
from suture.report.reason import Reason


@dataclass(frozen=True)
class Taken:
    """A patch in force that gives way to another; `lost` are the functions that nothing replaces any more then."""

    record: Record
    lost: tuple[str, ...]


def taken_over(
    pid: int,
    identity: str,
    manifest: Manifest,
    bias: Bias,
    here: Sequence[Placed],
    known: Mapping[Address, Route | None],
    replace: bool,
    accept_loss: bool,
) -> list[Taken]:
    """Other patches in force that a patch (its id and manifest) takes over from. Raises Refused when it may not.

    A patch gives way as a whole, since its functions were made to run together. What the new one does not replace goes
    back to the original code: that is a loss, unless the new patch has all fixes of the old one, or names it as
    superseded.
    """
    supersedes = set(manifest.supersedes)
    taken = []
    for record in (p.record for p in here if p.record.id != identity):
        in_force = _in_force(record, known)
        if not in_force:
            continue
        named = record.id in supersedes or record.name in supersedes
        common = [(f.name, g) for f in in_force for g in manifest.functions if _overlap(f.old, f.size, g, bias)]
        crooked = [n for n, g in common if not any((f.old, f.entry) == (g.address + bias, g.entry) for f in in_force)]
        if crooked:
            raise Refused(
                f"pid {pid}: {record.id} replaces {crooked[0]}, with other bounds than this patch",
                f"revert it first: suture revert {record.id} {pid}",
                reason=Reason.BOUNDS,
            )
        if common and not named and not replace:
            names = ", ".join(sorted({name for name, _ in common})[:4])
            raise Refused(
                f"pid {pid}: {names} is already replaced by {record.id} ({record.name})",
                "take its place in one stop with --replace, or revert it first",
                reason=Reason.OVERLAP,
            )
        if common or named:
            new = {g.address + bias for g in manifest.functions}
            lost = tuple(f.name for f in in_force if f.old not in new)
            if lost and not named and not accept_loss and not _has_all_fixes(manifest, record):
                fixes = ", ".join(" ".join((f.name, *f.cves)) for f in record.fixes)
                raise Refused(
                    f"pid {pid}: in place of {record.id} ({record.name}), this patch would take out its "
                    f"{', '.join(lost)}, which it does not replace "
                    f"itself{f'; fixes of that patch: {fixes}' if fixes else ''}",
                    "make one patch of all fixes (suture make --fix OLD --fix NEW), or say that they may go: "
                    "--accept-loss",
                    reason=Reason.LOSS,
                )
            taken.append(Taken(record, lost))
    return taken


def earlier(record: Record, here: Sequence[Placed], known: Mapping[Address, Route | None]) -> tuple[Earlier, ...]:
    """What could take the place of a patch that is reverted, besides the original code."""
    ours = {f.old for f in record.functions}
    rows = [p.record for p in here if p.record.id != record.id and not _in_force(p.record, known)]
    found = {r.id: Earlier(r.id, r.name) for r in rows if any(f.old in ours for f in r.functions)}
    return tuple(found.values())


def refuse_third(pid: int, target: Record, record: Record, known: Mapping[Address, Route | None]) -> None:
    """Raises Refused when functions of `target` belong to another patch than `record`, whose place it is to take."""
    owners = {r.owner for f in target.functions if (r := known.get(f.old)) is not None}
    third = owners - {"", target.id, record.id}
    if third:
        raise Refused(
            f"pid {pid}: functions of {target.id} ({target.name}) belong to {', '.join(sorted(third))} now",
            f"revert that one first: suture revert {min(third)} {pid}",
            reason=Reason.REPLACED,
        )


def _in_force(record: Record, known: Mapping[Address, Route | None]) -> list[PlacedFunction]:
    return [f for f in record.functions if (r := known.get(f.old)) is not None and r.owner == record.id]


def _has_all_fixes(manifest: Manifest, record: Record) -> bool:
    whole = [f for f in manifest.fixes if f.ledger.is_complete]
    names, cves = {f.name for f in whole}, {c for f in whole for c in f.cves}
    return bool(record.fixes) and all(f.name in names or (f.cves and cves >= set(f.cves)) for f in record.fixes)


def _overlap(old: int, size: int, function: ReplacedFunction, bias: Bias) -> bool:
    start = function.address + bias
    return old < start + function.size and start < old + size
