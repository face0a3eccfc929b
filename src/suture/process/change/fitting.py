"""The images of a process that a patch is for: by build-id, and by where their code is."""

from __future__ import annotations

from suture.error import Refused, Unsupported
from suture.number import BuildId, Vaddr, in_process
from suture.patch.file import PatchFile
from suture.patch.manifest import Target
from suture.process.error import WrongTarget
from suture.process.memory.image import Image, images, is_32_bit
from suture.process.memory.maps import Maps
from suture.process.tracee import Tracee
from suture.refusal import RESTART
from suture.report.reason import Reason


def fitting_images(tracee: Tracee, maps: Maps, patch: PatchFile) -> list[Image]:
    """The images to be patched: more than one where the binary is loaded again (dlmopen, the same bytes under another
    path).

    Raises WrongTarget when there is none, Unsupported for a 32-bit process.
    """
    target = patch.manifest.target
    if is_32_bit(tracee.via):
        raise Unsupported(
            f"pid {tracee.pid}: is a 32-bit process, the patch is for {target.architecture}",
            RESTART,
            reason=Reason.BITS_32,
        )
    present = images(tracee.via, maps)
    found = [i for i in present if i.build_id == target.build_id]
    if not found:
        raise NotLoaded(tracee.pid, _instead(present, maps, target), target, _others(present, target))
    fitting = [i for i in found if all(_is_code(maps, i, f.address, f.size) for f in patch.manifest.functions)]
    if not fitting:
        raise WrongTarget(
            f"pid {tracee.pid}: {found[0].path} claims build-id {target.build_id} but does not have all of its code "
            "loaded",
            "look at the process by hand; its image is not what it says",
            reason=Reason.CODE_MISSING,
        )
    return fitting


class NotLoaded(WrongTarget):
    """The process has not loaded the binary. `builds` are other builds of it that the process has loaded."""

    def __init__(self, pid: int, instead: str, target: Target, builds: frozenset[BuildId]) -> None:
        super().__init__(
            f"pid {pid}: {instead}, the patch is for {_named(target)}",
            f"make the patch for what runs: suture make --for pid:{pid}",
            reason=Reason.BUILD_DIFFERS,
        )
        self.builds = builds


def refuse_shared(tracee: Tracee, maps: Maps, patch: PatchFile, image: Image) -> None:
    """Raises Refused where an entry lies in a shared mapping: writing there would write the file, for every process."""
    for f in patch.manifest.functions:
        mapping = maps.at(in_process(f.address, image.bias))
        if mapping is not None and not mapping.private:
            raise Refused(
                f"pid {tracee.pid}: {f.name} lies in a shared mapping of {mapping.path} at {mapping.start:#x}, where "
                "an entry cannot be written without writing the file",
                RESTART,
                reason=Reason.SHARED_MAPPING,
            )


def _is_code(maps: Maps, image: Image, address: Vaddr, size: int) -> bool:
    at = maps.at(in_process(address, image.bias))
    return image.holds(address, size) and at is not None and at.executable


def _named(target: Target) -> str:
    version = f" ({target.package} {target.version})" if target.package and target.version else ""
    return f"{target.file} {target.build_id}{version}"


def _others(present: list[Image], target: Target) -> frozenset[BuildId]:
    """Other builds of the binary, as the names of images tell."""
    stem = target.file.split(".so")[0]
    return frozenset(i.build_id for i in present if i.path.rsplit("/", 1)[-1].split(".so")[0] == stem)


def _instead(present: list[Image], maps: Maps, target: Target) -> str:
    """What the process has in the place of the binary."""
    stem = target.file.split(".so")[0]
    near = next((i for i in present if i.path.rsplit("/", 1)[-1].startswith(stem)), None)
    if near is not None:
        return f"{near.path} has build-id {near.build_id}"
    odd = next((m for m in maps.mappings if m.executable and m.path.rsplit("/", 1)[-1].startswith(stem)), None)
    if odd is not None:
        return f"{odd.path} has no ELF header with a build-id in memory"
    return f"it has no {target.file} loaded"
