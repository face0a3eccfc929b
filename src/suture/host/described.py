"""A patch file as reports name it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from suture.error import ExitCode
from suture.kernel.manifest import KernelPatch
from suture.patch.file import PatchFile
from suture.patch.manifest import FixFact, Manifest, closed
from suture.report.document import ShowReport
from suture.report.moment import now
from suture.report.patch import Patch, PatchKind


def described(patch: PatchFile | KernelPatch) -> Patch:
    """Everything that a report says of a patch file, of either kind."""
    return _of_kernel(patch) if isinstance(patch, KernelPatch) else of_manifest(patch.id, patch.manifest)


def shown(patch: PatchFile | KernelPatch) -> ShowReport:
    """The whole of a patch file."""
    manifest = json.loads(patch.manifest.to_json())
    return ShowReport(now(), int(ExitCode.OK), described(patch), manifest)


def of_manifest(identity: str, manifest: Manifest) -> Patch:
    """A patch for a binary."""
    target = manifest.target
    return Patch(
        identity,
        manifest.name,
        PatchKind.PROCESS,
        target.file,
        "",
        target.build_id,
        target.package,
        target.source,
        target.version,
        manifest.cves,
        manifest.shared_cves,
        manifest.named_cves,
        tuple(f.name for f in manifest.fixes),
        tuple(f.name for f in manifest.functions),
        manifest.is_complete,
    )


def _of_kernel(patch: KernelPatch) -> Patch:
    manifest = patch.manifest
    target = manifest.target
    return Patch(
        patch.id,
        manifest.module,
        PatchKind.KERNEL,
        "",
        target.release,
        target.build_id,
        "",
        "linux",
        target.version,
        tuple(c for c, others in closed(manifest.fixes).items() if not others),
        {c: others for c, others in closed(manifest.fixes).items() if others},
        _named(manifest.fixes),
        tuple(f.name for f in manifest.fixes),
        tuple(f"{f.object}:{f.name}" for f in manifest.functions),
        manifest.is_complete,
    )


def _named(fixes: Iterable[FixFact]) -> tuple[str, ...]:
    rows = list(fixes)
    return tuple(sorted({c for f in rows for c in (*f.cves, *(n.cve for n in f.named if n.is_part))}))


def spread_notes(fixes: Iterable[FixFact], given: Collection[str] = ()) -> tuple[str, ...]:
    """What is told, when patches are applied, of fixes that change other binaries too than those `given`."""
    return tuple(
        dict.fromkeys(
            f"{fix.name} changes {', '.join(others)} too: give the patches of both to one suture apply; until both are "
            "in force, a process that has loaded both executes half of the fix"
            for fix in fixes
            if (others := [o for o in fix.ledger.others if o not in given])
        )
    )
