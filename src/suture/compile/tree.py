"""A configured source tree in its clean room: its units, and objects compiled from it before and after a fix.

A tree is prepared once per source version and recipe and then never changes. A fix is a layer over it at the same path,
so pre and post differ in the fix and in nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from suture.command import run
from suture.compile import copied, depend, job, post, record, room, stand_in
from suture.compile.generate import Generated, generated
from suture.compile.job import CompiledObject, Job
from suture.compile.recipe import Recipe
from suture.compile.recipe import load as load_recipe
from suture.compile.room import INSIDE, Room
from suture.compile.unit import Binary, Unit, Variant
from suture.error import NotFound
from suture.progress import Progress, silent
from suture.source import cache
from suture.source.archive import Archive, SourceVersion
from suture.source.fix import Fix

_FORMAT = 6  # of the facts beside a tree; a change makes trees anew

# What dh does up to and with dh_auto_configure, and what it does then but for the tests, with the flags that it exports
# unless the package has set them (dh(1)). CMake writes absolute paths of compilers into its build files, where no
# stand-in would be found.
_PRELUDE = r"""
dh_flags() {
  eval "$(dpkg-buildflags --export=sh | sed -E 's/^export ([A-Z_]+)=/[ -n "${\1+x}" ] || export \1=/')"
}
dh_configure() {
  dh_flags
  DH_NO_ACT=1 debian/rules build-arch | grep '^   ' | sed '/dh_auto_configure/q' >"$INSIDE/dh.sh"
  . "$INSIDE/dh.sh"
}
dh_build() {
  dh_flags
  DH_NO_ACT=1 debian/rules build-arch | grep '^   ' >"$INSIDE/dh.sh"
  if grep -q dh_auto_configure "$INSIDE/dh.sh"; then sed -i '1,/dh_auto_configure/d' "$INSIDE/dh.sh"; fi
  sed -i '/dh_auto_test/d; /^ *create-stamp /d' "$INSIDE/dh.sh"
  call_by_name
  MAKEFLAGS="-k $MAKEFLAGS"; export MAKEFLAGS; unset MAKELEVEL MFLAGS
  set +e
  . "$INSIDE/dh.sh"
}
call_rules() {
  MAKEFLAGS="-k $MAKEFLAGS"; export MAKEFLAGS; unset MAKELEVEL MFLAGS
  debian/rules build-arch || [ -n "$(ls "$SUTURE_RECORD")" ] || debian/rules build
}
call_by_name() {
  find . -name CMakeCache.txt | while read -r cache; do
    find "${cache%/*}" '(' -name build.make -o -name link.txt -o -name build.ninja -o -name '*_link.txt' ')' -print0 |
      xargs -0r sed -i -E 's#(^|[[:space:]=])/usr/bin/((x86_64-linux-gnu-)?'\
'(cc|c\+\+|gcc|g\+\+|clang|clang\+\+|gcc-ar|ar|gcc-ranlib|ranlib)(-[0-9]+)?)( |$)#\1\2\6#g'
  done
}
"""

_STEP = "suture-step:\n\t@sh -eu {inside}/step.sh\n"


@dataclass(frozen=True)
class Output:
    """What a build links: its path and the objects in it (relative to the root), its DT_SONAME, and whether it is a
    library that is loaded."""

    path: str
    soname: str
    is_shared: bool
    objects: frozenset[str]


_LISTING = (("-w",), ("-M", "-MG", "-MF"))


class Enterable(Protocol):
    """What a tree needs of its room: a clean room, or this host."""

    def with_layer(self, layer: Path) -> Enterable:
        """The same with one more layer on top."""

    def enter(self, script: str, *, outputs: Sequence[tuple[Path, str]] = ()) -> str:
        """Run a script in it that may write to `outputs` alone; its standard output."""


@dataclass(frozen=True)
class Tree:
    """A configured tree, or one with a fix over it (`post`).

    `root` is the tree's absolute path inside the room; `files` its files on this host, without any fix; `place` a
    folder for facts about it; `key` names its whole contents, fix included. `over` are folders on this host with the
    files that a fix changes, the uppermost first. `gap` tells of code that is, or may be, in its binary and that no
    unit makes. `outputs` are all links of the build, where no recipe tells which of them ship. `copies` are, by path in
    the source, the places to which the build copies a file before it compiles it. `unpaired` are shipped files of which
    it is not known what links them, `unheld` the sources that may be in those.
    """

    name: str
    version: str
    units: tuple[Unit, ...]
    binaries: tuple[Binary, ...]
    compiler: str
    key: str
    root: str
    files: Path
    place: Path
    room: Enterable
    env: Mapping[str, str]
    moved: tuple[tuple[str, str], ...] = ()
    source: SourceVersion | None = None
    recipe: Recipe | None = None
    over: tuple[Path, ...] = ()
    gap: str = ""
    outputs: tuple[Output, ...] = ()
    copies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unpaired: tuple[str, ...] = ()
    unheld: frozenset[str] = frozenset()

    @cached_property
    def _dependencies(self) -> depend.Dependencies:
        return depend.Dependencies(self.place, self.files, self.units, self.over)

    def built_path(self, path: str) -> str:
        """Where the file that the source calls `path` lies in the tree that is compiled."""
        for source, built in self.moved:
            if path.startswith(source + "/"):
                return built + path[len(source) :]
        return path

    def places_of(self, path: str) -> tuple[str, ...]:
        """Where the tree that is compiled has the file that the source calls `path`, its copies included."""
        return tuple(dict.fromkeys((self.built_path(path), *copied.copies_of(path, self.copies))))

    def has(self, path: str) -> bool:
        """Whether the source has a file of this path."""
        return (self.files / self.built_path(path)).is_file()

    def read(self, path: str) -> bytes | None:
        """What the tree holds under a path of the source, with the fix if there is one; None for no file."""
        built = self.built_path(path)
        place = next((x / built for x in (*self.over, self.files) if (x / built).is_file()), None)
        return place.read_bytes() if place else None

    def names_of(self, path: str) -> set[str]:
        """All paths of a file in the tree that is compiled, those through links among them."""
        return {name for place in self.places_of(path) for name in self._dependencies.names_of(place)}

    def may_be_in_unpaired(self, path: str) -> bool:
        """Whether a file is compiled into what may be one of the unpaired files."""
        return bool(self.unheld & self.names_of(path)) if self.unheld else False

    def takes_in(self, path: str) -> bool:
        """Whether assembly in the tree takes the bytes of a file in, of which `units_of` can't tell."""
        return any(self._dependencies.taken_in(place) for place in self.places_of(path))

    def ask_ahead(self, paths: Iterable[str]) -> None:
        """List at once what all units read that `units_of` will ask of each path. Raises `CompileFailed` as it
        does."""
        asked = {u.object: u for path in paths for u in self._possible(self.names_of(path))[1]}
        self._outputs([Job(u, *_LISTING) for u in asked.values()])

    def _possible(self, targets: set[str]) -> tuple[list[Unit], list[Unit]]:
        """The units that compile a file of these names, and those that may include it."""
        possible = {u.object: u for target in sorted(targets) for u in self._dependencies.candidates(target)}.values()
        return [u for u in possible if u.source in targets], [u for u in possible if u.source not in targets]

    def units_of(self, path: str) -> tuple[Unit, ...]:
        """The units that a changed file affects: those that compile it, and those that include it, as `gcc -M`
        tells."""
        targets = self.names_of(path)
        sure, asked = self._possible(targets)
        lists = self._outputs([Job(u, *_LISTING) for u in asked])
        sure += [
            u
            for u, listed in zip(asked, lists, strict=True)
            if depend.names(listed.read_text(errors="surrogateescape"), u, self.root, targets)
        ]
        return tuple(sorted(sure, key=lambda u: u.object))

    def changed_since(self, unit: Unit, built: Path) -> str:
        """A file of a tree of one's own that a unit reads and that was changed after `built` was; "" for none."""
        if self.is_prepared or not built.is_file():
            return ""
        (rule,) = self._outputs([Job(unit, *_LISTING)])
        own = {x for x in depend.listed(rule.read_text(errors="surrogateescape"), unit, self.root)[1:] if x[:1] != "/"}
        when = built.stat().st_mtime_ns
        found = (x for x in sorted(own) if (self.files / x).is_file() and (self.files / x).stat().st_mtime_ns > when)
        return next(found, "")

    @property
    def is_prepared(self) -> bool:
        """Whether it was made from a source package, and so can be made anew."""
        return self.source is not None

    def suspends(self, binary: Binary) -> tuple[str, ...]:
        """Functions in which suspended coroutines of a shipped binary stand, as its recipe tells."""
        rows = self.recipe.binaries if self.recipe else ()
        return next((r.suspends for r in rows if (r.package, r.file) == (binary.package, binary.file)), ())

    def post(self, fix: Fix, generators: Generated | None = None) -> Tree:
        """The tree with a fix applied over it, and with what the generators make of it.

        Raises `Refused` naming the file and hunk that do not apply.
        """
        layer = post.layer(self.key, self.files, self.root, fix, self.places_of)
        state, layers = f"{self.key} {fix.sha256}", [layer]
        if generators is not None and generators.files:
            state, layers = f"{state} {generators.layer.parent.name}", [layer, generators.layer]
        return self._under(layers, state)

    def with_texts(self, texts: Mapping[str, bytes]) -> Tree:
        """The tree with other contents of some files, by their path in the source."""
        files = {place: text for path, text in texts.items() for place in self.places_of(path)}
        layer = post.texts(self.key, self.root, files)
        return self._under([layer], f"{self.key} {layer.name}")

    def _under(self, layers: Sequence[Path], state: str) -> Tree:
        """The tree with layers over it, the uppermost first; `state` names its contents."""
        room = self.room
        for one in reversed(layers):
            room = room.with_layer(one)
        key = hashlib.sha256(state.encode()).hexdigest()
        fields = {k: v for k, v in self.__dict__.items() if k != "_dependencies"}
        over = (*(x / self.root.lstrip("/") for x in layers), *self.over)
        return Tree(**{**fields, "key": key, "room": room, "over": over})

    def generated(self, fix: Fix) -> Generated | None:
        """What generators make of a fix, at the price of a preparation; None for a tree that is not prepared from its
        source.

        Raises `Refused` for a hunk that does not apply, and `CommandFailed` when a step of the build fails.
        """
        if self.source is None or self.recipe is None or not isinstance(self.room, Room):
            return None
        source, recipe, below = self.source, self.recipe, Room(self.room.layers[1:])

        def remake(folder: Path, _: Path) -> list[Unit]:
            recording = _configure(folder, self.root, source, recipe, below, silent)
            patterns = [b.output for b in recipe.binaries] or [o.path for o in self.outputs]
            held = {o for pattern in patterns for o in recording.objects_of_pattern(pattern)}
            return [u for u in recording.units if u.object in held]

        built = frozenset(place for f in fix.files for place in self.places_of(f.path))
        return generated(self.key, source.tree, self.files, self.root, self.units, fix, built, remake)

    def compile(self, jobs: Sequence[tuple[Unit, Variant]]) -> list[CompiledObject]:
        """Objects in the order of the jobs, compiled in parallel or taken from the cache. Raises `CompileFailed`."""
        paths = self._outputs([Job(unit, variant.flags_for(unit), ("-c", "-o")) for unit, variant in jobs])
        return [CompiledObject(unit, variant, path) for (unit, variant), path in zip(jobs, paths, strict=True)]

    def preprocessed(self, units: Sequence[Unit]) -> list[Path]:
        """The text that the compiler makes code of, for each unit; lines have no numbers in it (gcc(1), -P). Raises
        `CompileFailed`."""
        return self._outputs([Job(unit, ("-w", "-D__LINE__=7"), ("-E", "-P", "-o")) for unit in units])

    def _outputs(self, jobs: Sequence[Job]) -> list[Path]:
        def enter(script: str, outputs: Sequence[tuple[Path, str]]) -> str:
            return self.room.enter(script, outputs=outputs)

        return job.outputs(jobs, self.key, enter, self.env, self.root)


def prepare(source: SourceVersion, progress: Progress = silent, recipe: Recipe | None = None) -> Tree:
    """The configured tree of a source version: made now (seconds to a minute), or opened from the cache.

    Raises `NotFound` when there is no recipe or a build dependency is gone, `CommandFailed` when a step fails.
    """
    chosen = recipe or load_recipe(source.name)
    archive = Archive(source.release, progress)
    index = cache.root() / "tree" / source.name / cache.safe(source.version) / f"{chosen.digest[:16]}-{_FORMAT}"
    # The index remembers which room the tree was made in, so that a warm start asks neither apt nor dpkg.
    if not index.exists():
        own = room.for_source(source, archive, chosen.profiles, chosen.versions, progress)
        cache.item(index, lambda folder: _make(folder, source, chosen, own, progress))
    return _open(index, source, chosen)


def _make(folder: Path, source: SourceVersion, recipe: Recipe, own: Room, progress: Progress) -> None:
    folder.mkdir()
    upper, root = folder / "upper", f"/build/reproducible-path/{source.name}-{source.upstream}"
    (upper / root.lstrip("/")).parent.mkdir(parents=True)
    run(["cp", "--archive", "--reflink=auto", str(source.tree), str(upper / root.lstrip("/"))])
    room.give((upper / root.lstrip("/")).parent)
    recording = _configure(folder, root, source, recipe, own, progress)
    facts = _facts(source, recipe, root, own, recording, _environment(source))
    facts["copies"] = copied.copies(source.tree, upper / root.lstrip("/"))
    (folder / "facts.json").write_text(json.dumps(facts, separators=(",", ":")))


def _environment(source: SourceVersion) -> dict[str, str]:
    """What dpkg-buildpackage sets."""
    return {
        "SOURCE_DATE_EPOCH": str(source.epoch_seconds),
        "DEB_BUILD_OPTIONS": f"parallel={_cores()} nocheck nodoc",
        "DEB_RULES_REQUIRES_ROOT": "no",
        "MAKEFLAGS": f"-j{_cores()}",
    }


def _configure(
    folder: Path, root: str, source: SourceVersion, recipe: Recipe, own: Room, progress: Progress
) -> record.Recording:
    """Configure, generate and record the source that lies in `folder`/upper at its place in the room."""
    env, upper = _environment(source), folder / "upper"
    progress(f"configuring {source.name} {source.version}")
    _step(own, folder, root, env, f"{recipe.configure}\n{recipe.generate}", keep=upper)
    progress("recording the compile commands")
    return _record(own, folder, root, env, recipe, upper)


def _record(
    own: Room, folder: Path, root: str, env: Mapping[str, str], recipe: Recipe, upper: Path
) -> record.Recording:
    """Run the package's make with stand-ins for compilers; the headers that it generates stay in the tree."""
    tools, log, outcome = folder / "tools", folder / "log", folder / "outcome"
    for place in (tools, log, outcome):
        place.mkdir()
    stand_in.install(tools)
    stand_in.keep_going(tools)
    mode = stand_in.PASS if recipe.real else stand_in.STUB
    settings = {**env, **stand_in.environment(f"{INSIDE}/log", mode, room.PATH, f"{INSIDE}/tools")}
    # Programs that the build makes and runs are only touched here, so some of its rules fail; what counts is the
    # record.
    tolerant = f"(PATH={INSIDE}/tools:$PATH\n{recipe.record}\n) >{INSIDE}/outcome/record.log 2>&1 || true\n"
    outputs = [(log, f"{INSIDE}/log"), (outcome, f"{INSIDE}/outcome")]
    _step(own, folder, root, settings, tolerant, upper, [(tools, f"{INSIDE}/tools")], outputs)
    files = upper / root.lstrip("/")
    recording = record.read(log, root, files)
    record.clean(recording, files)
    for place in (tools, log):
        cache.discard(place)
    return recording


def _step(
    own: Room,
    folder: Path,
    root: str,
    env: Mapping[str, str],
    script: str,
    keep: Path | None = None,
    binds: Sequence[tuple[Path, str]] = (),
    outputs: Sequence[tuple[Path, str]] = (),
) -> str:
    """Run a recipe's script as a line of debian/rules, so that it sees the variables which that exports."""
    (folder / "step.mk").write_text(_STEP.format(inside=INSIDE))
    (folder / "step.sh").write_text(f"INSIDE={INSIDE}\n{_PRELUDE}\n{script}")
    places = [(folder / "step.mk", f"{INSIDE}/step.mk"), (folder / "step.sh", f"{INSIDE}/step.sh"), *binds]
    command = f"make --no-print-directory --file=debian/rules --file={INSIDE}/step.mk suture-step 2>&1\n"
    return own.enter(command, keep=keep, directory=root, binds=places, outputs=outputs, env=env)


def _facts(
    source: SourceVersion, recipe: Recipe, root: str, own: Room, recording: record.Recording, env: Mapping[str, str]
) -> dict[str, Any]:
    binaries = []
    for shipped in recipe.binaries:
        objects = recording.objects_of_pattern(shipped.output)
        if not objects:
            raise NotFound(
                f"{source.name} {source.version}: the build links no {shipped.output}",
                f"correct `output` in the recipe; outputs seen: {', '.join(sorted(recording.links)[:20])}",
            )
        binaries.append([shipped.package, shipped.file, sorted(objects)])
    compilers = {u.argv[0] for u in recording.units}
    if not compilers:
        raise NotFound(
            f"{source.name} {source.version}: its build compiles nothing that is C or C++",
            "there is nothing to patch live",
        )
    version = own.enter(f"{min(compilers)} --version | head -n 1\n").strip()
    key = hashlib.sha256(
        "\0".join([recipe.digest, source.dsc.read_text(), *(str(x) for x in own.layers)]).encode()
    ).hexdigest()
    outputs = [] if recipe.binaries else _outputs_of(recording)
    # Only what a shipped binary holds: static variants and tests would double the work of every question about headers.
    held = {name for _, _, objects in binaries for name in objects} | {
        name for *_, objects in outputs for name in objects
    }
    units = [[u.source, u.object, u.directory, list(u.argv), u.language] for u in recording.units if u.object in held]
    layers = [str(x.relative_to(cache.root())) for x in own.layers]
    kept = {"SOURCE_DATE_EPOCH": env["SOURCE_DATE_EPOCH"]}
    return {
        "root": root,
        "layers": layers,
        "compiler": version,
        "key": key,
        "env": kept,
        "units": units,
        "binaries": binaries,
        "outputs": outputs,
    }


def _outputs_of(recording: record.Recording) -> list[tuple[str, str, bool, list[str]]]:
    """All that the build links of its own objects, archives left out."""
    rows = []
    for path in sorted(recording.links):
        objects = recording.objects_of(path)
        if objects and not path.startswith("/") and not path.endswith((".a", ".o", ".lo")):
            rows.append((path, recording.sonames.get(path, ""), path in recording.shared, sorted(objects)))
    return rows


def _open(index: Path, source: SourceVersion, recipe: Recipe) -> Tree:
    facts = json.loads((index / "facts.json").read_text())
    layers = tuple(cache.root() / x for x in facts["layers"])
    units = tuple(Unit(u[0], u[1], u[2], tuple(u[3]), u[4]) for u in facts["units"])
    binaries = tuple(Binary(b[0], b[1], frozenset(b[2])) for b in facts["binaries"])
    return Tree(
        name=source.name,
        version=source.version,
        units=units,
        binaries=binaries,
        compiler=facts["compiler"],
        key=facts["key"],
        root=facts["root"],
        files=index / "upper" / facts["root"].lstrip("/"),
        place=index,
        room=Room((index / "upper", *layers)),
        env=facts["env"],
        moved=recipe.moved,
        source=source,
        recipe=recipe,
        copies=facts.get("copies", {}),
        outputs=tuple(Output(o[0], o[1], o[2], frozenset(o[3])) for o in facts["outputs"]),
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0))
