"""Patches for binaries: of packages that the archive ships, and of a tree of one's own."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from suture.error import ExitCode, Refused
from suture.host.described import of_manifest
from suture.make.make import Making, make, write
from suture.make.request import BadRequest, Ready, Request, ready
from suture.maker.maker import Differs, MadePatches, Wish, check_cves, check_folder, first_difference, read_texts
from suture.maker.subject import find
from suture.match.run import Run
from suture.patch.file import read_patch
from suture.patch.manifest import plain
from suture.progress import Progress
from suture.report.document import MadePatch, MakeReport, RefusedPart, ReviewedPart, UntrippedPlace, VerifyReport
from suture.report.moment import now
from suture.trial.result import reached_by
from suture.trial.trial import Candidate, try_patches


class Binaries:
    """A `Maker`."""

    def make(self, wish: Wish, output: Path, progress: Progress) -> MadePatches:
        start = time.monotonic()
        check_folder(output)
        request = _request(wish, read_texts(wish.fixes), progress)
        everything = ready(request, progress)
        prepared = time.monotonic() - start
        making = make(
            everything.tree, everything.shipped, everything.fixes, request.facts(), progress, everything.beside
        )
        if wish.try_out:
            request, making = _without_noise(request, everything, making, progress)
        written = [write(made, output) for made in making.patches]
        seconds = {
            **making.seconds,
            "prepare": making.seconds.get("prepare", 0.0) + prepared,
            "total": time.monotonic() - start,
        }
        manifests = [made.manifest for made in making.patches]
        patches = tuple(
            MadePatch(
                **vars(of_manifest(made.id, made.manifest)),
                path=str(one.path),
                replaced=one.replaced,
                safe=made.manifest.verdict.safe,
                grade=made.manifest.grade.value,
                review=tuple(ReviewedPart(r.file, r.function, r.kind, r.what) for r in made.manifest.verdict.review),
                notes=made.manifest.verdict.notes,
                ledgers=tuple(plain(asdict(f.ledger)) for f in made.manifest.fixes),
                tripwires=len(made.manifest.tripwires),
                untripped=tuple(UntrippedPlace(w.file, w.line, w.reason) for w in made.manifest.without_tripwire),
            )
            for made, one in zip(making.patches, written, strict=True)
        )
        code = ExitCode.OK if making.is_complete else ExitCode.PARTIAL
        refused = tuple(RefusedPart(**vars(r)) for r in making.refused)
        document = MakeReport(now(), int(code if patches else ExitCode.REFUSED), patches, refused, seconds)
        return MadePatches(document, tuple(m.fixes for m in manifests), tuple(making.refused))

    def verify(self, path: Path, tree: Path | None, binary: Path | None, progress: Progress) -> VerifyReport:
        """Raises also `Refused` for a patch of a tree that is not named, or lies elsewhere than it lay."""
        patch = read_patch(path)
        target = patch.manifest.target
        request = _trusted(Request.from_facts(patch.manifest.request, target.file), path, tree, binary)
        everything = ready(request, progress)
        making = make(
            everything.tree, everything.shipped, everything.fixes, request.facts(), progress, everything.beside
        )
        again = next((m for m in making.patches if m.manifest.target.build_id == target.build_id), None)
        if again is None or again.id != patch.id:
            # what the manifest says, since `request` names the user's tree
            _check_place(Request.from_facts(patch.manifest.request, target.file), path, tree, binary)
        if again is None:
            raise Differs(f"{path}: made again, nothing comes out for build-id {target.build_id}")
        if again.id != patch.id:
            what = first_difference(patch.object.data, again.data)
            raise Differs(f"{path}: made again it is {again.id}, not {patch.id}: {what}")
        source = request.source or request.tree
        return VerifyReport(now(), int(ExitCode.OK), patch.id, True, source, len(again.data), everything.tree.compiler)


def _request(wish: Wish, texts: tuple[tuple[str, str], ...], progress: Progress) -> Request:
    check_cves(wish.cves)
    options = (texts, wish.fix_from, wish.to, wish.only)
    ways: dict[str, Any] = {"cves": wish.cves, "relaxed": wish.relaxed, "apart": wish.apart}
    ways |= {"tripwires": wish.tripwires, "no_tripwire": wish.unwanted}
    if wish.try_out and (not wish.tripwires or wish.tree is not None):
        raise BadRequest(
            "--try runs the programs of a package of the archive, to find tripwires that harmless use reaches",
            "give it with --tripwires, and with --source or --for",
        )
    if wish.tree is not None:
        if wish.binary is None:
            raise BadRequest("--tree needs the binary that was built from it", "give it with --binary FILE")
        if wish.files:
            raise BadRequest(
                "--file chooses among the binaries of a package", "name the one of a tree with --binary FILE"
            )
        return Request("", *options, tree=str(wish.tree.resolve()), binary=str(wish.binary.resolve()), **ways)
    if wish.binary is not None:
        raise BadRequest("--binary goes with --tree", "choose among the binaries of a package with --file NAME")
    if wish.subject:
        subject = find(wish.subject, wish.files, [f.partition("=")[0] for f in wish.fix_from], progress)
        return Request(subject.source, *options, files=(subject.file,), **ways)
    return Request(wish.source, *options, files=wish.files, **ways)


def _without_noise(request: Request, everything: Ready, making: Making, progress: Progress) -> tuple[Request, Making]:
    """The patches without the tripwires that the package's own programs reach, run in a sandbox."""
    by_build = {Run.read(s.path).elf.build_id: s for s in everything.shipped}
    programs = ready(replace(request, files=()), progress).shipped  # those of the package that load it too
    with tempfile.TemporaryDirectory(prefix="suture-try-") as name:
        candidates = [
            Candidate(write(made, Path(name)).path, by_build[made.manifest.target.build_id])
            for made in making.patches
            if made.manifest.tripwires
        ]
        trials = try_patches(everything.tree, programs, candidates, progress)
    noisy = {place: reached_by(command) for trial in trials for place, command in trial.noisy.items()}
    if not noisy:
        return request, making
    quiet = replace(request, no_tripwire=(*request.no_tripwire, *sorted(noisy.items())))
    again = make(everything.tree, everything.shipped, everything.fixes, quiet.facts(), progress, everything.beside)
    return quiet, again


def _trusted(request: Request, path: Path, tree: Path | None, binary: Path | None) -> Request:
    """The request of a manifest with the tree and binary that the user names. Raises `Refused` when the user names
    none."""
    if not request.tree:
        if tree or binary:
            raise BadRequest("the patch was made from the archive's source", "leave out --tree and --binary")
        return request
    if not tree or not binary:
        raise Refused(
            f"{path}: made from a tree of one's own ({request.tree}), whose compile commands are not run because a "
            "patch names it",
            "if the tree is yours, name it: suture verify PATCH --tree DIR --binary FILE",
        )
    return replace(request, tree=str(tree.resolve()), binary=str(binary.resolve()))


def _check_place(request: Request, path: Path, tree: Path | None, binary: Path | None) -> None:
    """Raises `Refused` where a tree of one's own lies elsewhere than when the patch was made: paths go into code and
    manifest."""
    if not tree or not binary:
        return
    given = (str(tree.resolve()), str(binary.resolve()))
    if given != (request.tree, request.binary):
        raise Refused(
            f"{path}: it was made from {request.tree} and {request.binary}, not from {given[0]} and {given[1]}, so its "
            "bytes are others and tell nothing",
            "put the tree and the binary where they lay, or compare what suture show prints of both",
        )
