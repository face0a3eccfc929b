"""Livepatch modules for the archive's kernels."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from suture.error import BadOption, ExitCode
from suture.host.described import described
from suture.host.recipient import refuse_for_kernel
from suture.kernel.manifest import KernelPatch, read_patch, unsigned
from suture.make_kernel import request as asked
from suture.make_kernel.make import make
from suture.make_kernel.refusal import KernelRefused
from suture.make_kernel.signature import sign
from suture.maker.maker import (
    Differs,
    MadePatches,
    Wish,
    check_cves,
    check_folder,
    first_difference,
    read_text,
    read_texts,
)
from suture.patch.manifest import plain
from suture.progress import Progress
from suture.report.document import MadePatch, MakeReport, RefusedPart, UntrippedPlace, VerifyReport
from suture.report.moment import now


class Kernels:
    """A `Maker`."""

    def make(self, wish: Wish, output: Path, progress: Progress) -> MadePatches:
        _check(wish)
        unwanted = wish.unwanted
        start = time.monotonic()
        check_folder(output)
        own = wish.kernel
        callbacks = read_text(own.callbacks) if own.callbacks else ""
        request = asked.KernelRequest(
            wish.source,
            read_texts(wish.fixes),
            wish.to,
            wish.only,
            wish.cves,
            callbacks,
            own.replace,
            own.flavour,
            own.reaches,
            wish.tripwires,
            unwanted,
        )
        everything = asked.ready(request, progress)
        prepared = time.monotonic() - start
        try:
            made = make(everything, progress)
        except KernelRefused as problem:
            refused = tuple(RefusedPart(**vars(r)) for r in problem.refused)
            seconds = {"prepare": prepared, "total": time.monotonic() - start}
            return MadePatches(
                MakeReport(now(), int(ExitCode.REFUSED), (), refused, seconds), (), problem.refused, problem
            )
        manifest = made.manifest
        data = sign(made.data, own.sign_key, own.sign_cert) if own.sign_key and own.sign_cert else made.data
        path = output / f"{manifest.module}.ko"
        path.write_bytes(data)
        seconds = {"prepare": prepared, **made.seconds, "total": time.monotonic() - start}
        patch = MadePatch(
            **vars(described(KernelPatch(made.id, manifest, data))),
            path=str(path),
            replaced="",
            safe=manifest.is_complete,
            grade="",
            review=(),
            notes=(*manifest.notes, *manifest.keep),
            ledgers=tuple(plain(asdict(f.ledger)) for f in manifest.fixes),
            tripwires=len(manifest.tripwires),
            untripped=tuple(UntrippedPlace(w.file, w.line, w.reason) for w in manifest.without_tripwire),
        )
        code = ExitCode.OK if manifest.is_complete else ExitCode.PARTIAL
        return MadePatches(MakeReport(now(), int(code), (patch,), (), seconds), (manifest.fixes,), ())

    def verify(self, path: Path, tree: Path | None, binary: Path | None, progress: Progress) -> VerifyReport:
        """A signature is not compared."""
        refuse_for_kernel(
            ("--tree", tree, "leave it out: the source comes from the archive"),
            ("--binary", binary, "leave it out: the image comes from the archive"),
        )
        patch = read_patch(path)
        request = asked.KernelRequest.from_facts(patch.manifest.request)
        again = make(asked.ready(request, progress), progress)
        if again.id != patch.id:
            what = first_difference(unsigned(patch.data), again.data)
            raise Differs(f"{path}: made again it is {again.id}, not {patch.id}: {what}")
        compiler = again.manifest.toolchain["compiler"]
        return VerifyReport(now(), int(ExitCode.OK), patch.id, True, request.source, len(again.data), compiler)


def _check(wish: Wish) -> None:
    refuse_for_kernel(
        ("--fix-from", wish.fix_from, "give --fix FILE, or --to VERSION with --only"),
        ("--file", wish.files, "leave it out: one module holds the changes of vmlinux and of all modules"),
        ("--binary", wish.binary, "leave it out: the image comes from the archive"),
        ("--apart", wish.apart, "leave it out: a kernel takes over a patch as a whole"),
        (
            "--relaxed",
            wish.relaxed,
            "leave it out: livepatch changes each task over when it is in none of the old functions",
        ),
        ("--try", wish.try_out, "leave it out: it runs the programs of a package"),
    )
    if bool(wish.kernel.sign_key) != bool(wish.kernel.sign_cert):
        raise BadOption("a signature needs a key and its certificate", "give --sign-key KEY --sign-cert CERT")
    check_cves(wish.cves)
