"""Recording a build: which command compiles each TU, and which objects each link puts together.

Stand-ins for compilers and archivers are put in front of PATH. In a clean room they write down their arguments and only
touch their outputs, so a whole package is recorded in seconds with any make system, libtool included (what libtool
calls is recorded). For a tree of a user's own they write down and pass on. Questions to the compiler (`-E`, `-S`, `-M`,
`-v` …) always go to the real one. The log is one file per process, records of NUL-terminated strings: the count of
arguments, what was done, the directory, the program, the arguments. The content of a response file comes before the
call that names it.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from suture.compile import archive
from suture.compile.call import Call, Input
from suture.compile.unit import Unit
from suture.source import cache

_COMPILERS = [
    f"{p}{c}{v}"
    for p in ("", "x86_64-linux-gnu-")
    for c in ("gcc", "g++")
    for v in ("", "-10", "-11", "-12", "-13", "-14")
]
COMPILERS = (
    *_COMPILERS,
    "cc",
    "c++",
    "c99",
    "c89",
    *(f"clang{v}" for v in ("", "++", "-11", "-13", "-14", "-15", "-16", "-19")),
)
ARCHIVERS = tuple(
    f"{p}{a}" for p in ("", "x86_64-linux-gnu-", "gcc-", "x86_64-linux-gnu-gcc-", "llvm-") for a in ("ar", "ranlib")
)

STUB, PASS = "stub", "pass"

_MARK, _PROGRAM = (
    b"suture-object ",
    b"#!/bin/sh\n# suture-program\n",
)  # what the stand-ins write into objects and linked files
_EMPTY = b"!<arch>\n"  # and into archives: one without members, which `nm` can read

# dash keeps this at about a millisecond per call: no program is started, and $$ names a log file that nobody else
# writes.
_STAND_IN = r"""#!/bin/sh
deep=0
keep() {
  for a do
    case $a in
      @*) if [ -f "${a#@}" ] && [ $deep -lt 9 ]; then
        printf '1\0response\0%s\0%s\0' "$PWD" "${a#@}"; cat "${a#@}"; printf '\0'
        set -f; deep=$((deep + 1)); keep $(cat "${a#@}"); deep=$((deep - 1)); set +f
      fi;;
    esac
  done
}
name=${0##*/}
mode=link out= dep= map= want= first=
for a do
  case $want in
    out) out=$a want=; continue;;
    dep) dep=$a want=; continue;;
    skip) want=; continue;;
  esac
  case $a in
    -c) mode=compile;;
    -Wl,-Map,*) map=${a#-Wl,-Map,};;
    -Wl,--verbose|-E|-S|-M|-MM|-fsyntax-only|--version|-v|-V|-\#\#\#|-print-*|--print-*|-dump*|--help*) mode=ask;
        break;;
    -o) want=out;;
    -o*) out=${a#-o};;
    -MF) want=dep;;
    -MF*) dep=${a#-MF};;
    -Wp,-MD,*|-Wp,-MMD,*) dep=${a##*,};;
    -MT|-MQ|-I|-D|-U|-x|-include|-isystem|-idirafter|-iquote|-imacros|-Xlinker|-T|-L|-l|-u|-z) want=skip;;
    -*) ;;
    *) first=${first:-$a};;
  esac
done
case $name in *ar|*ranlib) mode=archive;; esac
if [ "$mode" != ask ]; then
  keep "$@" >>"$SUTURE_RECORD/$$"
  printf '%s\0' "$#" "$mode" "$PWD" "$name" "$@" >>"$SUTURE_RECORD/$$"
fi
if [ "$mode" = ask ] || [ "$SUTURE_RECORD_MODE" = pass ]; then
  PATH=$SUTURE_RECORD_PATH
  export PATH
  exec "$name" "$@"
fi
words() {
  for a do
    case $a in *\'*) a=$(printf '%s.' "$a" | sed "s/'/'\\\\''/g"); a=${a%.};; esac
    printf " '%s'" "$a"
  done
}
case $mode in
  archive)
    for a do
      case $a in *.a)
        [ -e "$a" ] || printf '!<arch>\n' >"$a"
        case $a in /*) at=$a;; *) at=$PWD/$a;; esac
        mkdir -p "$SUTURE_RECORD/made$at"
        { words "$PWD" "$@"; echo; } >>"$SUTURE_RECORD/made$at/members"
        exit 0;;
      esac
    done
    exit 0;;
  compile)
    if [ -z "$out" ]; then out=${first##*/}; out=${out%.*}.o; fi
    case $out in /*) at=$out;; *) at=$PWD/$out;; esac
    { printf 'suture-object %s\n' "$at"; words "$PWD" "$name" "$@"; echo; } >"$out"
    [ -z "$dep" ] || : >"$dep";;
  link)
    [ -z "$map" ] || : >"$map"
    out=${out:-a.out}
    {
      printf '#!/bin/sh\n# suture-program\n'
      printf '[ -x "$SUTURE_RECORD_TOOLS/suture-realize" ] && '
      printf 'exec "$SUTURE_RECORD_TOOLS/suture-realize" "$0" "$@"\nexit 1\n:'
      words "$PWD" "$name" "$@"
      echo
    } >"$out"
    chmod +x "$out";;
esac
"""

# A build may run a program that it has just linked: a generator of sources. Its stand-in then makes the program for
# real, from the commands that the stand-ins keep in what they write, in a folder of its own, so that the tree stays as
# it is, and runs it.
_REALIZE = r"""#!/bin/sh
program=$1; shift
case $program in /*) ;; *) program=$PWD/$program;; esac
PATH=$SUTURE_RECORD_PATH; export PATH
room=$SUTURE_RECORD/real$program
quoted() { case $1 in *\'*) q=$(printf '%s.' "$1" | sed "s/'/'\\\\''/g"); q=${q%.};; *) q=$1;; esac; q="'$q'"; }
fresh() { real=$(mktemp -d "$work/XXXXXX")/${1##*/}; }
# each sets `real` to a file made for real, or fails
object() {
  command=$(sed -n 2p "$1")
  run_with_output "$1" "$command"
}
link() {
  command=$(sed -n 's/^://p' "$1" | tail -n 1)
  run_with_output "$1" "$command"
}
run_with_output() {
  fresh "$1"
  (
    target=$real
    eval "set -- $2"
    cd "$1" || exit 1
    tool=$2; shift 2
    line= next= folders= output=
    for a do
      if [ "$next" = out ]; then next=; output=1; quoted "$target"; line="$line -o $q"; continue; fi
      if [ "$next" = folder ]; then next=; folders="$folders $a"; quoted "$a"; line="$line -L $q"; continue; fi
      case $a in
        -o) next=out; continue;;
        -o?*) output=1; quoted "$target"; line="$line -o $q"; continue;;
        -MF|-MT|-MQ) quoted "$a"; line="$line $q"; continue;;
        -L) next=folder; continue;;
        -L*) folders="$folders ${a#-L}";;
        -l*) for f in $folders; do
            for k in "$f/lib${a#-l}.so" "$f/lib${a#-l}.a"; do
              if stands_in "$k"; then a=$k; break 2; fi
            done
          done;;
      esac
      if stands_in "$a"; then realize "$a" || exit 1; a=$real; fi
      quoted "$a"; line="$line $q"
    done
    if [ -z "$output" ]; then quoted "$target"; line="$line -o $q"; fi
    eval "set -- $line"
    case $tool in *ar) exec "$tool" "$@";; esac
    "$tool" "$@" >&2
  ) && [ -e "$real" ]
}
stands_in() {
  [ -f "$1" ] || return 1
  case $(head -c 26 "$1" | tr -d '\000') in
    suture-object\ *) return 0;;
    '#!/bin/sh
# suture-program'*) return 0;;
    '!<arch>') [ -f "$SUTURE_RECORD/made$(absolute "$1")/members" ];;
    *) return 1;;
  esac
}
absolute() { case $1 in /*) printf %s "$1";; *) printf %s "$PWD/$1";; esac; }
realize() {
  case $(head -c 14 "$1") in
    suture-object\ *) object "$1";;
    '!<arch>') archive "$1";;
    *) link "$1" && loaded "$real";;
  esac
}
loaded() {
  name=$(objdump -p "$1" | sed -n 's/^ *SONAME *//p')
  [ -z "$name" ] || ln -sf "$1" "$work/lib/$name"
}
archive() {
  list=$SUTURE_RECORD/made$(absolute "$1")/members
  fresh "$1"
  (
    target=$real
    while IFS= read -r row; do
      eval "set -- $row"
      cd "$1" || exit 1
      shift
      seen=
      for a do
        case $a in *.a) seen=1; continue;; esac
        [ -n "$seen" ] && [ -f "$a" ] || continue
        if stands_in "$a"; then
          kept=$target; realize "$a" || exit 1; target=$kept
          ar rc "$target" "$real" || exit 1
        fi
      done
    done <"$list"
  )
  [ -e "$real" ]
}
if [ ! -x "$room/program" ]; then
  mkdir -p "$room" || exit 1
  work=$(mktemp -d "$room/work.XXXXXX") && mkdir "$work/lib" || exit 1
  realize "$program" || exit 1
  [ -e "$room/lib" ] || ln -s "$work/lib" "$room/lib"
  chmod +x "$real" && mv "$real" "$room/program"
fi
LD_LIBRARY_PATH=$room/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec "$room/program" "$@"
"""


# ninja takes no options from the environment; this one goes on after a step that failed, as make does with -k
_NINJA = '#!/bin/sh\nexec /usr/bin/ninja -k 0 "$@"\n'


@dataclass(frozen=True)
class Recording:
    """What a build did: its TUs, and for each output of a link or archive its input files (all relative to the
    root)."""

    units: tuple[Unit, ...]
    links: Mapping[str, tuple[str, ...]]
    touched: frozenset[str] = frozenset()  # outputs under all names that links use, those given by a rename among them
    shared: frozenset[str] = (
        frozenset()
    )  # libraries that are loaded: whoever is linked with one does not hold its objects
    untold: tuple[str, ...] = ()  # what was compiled and cannot be compiled again, in words
    sonames: Mapping[str, str] = field(default_factory=dict)  # of links that set one

    def objects_of(self, output: str) -> frozenset[str]:
        """The objects that an output is linked from, through archives and partial links."""
        known = {u.object for u in self.units}
        found: set[str] = set()
        seen: set[str] = set()
        todo = [output]
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in known:
                found.add(name)
            else:
                todo += (x for x in self.links.get(name, ()) if x not in self.shared)
        return frozenset(found)

    def uncompiled(self, output: str, files: Path) -> tuple[str, ...]:
        """What an output in a real tree (`files`) is linked from and nothing was seen to compile: objects and archives
        of the tree, and members of its archives. What lies outside is not the tree's."""
        known = {u.object for u in self.units}
        found: set[str] = set()
        seen = set(known)
        todo = [output]
        while todo:
            name = todo.pop()
            if name in seen or name in self.shared:
                continue
            seen.add(name)
            if name in self.links:
                todo += self.links[name]
                own = {posixpath.basename(x) for x in self.objects_of(name) | set(self.links[name])}
                found |= {f"{name}({x})" for x in archive.members(files / name) if x not in own}
            elif not name.startswith("/") and archive.is_linked_in(files / name):
                found.add(name)
        return tuple(sorted(found))

    def objects_of_pattern(self, pattern: str) -> frozenset[str]:
        """The objects of all outputs whose path matches a shell pattern."""
        return frozenset().union(*(self.objects_of(x) for x in self.links if fnmatchcase(x, pattern)))


def install(folder: Path) -> None:
    """Write the stand-ins into an empty folder, to be put in front of PATH."""
    script = folder / "sh"
    script.write_text(_STAND_IN)
    script.chmod(0o755)
    for name in (*COMPILERS, *ARCHIVERS):
        os.link(script, folder / name)
    script.unlink()


def keep_going(folder: Path) -> None:
    """Write beside the stand-ins a ninja that does all it can when a step fails, and what makes a program for real that
    the build runs."""
    for name, text in (("ninja", _NINJA), ("suture-realize", _REALIZE)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def environment(log: str, mode: str, path: str, tools: str = "") -> dict[str, str]:
    """Variables that the stand-ins need: folder of the log, `STUB` or `PASS`, and PATH without the stand-ins."""
    kept = {"SUTURE_RECORD_TOOLS": tools} if tools else {}
    return {"SUTURE_RECORD": log, "SUTURE_RECORD_MODE": mode, "SUTURE_RECORD_PATH": path, **kept}


def read(log: Path, root: str, files: Path | None = None) -> Recording:
    """The recording in a log folder, of a tree whose root (absolute, as the build saw it) is given.

    `files` is where the tree lies for us after the recording, to look into touched objects.

    A source outside the root is left out, as is one that was compiled by clang beside gcc (bitcode). When an object was
    compiled more than once the last command counts.
    """
    units: dict[str, Unit] = {}
    links: dict[str, list[str]] = {}
    searched: dict[str, list[tuple[str, ...]]] = {}
    shared: set[str] = set()
    sonames: dict[str, str] = {}
    untold: dict[str, None] = {}
    for path in sorted(filter(cache.is_plain, log.iterdir()), key=lambda p: (p.stat().st_mtime_ns, p.name)):
        for directory, name, mode, call in _calls(path.read_bytes()):
            here = posixpath.normpath(directory)
            if mode == "archive":
                named = [relative(root, here, x.path) for x in call.inputs if "." in x.path]
                if len(named) > 1:
                    links.setdefault(named[0], []).extend(named[1:])
                continue
            if "clang" in name and "-emit-llvm" in call.arguments:
                continue
            for source in call.sources:
                if source.path == "-":
                    untold[f"{call.output or 'an object'}, compiled from standard input in {here}"] = None
                    continue
                unit = _unit(root, here, name, call, source)
                if unit:
                    units[unit.object] = unit
            if not call.compiles_only:
                output = relative(root, here, call.output or "a.out")
                links[output] = [relative(root, here, call.object_of(x) if x.language else x.path) for x in call.inputs]
                searched[output] = [tuple(relative(root, here, x) for x in names) for names in call.libraries]
                shared |= {output} if call.is_shared else set()
                sonames |= {output: call.soname} if call.soname else {}
    for output, rows in searched.items():
        # a library that the build did not make holds none of its objects
        links[output] += [x for names in rows for x in [_library(names, links)] if x]
    ordered = sorted(units.values(), key=lambda u: u.object)
    inputs = {x for v in links.values() for x in v}
    names = {x: x if x in units or x in links else _first_name(x, root, files) for x in inputs}
    touched = frozenset(units) | frozenset(links) | frozenset(names)
    copies = archive.KnownObjects(files, ordered) if files else None
    found: dict[str, tuple[str, ...]] = {}
    for output, given in links.items():
        whole = [y for x in given for y in (copies.of(names[x]) if copies and names[x] not in links else (names[x],))]
        found[output] = tuple(dict.fromkeys(whole))
    return Recording(tuple(ordered), found, touched, frozenset(shared), tuple(untold), sonames)


def _library(names: Sequence[str], made: Collection[str]) -> str:
    """What the linker takes of the files that `-l` may mean; "" when the build made none of them.

    `libx.so` is mostly a link to `libx.so.1.2`, which is what the build made.
    """
    for name in names:
        versions = [x for x in made if x.startswith(f"{name}.")] if name.endswith(".so") else []
        if name in made or versions:
            return name if name in made else min(versions)
    return ""


def clean(recording: Recording, files: Path) -> None:
    """Remove what the stand-ins touched in a tree, so that nobody takes it for an object or a program."""
    for name in recording.touched:
        path = files / name
        if not name.startswith("/") and cache.is_plain(path) and cache.is_inside(path, files):
            with path.open("rb") as handle:
                if handle.read(len(_MARK)) in {_MARK, b"", _EMPTY, _PROGRAM[: len(_MARK)]}:
                    path.unlink()


def _first_name(name: str, root: str, files: Path | None) -> str:
    """The name under which an object was compiled that a build has renamed or copied since."""
    path = files / name if files else None
    if files is None or path is None or not cache.is_plain(path) or not cache.is_inside(path, files):
        return name
    with path.open("rb") as handle:
        if handle.read(len(_MARK)) != _MARK:
            return name
        return relative(root, "/", handle.readline().decode(errors="surrogateescape").strip())


def relative(root: str, directory: str, path: str) -> str:
    """A path as a build in `directory` names it, relative to the root; absolute if it lies outside."""
    whole = posixpath.normpath(posixpath.join(directory, path))
    return whole[len(root) + 1 :] if whole.startswith(root + "/") else whole


def _unit(root: str, directory: str, name: str, call: Call, source: Input) -> Unit | None:
    path = relative(root, directory, source.path)
    if path.startswith("/") or source.language is None:
        return None
    argv = (name, *call.command_of(source))
    return Unit(path, relative(root, directory, call.object_of(source)), directory, argv, source.language)


def _calls(data: bytes) -> Iterator[tuple[str, str, str, Call]]:
    """Directory, program, what the stand-in took it for, and the call itself."""
    fields = [x.decode(errors="surrogateescape") for x in data.split(b"\0")]
    responses: dict[str, str] = {}
    at = 0
    while at + 4 < len(fields):
        count = int(fields[at])
        mode, directory, name = fields[at + 1 : at + 4]
        arguments = fields[at + 4 : at + 4 + count]
        at += 4 + count
        if mode == "response":
            responses[name] = arguments[0]
        else:
            yield directory, name, mode, Call.of(arguments, responses)
            responses = {}
