"""Whether a patch fits the running kernel: everything that can be known before anything is loaded. Pure, but for
`facts`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from suture.error import ExitCode, Refused, SutureError, Unsupported
from suture.kernel.livepatch import SYS, LoadedPatch, build_id, module_build_ids, patches
from suture.kernel.manifest import KernelPatch, unsigned
from suture.number import BuildId
from suture.report.reason import Reason

_DIED, _FORCED = 1 << 7, 1 << 1  # Documentation/admin-guide/tainted-kernels.rst


class WrongKernel(SutureError):
    """The patch is for another kernel."""

    exit_code = ExitCode.WRONG_TARGET


class InTransition(SutureError):
    """The kernel is on its way from one state to another."""

    exit_code = ExitCode.BUSY


@dataclass(frozen=True)
class KernelFacts:
    """What the running kernel is. `lockdown` is none, integrity or confidentiality; `modules` build-ids of loaded
    ones."""

    release: str
    build_id: BuildId
    livepatch: bool
    lockdown: str
    signatures: bool
    taint: int
    modules: Mapping[str, str]
    patches: tuple[LoadedPatch, ...]


def facts(modules: tuple[str, ...] = (), sys: Path = SYS, proc: Path = Path("/proc")) -> KernelFacts:
    """Read them."""
    return KernelFacts(
        os.uname().release,
        build_id(sys),
        (sys / "kernel/livepatch").is_dir(),
        _lockdown(_text(sys / "kernel/security/lockdown")),
        _text(sys / "module/module/parameters/sig_enforce") == "Y",
        int(_text(proc / "sys/kernel/tainted") or 0),
        module_build_ids(modules, sys),
        patches(sys),
    )


@dataclass(frozen=True)
class Loss:
    """What a patch in force has and the cumulative one that is to take its place has not."""

    patch: str
    fixes: tuple[str, ...]
    cves: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"{', '.join(self.fixes)} of {self.patch}" + (f" ({', '.join(self.cves)})" if self.cves else "")


def losses(patch: KernelPatch, patches: Iterable[LoadedPatch]) -> tuple[Loss, ...]:
    """Fixes and CVEs that would be open again once a cumulative patch is in force."""
    if not patch.manifest.replace:
        return ()
    fixes, cves = {f.name for f in patch.manifest.fixes}, set(patch.manifest.cves)
    rows = [
        Loss(p.name, tuple(f for f in p.fixes if f not in fixes), tuple(c for c in p.cves if c not in cves))
        for p in patches
        if p.enabled and p.is_ours and p.name != patch.manifest.module
    ]
    return tuple(r for r in rows if r.fixes or r.cves)


def check(patch: KernelPatch, here: KernelFacts, accept_loss: bool = False) -> tuple[str, ...]:
    """Notes on what to know; raises with the reason why the patch must not be loaded."""
    manifest = patch.manifest
    target = manifest.target
    if here.release != target.release or (here.build_id and here.build_id != target.build_id):
        same = here.release == target.release
        what = f"build-id {here.build_id}" if same else here.release
        raise WrongKernel(
            f"the running kernel is {what}, the patch is for {target.build_id if same else target.release}",
            f"make one for the running kernel; this is for linux {target.version}",
            reason=Reason.KERNEL_DIFFERS,
        )
    if not here.livepatch:
        raise Unsupported(
            "the running kernel has no live patching",
            "boot a kernel with CONFIG_LIVEPATCH=y",
            reason=Reason.NO_LIVEPATCH,
        )
    _signature(patch, here)
    if here.taint & (_DIED | _FORCED):
        why = "has had an oops or BUG" if here.taint & _DIED else "has a module that was loaded by force"
        raise Refused(
            f"the running kernel {why} (tainted {here.taint})",
            "its memory can't be trusted: reboot it",
            reason=Reason.KERNEL_TAINTED,
        )
    _overlaps(patch, here)
    lost = losses(patch, here.patches)
    if lost and not accept_loss:
        raise Refused(
            f"{manifest.module} takes the place of all earlier patches and would lose "
            f"{'; '.join(x.text for x in lost)}",
            "make it with these fixes too (suture make ... --fix FILE --replace), or say that they may go: "
            "--accept-loss",
            reason=Reason.LOSS,
        )
    for name, wanted in manifest.objects.items():
        known = here.modules.get(name, "")
        if known and wanted and known != wanted:
            raise WrongKernel(
                f"the loaded module {name} has build-id {known}, the patch is for {wanted}",
                "it comes from elsewhere (DKMS, another package); make no patch for it, or load the archive's",
                reason=Reason.MODULE_DIFFERS,
            )
    return (*(f"lost: {x.text}" for x in lost), *_notes(patch, here))


def _signature(patch: KernelPatch, here: KernelFacts) -> None:
    enforced = here.signatures or here.lockdown in ("integrity", "confidentiality")
    if enforced and unsigned(patch.data) == patch.data:
        why = f"is locked down ({here.lockdown})" if here.lockdown != "none" else "enforces module signatures"
        raise Refused(
            f"the running kernel {why} and the patch is not signed",
            "sign it with a key that the kernel trusts: suture make ... --sign-key KEY --sign-cert CERT",
            reason=Reason.UNSIGNED,
        )


def _overlaps(patch: KernelPatch, here: KernelFacts) -> None:
    own = {(f.object, f.name) for f in patch.manifest.functions}
    for loaded in here.patches:
        if loaded.transition:
            raise InTransition(
                f"{loaded.name} is {loaded.state}",
                "wait for it (suture status --kernel), or turn it round: suture revert",
                reason=Reason.BUSY_TRANSITION,
            )
        if loaded.name == patch.manifest.module or not loaded.enabled:
            continue
        common = sorted({f"{o}:{n}" for o, n, _ in loaded.functions if (o, n) in own})
        if common and not patch.manifest.replace:
            raise Refused(
                f"{loaded.name} has replaced {', '.join(common[:5])} already; this patch would undo its fix",
                "make one patch of all fixes: suture make ... --fix OLD --fix NEW --replace",
                reason=Reason.OVERLAP,
            )
        if patch.manifest.replace and not loaded.is_ours:
            raise Refused(
                f"{loaded.name} is another maker's live patch; a patch made with --replace would end it",
                "revert it by its own means first, or make this patch without --replace",
                reason=Reason.FOREIGN_PATCH,
            )


def _notes(patch: KernelPatch, here: KernelFacts) -> tuple[str, ...]:
    notes = []
    for name in patch.manifest.objects:
        if name not in here.modules:
            notes.append(f"{name} is not loaded: its functions are replaced when it comes")
        else:
            notes.append(f"{name} can't be removed and loaded again while the patch is loaded (Linux before 6.3)")
    return tuple(notes)


def _lockdown(text: str) -> str:
    """`none [integrity] confidentiality` gives integrity."""
    return next((w.strip("[]") for w in text.split() if w.startswith("[")), "none")


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
