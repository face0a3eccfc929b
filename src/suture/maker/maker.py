"""What makes a patch from the source of a fix, and makes it again to verify it; for binaries or for the kernel."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from suture.error import BadOption, ExitCode, NotFound, SutureError
from suture.host.recipient import read
from suture.kernel.manifest import KernelPatch
from suture.patch.admission import read_bytes
from suture.patch.manifest import BadPatch, FixFact, RefusedFunction
from suture.progress import Progress
from suture.report.document import MakeReport, VerifyReport
from suture.report.reason import Reason

_MOST_TEXT = 1 << 28


class Differs(SutureError):
    """The patch made again has other bytes."""

    exit_code = ExitCode.BAD_PATCH

    def __init__(self, what: str) -> None:
        super().__init__(what, "do not apply this patch", reason=Reason.PATCH_DIFFERS)


@dataclass(frozen=True)
class KernelWish:
    """What is asked for of a kernel patch alone; as `suture make --help` says."""

    flavour: str = ""
    reaches: str = ""
    callbacks: Path | None = None
    replace: bool = False
    sign_key: Path | None = None
    sign_cert: Path | None = None


@dataclass(frozen=True)
class Wish:
    """What is to be made. One of `source` (NAME=VERSION), `subject` (pid:N, path:FILE) and `tree` (with its `binary`)
    tells for what; the rest is as `suture make --help` says."""

    source: str = ""
    subject: str = ""
    tree: Path | None = None
    binary: Path | None = None
    fixes: tuple[Path, ...] = ()
    fix_from: tuple[str, ...] = ()
    to: str = ""
    only: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    cves: tuple[str, ...] = ()
    relaxed: str = ""
    apart: str = ""
    tripwires: bool = False
    no_tripwire: tuple[str, ...] = ()
    try_out: bool = False
    kernel: KernelWish = KernelWish()

    @property
    def unwanted(self) -> tuple[tuple[str, str], ...]:
        """FILE:LINE of each place that is to have no tripwire, and the reason. Raises `BadOption`."""
        if self.no_tripwire and not self.tripwires:
            raise BadOption("--no-tripwire leaves out one of those that --tripwires makes", "give --tripwires too")
        return tuple(_unwanted(word) for word in self.no_tripwire)

    @property
    def is_for_kernel(self) -> bool:
        return self.source.partition("=")[0] == "linux"


def _unwanted(word: str) -> tuple[str, str]:
    place, sign, reason = word.partition("=")
    if not re.fullmatch(r".+:[1-9]\d*", place) or not (sign and reason):
        raise BadOption(f"--no-tripwire {word}: no FILE:LINE=REASON", "suture show PATCH lists files and lines")
    return place, reason


@dataclass(frozen=True)
class MadePatches:
    """What was made: the document, and for each of its patches the fixes with their ledgers. `refused` are parts of
    fixes in none, and `problem` says it where a fix is refused as a whole."""

    document: MakeReport
    fixes: tuple[tuple[FixFact, ...], ...]
    refused: tuple[RefusedFunction, ...]
    problem: SutureError | None = None


class Maker(Protocol):
    """Makes what was wished for; or a patch again, and compares. Both raise `SutureError` where nothing comes out."""

    def make(self, wish: Wish, output: Path, progress: Progress) -> MadePatches:
        """Make patches and write them into the folder `output`. One that is refused as a whole is no error: it is
        told."""

    def verify(self, path: Path, tree: Path | None, binary: Path | None, progress: Progress) -> VerifyReport:
        """Make the patch again, of one's own tree when it was made of one. Raises `Differs`."""


def of_wish(wish: Wish) -> Maker:
    """Who makes it. Raises `BadOption` for wishes that are for a kernel and do not go with another source."""
    if not wish.is_for_kernel:
        if wish.kernel != KernelWish():
            raise BadOption(
                "--flavour, --reaches, --callbacks, --replace, --sign-key and --sign-cert are for kernels",
                "give --source linux=VERSION with them",
            )
        return _for_binaries()
    return _for_kernel()


def of_file(path: Path) -> Maker:
    """Who made a patch, by what the file holds. Raises `NotFound`, `BadPatch`, `Unreadable`."""
    return _for_kernel() if isinstance(read(path), KernelPatch) else _for_binaries()


def _for_binaries() -> Maker:
    from suture.maker.binary import Binaries

    return Binaries()


def _for_kernel() -> Maker:
    from suture.maker.kernel import Kernels

    return Kernels()


def check_cves(words: Sequence[str]) -> None:
    """Raises `BadOption` for what is no CVE number."""
    for word in words:
        if not re.fullmatch(r"CVE-\d{4}-\d{4,}", word):
            raise BadOption(f"--cve {word}: no CVE number", "give one like --cve CVE-2025-6021")


def check_folder(path: Path) -> None:
    """Raises `NotFound` for a folder that files cannot be written into, before minutes are spent on them."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as problem:
        raise NotFound(
            f"{path}: {problem.strerror}", "give a folder that you may write to with --output DIR"
        ) from problem


def read_texts(paths: Sequence[Path]) -> tuple[tuple[str, str], ...]:
    """Names and texts of fixes."""
    return tuple((path.name, read_text(path)) for path in paths)


def read_text(path: Path) -> str:
    """A text file that the user names, never waiting for a pipe or a device."""
    remedy = "give the path of a plain file"
    if not path.exists() and not path.is_symlink():
        raise NotFound(f"{path}: no such file", "give the path of a patch made by `diff -u` or `git diff`")
    try:
        # bytes, not text: line ends must reach `patch` as they are
        return read_bytes(path, _MOST_TEXT).decode(errors="surrogateescape")
    except (BadPatch, NotFound) as problem:
        raise NotFound(problem.what.replace("no such patch file", "no such file"), remedy) from problem


def first_difference(a: bytes, b: bytes) -> str:
    """Where two files begin to differ."""
    n = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return f"the first difference is at byte {n} of {len(a)} and {len(b)}"
