"""What a person asks of `suture make`, and what it comes to: a tree, shipped binaries, fixes. Kept in the manifest for
`verify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from suture.compile.host import open_tree
from suture.compile.tree import Tree
from suture.error import ExitCode, NotFound, Refused, SutureError
from suture.make.elsewhere import Beside
from suture.make.ground import Shipped
from suture.make.pairing import open_source
from suture.progress import Progress, silent
from suture.source.archive import Archive, SourceVersion, archive_for
from suture.source.claim import as_told, together
from suture.source.difference import between, fixes_between, from_series, siblings
from suture.source.fix import Fix, parse
from suture.source.origin import check_binary
from suture.source.subject import Named

_MULTIARCH = "x86_64-linux-gnu"


class BadRequest(SutureError):
    """The options do not fit together."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True)
class Request:
    """Options of `suture make`. `source` is `NAME=VERSION`; `fixes` are texts of patches by name; `files` limits the
    binaries.

    `cves` are those that the person says the fix closes; `relaxed` the reason why old frames may finish in old code, ""
    for strict; `apart` the reason why functions of one fix may switch at different times, "" for together. `tree` and
    `binary` are paths of a tree of one's own and the binary built from it, instead of `source`. With `tripwires` the
    new code counts what it rejects, but for places `no_tripwire`: (`FILE:LINE`, why not). `claims` is what each of
    `fixes` is for (`suture.source.claim.told`), where their texts alone do not tell.
    """

    source: str
    fixes: tuple[tuple[str, str], ...] = ()
    fix_from: tuple[str, ...] = ()
    to: str = ""
    only: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    tree: str = ""
    binary: str = ""
    cves: tuple[str, ...] = ()
    relaxed: str = ""
    apart: str = ""
    tripwires: bool = False
    no_tripwire: tuple[tuple[str, str], ...] = ()
    claims: tuple[str, ...] = ()

    def facts(self) -> dict[str, tuple[str, ...]]:
        """As it is kept in a manifest; texts of patches are kept with their names."""
        wires = {"tripwires": ("yes",), "no_tripwire": tuple(x for pair in self.no_tripwire for x in pair)}
        return {
            **(wires if self.tripwires else {}),
            **({"claims": self.claims} if self.claims else {}),
            "source": (self.source,),
            "fix": tuple(x for pair in self.fixes for x in pair),
            "fix_from": self.fix_from,
            "to": (self.to,) if self.to else (),
            "only": self.only,
            "tree": (self.tree, self.binary) if self.tree else (),
            "cve": self.cves,
            "relaxed": (self.relaxed,) if self.relaxed else (),
            "apart": (self.apart,) if self.apart else (),
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, tuple[str, ...]], file: str) -> Request:
        """The request that a manifest holds, for one binary. Raises `BadRequest` when it holds none."""
        if not any(facts.get("source", ())) and not facts.get("tree"):
            raise BadRequest(
                "the patch does not say how it was made", "ask whoever made it for the options of `suture make`"
            )
        texts = facts.get("fix", ())
        pairs = tuple(zip(texts[::2], texts[1::2], strict=True))
        unwanted = facts.get("no_tripwire", ())
        return cls(
            facts["source"][0],
            pairs,
            facts.get("fix_from", ()),
            next(iter(facts.get("to", ())), ""),
            facts.get("only", ()),
            (file,),
            *_pair(facts.get("tree", ())),
            facts.get("cve", ()),
            next(iter(facts.get("relaxed", ())), ""),
            next(iter(facts.get("apart", ())), ""),
            bool(facts.get("tripwires")),
            tuple(zip(unwanted[::2], unwanted[1::2], strict=True)),
            facts.get("claims", ()),
        )


@dataclass(frozen=True)
class Ready:
    """A request with everything that it names fetched and prepared; `beside` fetches all binaries of the package when
    asked."""

    tree: Tree
    shipped: tuple[Shipped, ...]
    fixes: tuple[Fix, ...]
    beside: Beside = tuple


def ready(request: Request, progress: Progress = silent) -> Ready:
    """Fetch the source and the shipped binaries, prepare the tree, read the fixes.

    Raises `NotFound`, `Refused` (a text that is no patch), `BadRequest`, and what the tree raises.
    """
    if request.tree:
        return _own(request)
    name, version = _split(request.source)
    archive = archive_for(name, version, progress)
    source = archive.source(name, version)
    tree = open_source(source, archive, progress)
    _check_once(request)
    fixes = _fixes(request, tree)
    taken: list[tuple[SourceVersion, str]] = []
    for spec in request.fix_from:
        other, _, patch = spec.rpartition(":")  # a version may have an epoch
        other_name, other_version = _split(other)
        series = archive_for(other_name, other_version, progress=progress).source(other_name, other_version)
        fixes.append(from_series(series, patch))
        taken.append((series, patch))
    if not request.claims:
        fixes = _without_halves(together(fixes), source, taken, progress)
    if request.to:
        newer = archive_for(name, request.to, progress=progress).source(name, request.to)
        fixes += (between(source, newer, request.only),) if request.only else fixes_between(source, newer)
    elif request.only:
        fixes = [f.only(request.only) for f in fixes]
    if not fixes:
        raise BadRequest("no fix was given", "give --fix FILE, --fix-from NAME=VERSION:PATCH or --to VERSION")
    shipped = _shipped(tree, archive, version, request.files)
    return Ready(tree, shipped, labelled(fixes, request.cves), lambda: _places(tree, archive, version))


def _fixes(request: Request, tree: Tree) -> list[Fix]:
    """The fixes whose texts a request has."""
    found = [parse(text, label, tree.has) for label, text in request.fixes]
    if not request.claims:
        return found
    try:
        return [as_told(fix, claim) for fix, claim in zip(found, request.claims, strict=True)]
    except ValueError as bad:
        raise BadRequest("what its fixes are for is not written as Suture writes it", "make the patch anew") from bad


def ready_for(source: SourceVersion, archive: Archive, progress: Progress = silent, real: bool = False) -> Ready:
    """A source version with its tree and all its shipped binaries, for fixes that are still to be named; `real` as
    `open_source` has it."""
    tree = open_source(source, archive, progress, real)
    return Ready(tree, _shipped(tree, archive, source.version, ()), (), lambda: _places(tree, archive, source.version))


def _own(request: Request) -> Ready:
    """A tree of the user's own."""
    if request.fix_from or request.to:
        raise BadRequest("a tree of your own takes patches as files", "give the fix with --fix FILE")
    tree = open_tree(Path(request.tree), Path(request.binary))
    _check_once(request)
    fixes = [parse(text, label, tree.has) for label, text in request.fixes]
    if request.only:
        fixes = [f.only(request.only) for f in fixes]
    if not fixes:
        raise BadRequest("no fix was given", "give it with --fix FILE")
    check_binary(Path(request.binary))
    fixes = together(fixes)
    shipped = Shipped(tree.binaries[0], Path(request.binary), tree.version)
    return Ready(tree, (shipped,), labelled(fixes, request.cves))


def _without_halves(
    fixes: list[Fix], old: SourceVersion, taken: Sequence[tuple[SourceVersion, str]], progress: Progress
) -> list[Fix]:
    """The fixes, none of which is for a CVE of which the series has another part that was not asked for and that the
    version lacks."""
    names = {f.name for f in fixes}
    halves: dict[str, str] = {}
    for new, patch in taken:
        for cve in {c for f in fixes for c in f.cves}:
            left = [p for p in siblings(old, new, patch, cve) if p not in names]
            if left:
                halves[cve] = f"the series has more patches for it: {', '.join(left)}"
                progress(f"{cve} has more patches in that series, so that no claim is made: add {', '.join(left)}")
    return [_without(f, halves) for f in fixes]


def _without(fix: Fix, halves: Mapping[str, str]) -> Fix:
    named = (*fix.named, *(Named(c, halves[c]) for c in fix.cves if c in halves))
    return replace(fix, cves=tuple(c for c in fix.cves if c not in halves), named=named)


def _check_once(request: Request) -> None:
    """Raises `BadRequest` for a patch that was given twice: it would not apply over itself."""
    names: dict[str, str] = {}
    for name, text in request.fixes:
        if text in names:
            raise BadRequest(f"{names[text]} and {name} are the same fix, given twice", "give it once")
        names[text] = name


def labelled(fixes: Sequence[Fix], cves: tuple[str, ...]) -> tuple[Fix, ...]:
    """The fixes, with CVEs that a person names added to each."""
    return tuple(
        replace(f, cves=tuple(sorted({*f.cves, *cves})), named=tuple(n for n in f.named if n.cve not in cves))
        for f in fixes
    )


def _pair(values: tuple[str, ...]) -> tuple[str, str]:
    return (values[0], values[1]) if len(values) == 2 else ("", "")


def _split(spec: str) -> tuple[str, str]:
    name, sign, version = spec.partition("=")
    if not (name and sign and version):
        raise BadRequest(
            f"{spec} is no NAME=VERSION", "give source package and version, for example openssl=3.0.17-1~deb12u2"
        )
    return name, version


def _places(tree: Tree, archive: Archive, version: str) -> list[Path]:
    """All shipped binaries of the tree. Raises `NotFound` for a package that does not arrive."""
    return [s.path for s in _shipped(tree, archive, version, ())]


def _shipped(tree: Tree, archive: Archive, version: str, files: tuple[str, ...]) -> tuple[Shipped, ...]:
    """The binaries called as in `files` (all without any), by the name that the recipe gives, else by that of the file
    behind it."""
    places = {b: b.file.replace("{multiarch}", _MULTIARCH) for b in tree.binaries}
    chosen = {b: p for b, p in places.items() if not files or {p, Path(p).name, f"/{p}"} & set(files)} or places
    found = []
    for binary, path in chosen.items():
        root = archive.built_from(binary.package, version)
        if not (root / path).is_file():
            raise NotFound(f"{binary.package} {version} holds no {path}", f"correct the recipe of {tree.name}")
        if files and chosen is places and (root / path).resolve().name not in {Path(f).name for f in files}:
            continue
        check_binary(root / path)
        found.append(Shipped(binary, root / path, version))
    if not found:
        known = ", ".join(Path(b.file).name for b in tree.binaries)
        raise Refused(f"{tree.name} has no binary {', '.join(files)} that is patched", f"it has: {known}")
    return tuple(found)
