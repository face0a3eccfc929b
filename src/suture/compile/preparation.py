"""Making a source tree ready to compile: configured and generated in its clean room, its commands recorded; and what
the same steps make of a fix."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suture.command import run
from suture.compile import copied, record, room, stand_in
from suture.compile.generate import Generated, generated
from suture.compile.recipe import Recipe
from suture.compile.recipe import load as load_recipe
from suture.compile.room import INSIDE, Room
from suture.compile.tree import Output, Tree
from suture.compile.unit import Binary, Unit
from suture.error import NotFound
from suture.progress import Progress, silent
from suture.source import cache
from suture.source.archive import Archive, SourceVersion
from suture.source.fix import Fix

_FORMAT = 6  # of the facts beside a tree; a change makes trees anew

# What dh does up to and with dh_auto_configure, and what it does then but for the tests, with the flags that it exports
# unless the package has set them (dh(1)). It does not name a step that the package overrides with nothing. CMake writes
# absolute paths of compilers into its build files, where no stand-in would be found.
# A package whose build target compiles nothing does it where it is packed, which is for root to do (policy 4.9): what
# needs root's rights, and what packs, is left out then.
_PRELUDE = r"""
dh_flags() {
  eval "$(dpkg-buildflags --export=sh | sed -E 's/^export ([A-Z_]+)=/[ -n "${\1+x}" ] || export \1=/')"
}
dh_steps() {
  DH_NO_ACT=1 debian/rules build-arch | grep '^   ' | sed '/^ *create-stamp /d'
}
dh_configure() {
  dh_flags
  dh_steps | sed -n '/dh_auto_build/q; p; /dh_auto_configure/q' >"$INSIDE/dh.sh"
  . "$INSIDE/dh.sh"
}
dh_build() {
  dh_flags
  dh_steps >"$INSIDE/dh.sh"
  if grep -q dh_auto_configure "$INSIDE/dh.sh"; then sed -i '1,/dh_auto_configure/d' "$INSIDE/dh.sh"
  elif grep -q dh_auto_build "$INSIDE/dh.sh"; then sed -i '/dh_auto_build/,$!d' "$INSIDE/dh.sh"; fi
  sed -i '/dh_auto_test/d' "$INSIDE/dh.sh"
  call_by_name
  MAKEFLAGS="-k $MAKEFLAGS"; export MAKEFLAGS; unset MAKELEVEL MFLAGS
  set +e
  . "$INSIDE/dh.sh"
}
call_rules() {
  MAKEFLAGS="-k $MAKEFLAGS"; export MAKEFLAGS; unset MAKELEVEL MFLAGS
  debian/rules build-arch || [ -n "$(ls "$SUTURE_RECORD")" ] || debian/rules build || true
  [ -n "$(ls "$SUTURE_RECORD")" ] || as_root debian/rules binary-arch
}
as_root() {
  mkdir "$INSIDE/root"
  for name in chown chgrp strip "$(dpkg-architecture -qDEB_HOST_GNU_TYPE)-strip" dpkg-deb dpkg-gencontrol \
      dpkg-shlibdeps dh_testroot dh_strip dh_fixperms dh_shlibdeps dh_gencontrol dh_builddeb; do
    ln -s /bin/true "$INSIDE/root/$name"
  done
  printf '#!/bin/sh\necho root\n' >"$INSIDE/root/whoami"
  printf '#!/bin/sh\ncase "$*" in -u) echo 0 ;; *) exec /usr/bin/id "$@" ;; esac\n' >"$INSIDE/root/id"
  printf '#!/bin/sh\ncase "$1" in -b|--build) ;; *) exec /usr/bin/dpkg "$@" ;; esac\n' >"$INSIDE/root/dpkg"
  chmod +x "$INSIDE/root/whoami" "$INSIDE/root/id" "$INSIDE/root/dpkg"
  PATH="$INSIDE/root:$PATH" "$@"
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


def anew(tree: Tree, fix: Fix) -> Generated | None:
    """What generators make of a fix, at the price of a preparation; None for a tree that is not prepared from its
    source.

    Raises `Refused` for a hunk that does not apply, and `CommandFailed` when a step of the build fails.
    """
    if tree.source is None or tree.recipe is None or not isinstance(tree.room, Room):
        return None
    source, recipe, below = tree.source, tree.recipe, Room(tree.room.layers[1:])

    def remake(folder: Path, _: Path) -> list[Unit]:
        recording = _configure(folder, tree.root, source, recipe, below, silent)
        patterns = [b.output for b in recipe.binaries] or [o.path for o in tree.outputs]
        held = {o for pattern in patterns for o in recording.objects_of_pattern(pattern)}
        return [u for u in recording.units if u.object in held]

    built = frozenset(place for f in fix.files for place in tree.places_of(f.path))
    return generated(tree.key, source.tree, tree.files, tree.root, tree.units, fix, built, remake)


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
    record.relink(files, root)
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
