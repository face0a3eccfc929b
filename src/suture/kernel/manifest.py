"""What a kernel patch says of itself: the section `.suture.manifest` of the module, JSON with sorted keys. Standard
library only."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from suture.elf.file import BadElf, ElfFile
from suture.error import Unsupported
from suture.match.proof import MatchedUnit, ProvenSymbol
from suture.number import BuildId, Vaddr
from suture.patch.admission import read_bytes
from suture.patch.field import Reader, members, text
from suture.patch.manifest import FORMAT, LATER, OWN, BadPatch, FixFact, closed, plain, read_manifest, read_request
from suture.patch.seal import check_seal
from suture.patch.tripwire import Tripwire, WithoutTripwire
from suture.report.reason import Reason

SECTION = ".suture.manifest"
_MAX_SIZE = 64 << 20
_KIND = "kernel"
_LONGEST_NAME = 55  # MODULE_NAME_LEN of include/linux/moduleparam.h, and its end
_MODULE = re.compile(rf"[A-Za-z0-9_]{{1,{_LONGEST_NAME}}}")


@dataclass(frozen=True)
class KernelTarget:
    """`release` is what `uname -r` says, `version` the source's; `build_id` vmlinux's GNU build-id
    (/sys/kernel/notes)."""

    release: str
    version: str
    build_id: BuildId


@dataclass(frozen=True)
class KernelFunction:
    """A replaced function: its object (vmlinux or a module), name, position among equal names, link-time address, size
    in bytes."""

    object: str
    name: str
    position: int
    address: Vaddr
    size: int
    source: str


@dataclass(frozen=True)
class KernelManifest:
    """`module` is the kernel's name of the patch; `keep` why it can't be unloaded after use; `replace` that it takes
    the place of all others.

    `effective` is the version whose fixes are in; `objects` the build-ids of patched modules. `tripwires` count
    attempts, and `without_tripwire` is what rejects something uncounted; both are empty in a patch that was made
    without them. The offset of a tripwire is that of its count in the module's parameter, eight bytes each.
    """

    module: str
    target: KernelTarget
    fixes: tuple[FixFact, ...]
    functions: tuple[KernelFunction, ...]
    effective: str
    replace: bool
    keep: tuple[str, ...]
    notes: tuple[str, ...]
    objects: dict[str, str]
    units: tuple[MatchedUnit, ...]
    symbols: tuple[ProvenSymbol, ...]
    toolchain: dict[str, str] = field(default_factory=dict)
    request: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tripwires: tuple[Tripwire, ...] = ()
    without_tripwire: tuple[WithoutTripwire, ...] = ()

    @property
    def cves(self) -> tuple[str, ...]:
        """What the patch closes: CVEs of which no line of any fix for them is missing."""
        return tuple(closed(self.fixes))

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the fixes is missing."""
        return all(f.ledger.is_complete for f in self.fixes)

    def to_json(self) -> bytes:
        """Canonical JSON in ASCII."""
        own = {k: v for k, v in plain(asdict(self)).items() if v or k not in LATER}
        top = {"format": FORMAT, "kind": _KIND, **own}
        return json.dumps(top, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class KernelPatch:
    """A patch module's file. `id` is the first 16 hex digits of its SHA-256 without an appended signature; `build_id`
    the module's own."""

    id: str
    manifest: KernelManifest
    data: bytes
    build_id: str = ""


_KLP_RELA = ".klp.rela."
_AT_ONCE = "vmlinux"  # its section is applied when the module is loaded
_SIGNED = b"~Module signature appended~\n"


def read_patch(path: Path, *, owned: bool = False) -> KernelPatch:
    """Read a patch module; with `owned` only one that nobody but root or the caller could have written.

    Raises `NotFound`, `BadPatch`, `NotOwned`, `Unreadable`.
    """
    return parse_patch(read_bytes(path, _MAX_SIZE, owned=owned), str(path))


def parse_patch(data: bytes, name: str) -> KernelPatch:
    """Raises `BadPatch`."""
    try:
        elf = ElfFile(data, name)
        section = elf.section(SECTION)
        if section is None:
            raise BadPatch(name, "a kernel module, but none that Suture made", reason=Reason.PATCH_FOREIGN)
        check_seal(unsigned(data), name)
        build_id = elf.build_id or ""
        manifest = read_manifest(elf.bytes_of(section), name, KernelManifest, _READER, kind=_KIND, later=LATER)
        for name_of_section in unfilled(elf, manifest):
            raise BadPatch(
                name, f"the kernel would never fill in the references of {name_of_section}: make the patch again"
            )
    except (BadElf, Unsupported) as problem:
        raise BadPatch(name, f"no kernel module: {problem.what}", reason=Reason.PATCH_FOREIGN) from problem
    return KernelPatch(identity(data), manifest, data, build_id)


def unfilled(elf: ElfFile, manifest: KernelManifest) -> list[str]:
    """Livepatch's relocation sections of objects that are not patched, which the kernel passes over in silence
    (klp_apply_section_relocs)."""
    objects = {_AT_ONCE, *(f.object for f in manifest.functions)}
    names = [s.name for s in elf.sections if s.name.startswith(_KLP_RELA)]
    return [n for n in names if n.removeprefix(_KLP_RELA).split(".")[0] not in objects]


def identity(data: bytes) -> str:
    """The patch's id: a signature of whoever installs it does not make it another patch."""
    return hashlib.sha256(unsigned(data)).hexdigest()[:16]


def unsigned(data: bytes) -> bytes:
    """A module without its appended signature (scripts/sign-file.c: signature, struct module_signature, magic)."""
    if not data.endswith(_SIGNED) or len(data) < len(_SIGNED) + 12:
        return data
    end = len(data) - len(_SIGNED) - 12
    length = int.from_bytes(data[end + 8 : end + 12], "big")
    return data[: end - length] if 0 < length < end else data


def _module_name(value: Any) -> str:
    """The kernel and we make paths of it."""
    name = text(value)
    if not _MODULE.fullmatch(name):
        raise ValueError(f"{name[:_LONGEST_NAME]!r} is no name of a module")
    return name


def _module_names(value: Any) -> dict[str, str]:
    return {_module_name(k): text(v) for k, v in members(value).items()}


_READER = Reader(
    OWN
    | {
        (KernelManifest, "module"): _module_name,
        (KernelManifest, "objects"): _module_names,
        (KernelManifest, "request"): read_request,
        (KernelFunction, "object"): _module_name,
    }
)
