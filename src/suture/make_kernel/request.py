"""What a person asks of `suture make --source linux=...`, and what it comes to: a prepared tree and fixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from suture.error import Refused
from suture.make.request import BadRequest, labelled
from suture.make_kernel import prepare, reach, target
from suture.make_kernel.prepare import ROOT, KernelTree
from suture.progress import Progress, silent
from suture.source.claim import together
from suture.source.difference import tree_difference
from suture.source.fix import Fix, parse

_MOST_FILES = 300  # C files of a whole difference; each takes some seconds, twice


@dataclass(frozen=True)
class KernelRequest:
    """Options of `suture make` for a kernel. `fixes` are texts of patches by name, `callbacks` the text of a C file.

    With `tripwires` the new code counts what it rejects, but for places `no_tripwire`: (`FILE:LINE`, why not).
    `source` is `linux=` and a version, or a release as `uname -r` prints it; `flavour` as the archive calls it, "" for
    the release's own or amd64. `reaches` is a later version that the fixes are to be all of.
    """

    source: str
    fixes: tuple[tuple[str, str], ...] = ()
    to: str = ""
    only: tuple[str, ...] = ()
    cves: tuple[str, ...] = ()
    callbacks: str = ""
    replace: bool = False
    flavour: str = ""
    reaches: str = ""
    tripwires: bool = False
    no_tripwire: tuple[tuple[str, str], ...] = ()

    def facts(self) -> dict[str, tuple[str, ...]]:
        """As it is kept in a manifest."""
        wires = {"tripwires": ("yes",), "no_tripwire": tuple(x for pair in self.no_tripwire for x in pair)}
        return {
            **(wires if self.tripwires else {}),
            "source": (self.source,),
            "fix": tuple(x for pair in self.fixes for x in pair),
            "to": (self.to,) if self.to else (),
            "only": self.only,
            "cve": self.cves,
            "callbacks": (self.callbacks,) if self.callbacks else (),
            "replace": ("yes",) if self.replace else (),
            "flavour": (self.flavour,) if self.flavour else (),
            "reaches": (self.reaches,) if self.reaches else (),
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Sequence[str]]) -> KernelRequest:
        """The request that a manifest holds."""
        texts, unwanted = facts["fix"], facts.get("no_tripwire", ())
        return cls(
            facts["source"][0],
            tuple(zip(texts[::2], texts[1::2], strict=True)),
            next(iter(facts["to"]), ""),
            tuple(facts["only"]),
            tuple(facts["cve"]),
            next(iter(facts["callbacks"]), ""),
            bool(facts["replace"]),
            next(iter(facts.get("flavour", ())), ""),
            next(iter(facts.get("reaches", ())), ""),
            bool(facts.get("tripwires")),
            tuple(zip(unwanted[::2], unwanted[1::2], strict=True)),
        )


@dataclass(frozen=True)
class KernelReady:
    """A request with what it names fetched and prepared. `effective` is the version whose fixes the patch brings."""

    tree: KernelTree
    fixes: tuple[Fix, ...]
    facts: Mapping[str, tuple[str, ...]]
    effective: str
    callbacks: str
    replace: bool

    @property
    def name(self) -> str:
        """What the patch is called after: its fixes."""
        return "-".join(f.name.removesuffix(".patch") for f in self.fixes[:3]) or "callbacks"

    @property
    def wants_tripwires(self) -> bool:
        return bool(self.facts.get("tripwires"))

    @property
    def unwanted(self) -> dict[str, str]:
        """Why places are to have no tripwire, by FILE:LINE."""
        words = self.facts.get("no_tripwire", ())
        return dict(zip(words[::2], words[1::2], strict=True))

    @property
    def compiler(self) -> str:
        """The compiler as the archive's configuration names it."""
        text = self.tree.target.config.read_text()
        return next((x.split('"')[1] for x in text.splitlines() if x.startswith("CONFIG_CC_VERSION_TEXT=")), "")


def ready(request: KernelRequest, progress: Progress = silent) -> KernelReady:
    """Fetch, prepare, read the fixes. Raises `NotFound`, `Refused`, `BadRequest`."""
    version = request.source.partition("=")[2]
    if not version:
        raise BadRequest(f"{request.source} is no linux=VERSION", "give a version, for example linux=6.1.176-1")
    found = target.find(version, progress, request.flavour)
    # what is kept names one image for good: a release keeps its name when the archive builds it anew
    request = replace(request, source=f"linux={found.version}", flavour=found.flavour)
    tree = prepare.prepare(found, progress)
    fixes = [parse(text, label, tree.has) for label, text in request.fixes]
    whole = False
    if request.to:
        version = found.version
        newer = prepare.unpacked(found, request.to, progress) / ROOT.lstrip("/")
        name = f"linux-{version}-to-{request.to}"
        fixes.append(tree_difference(tree.files, newer, name, request.only))
        whole = not request.only
        files = sum(p.path.endswith(".c") for p in fixes[-1].files)
        if whole and files > _MOST_FILES:
            raise Refused(
                f"{files} C files differ between linux {version} and {request.to}: too many to compile, compare and "
                "prove for one module",
                "name the files of the fixes that are wanted with --only PATH (again for each), or give the fixes "
                "with --fix; --replace makes one cumulative module of them",
            )
    elif request.only:
        fixes = [f.only(request.only) for f in fixes]
    if not fixes:
        raise BadRequest("no fix was given", "give --fix FILE or --to VERSION")
    fixes = list(labelled(together(fixes), request.cves))
    effective = request.to if whole else request.reaches
    if request.reaches:
        newer = prepare.unpacked(found, request.reaches, progress) / ROOT.lstrip("/")
        reach.check(tree, fixes, newer, request.reaches, progress)
    return KernelReady(tree, tuple(fixes), request.facts(), effective, request.callbacks, request.replace)
