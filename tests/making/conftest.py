"""A small package of C sources, shipped stripped, with a fix; the running program itself says which code it runs.

Sources are compiled in one folder before and after the fix, in the variants that the product uses (compile/unit.py),
and linked as the shipped library or program. Functions are called by name over a pipe.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from suture.compile.unit import Variant
from suture.delta.atom import AtomObject
from suture.delta.change import UnitChange
from suture.delta.compare import Difference, difference
from suture.delta.ledger import Account, Fate, FileAccount, Ledger
from suture.elf.abi import SymbolType
from suture.elf.file import ElfFile
from suture.error import ExitCode
from suture.make.build import Built, build
from suture.make.resolve import FoundSymbol
from suture.make.storage import stored
from suture.match.correlate import correlate
from suture.match.match import Match, NoMatch
from suture.match.run import Run
from suture.number import BuildId, Vaddr
from suture.patch.file import PatchFile, parse_patch
from suture.patch.manifest import FixFact, Manifest, RefusedFunction, ReplacedFunction, Target
from suture.process.change.apply import apply
from suture.process.change.revert import revert

CALLER = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
%(declared)s
static const struct { const char *name; long (*call)(long); } known[] = {%(rows)s{0, 0}};
int main(void) {
  char line[256];
  setvbuf(stdout, 0, _IOLBF, 0);
  puts("1");
  while (fgets(line, sizeof line, stdin)) {
    char *value = strchr(line, ' ');
    if (value) *value++ = 0;
    for (int n = 0; known[n].name; n++)
      if (!strcmp(known[n].name, line)) printf("%%ld\\n", known[n].call(value ? atol(value) : 0));
  }
  return 0;
}
"""


class Kind(Protocol):
    """How a package is shipped: compiler flags for its units, and for linking."""

    name: str
    cflags: Sequence[str]
    ldflags: Sequence[str]


@dataclass(frozen=True)
class Shape:
    name: str
    cflags: tuple[str, ...]
    ldflags: tuple[str, ...]


LIBRARY = Shape("library", ("-fPIC",), ("-shared",))
PIE = Shape("pie", ("-fPIE",), ("-pie",))
FIXED = Shape("fixed", ("-fno-pie",), ("-no-pie",))


def compiler(name: str) -> str:
    return "g++" if name.endswith(".cc") else "gcc"


@dataclass
class Package:
    """`sources` and `fix` map file names to text; `calls` are the functions, `long f(long)`, that the program calls by
    name. `members` are the functions of each fix, None for one fix."""

    folder: Path
    shape: Shape
    sources: dict[str, str]
    fix: dict[str, str]
    calls: tuple[str, ...]
    cflags: tuple[str, ...]
    ldflags: tuple[str, ...]
    host_flags: tuple[str, ...] = ()
    request: dict[str, tuple[str, ...]] = field(default_factory=dict)
    members: Sequence[frozenset[tuple[str, str]]] | None = None
    running: list[Running] = field(default_factory=list)

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def units(self) -> list[str]:
        return [n for n in {**self.sources, **self.fix} if n.endswith((".c", ".cc"))]

    @property
    def shipped(self) -> Path:
        return self.folder / ("libshipped.so" if self.shape.name == "library" else "shipped")

    @property
    def unstripped(self) -> Path:
        return self.folder / "unstripped"

    def write(self, files: Mapping[str, str]) -> None:
        shutil.rmtree(self.tree, ignore_errors=True)
        self.tree.mkdir(parents=True)
        for name, text in files.items():
            (self.tree / name).write_text(text)

    def compile(self, stage: str, unit: str, extra: Sequence[str] = (), tag: str = "shipped") -> Path:
        """An object of one version's tree: of the sources as shipped (`pre`) or with the fix (`post`)."""
        self.write(self.sources if stage == "pre" else {**self.sources, **self.fix})
        out = self.folder / stage / f"{unit}.{tag}.o"
        out.parent.mkdir(exist_ok=True)
        flags = ["-O2", "-g", *self.shape.cflags, *self.cflags, *extra]
        subprocess.run([compiler(unit), *flags, "-c", unit, "-o", str(out)], check=True, cwd=self.tree)
        return out

    def make(self) -> None:
        """Compile and link the shipped file and the program that calls it."""
        own = [u for u in self.units if u in self.sources]
        objects = [self.compile("pre", u) for u in own]
        rows = "".join(f'{{"{c}", {c}}},' for c in self.calls)
        declared = "".join(f"long {c}(long);\n" for c in self.calls)
        (self.tree / "caller.c").write_text(CALLER % {"declared": declared, "rows": rows})
        caller = self.folder / "caller.o"
        library = self.shape is LIBRARY
        run = subprocess.run
        flags = ["-O2", *(("-fPIE", *self.host_flags) if library else self.shape.cflags)]
        run(["gcc", *flags, "-c", "caller.c", "-o", str(caller)], check=True, cwd=self.tree)
        link = "g++" if any(u.endswith(".cc") for u in own) else "gcc"
        rest = [] if library else [str(caller)]
        run(
            [link, *self.shape.ldflags, "-Wl,--build-id",
            *map(str, objects), *rest, *self.ldflags, "-o", str(self.unstripped)],
            check=True, cwd=self.tree,
        )  # fmt: skip
        run(["strip", "-o", str(self.shipped), str(self.unstripped)], check=True)
        if library:
            self.link_host()

    def remake_post(self) -> None:
        """The fix is another by now: nothing that was compiled of it is asked again."""
        shutil.rmtree(self.folder / "post", ignore_errors=True)

    def link_host(self) -> None:
        flags = [*self.host_flags, str(self.folder / "caller.o"), str(self.shipped), f"-Wl,-rpath,{self.folder}"]
        subprocess.run(["gcc", *flags, "-o", str(self.folder / "host")], check=True)

    def symbols(self) -> dict[str, tuple[int, int]]:
        """Address and size by name, as nm reads them from the copy that is not stripped."""
        out = subprocess.run(["nm", "-S", str(self.unstripped)], check=True, capture_output=True, text=True).stdout
        rows = [line.split() for line in out.splitlines()]
        return {r[3]: (int(r[0], 16), int(r[1], 16)) for r in rows if len(r) == 4}

    def object_file(self, stage: str, unit: str, variant: Variant) -> Path:
        """Compiled when it is first asked for: few tests want each variant."""
        path = self.folder / stage / f"{unit}.{variant.name}.o"
        return path if path.exists() else self.compile(stage, unit, variant.value, variant.name)

    def object(self, stage: str, unit: str, variant: Variant) -> ElfFile:
        return ElfFile.read(self.object_file(stage, unit, variant))

    def atoms(self, stage: str, unit: str, variant: Variant = Variant.SECTIONS) -> AtomObject:
        return AtomObject(self.object(stage, unit, variant))

    def difference(self, unit: str) -> Difference:
        return difference(*(self.atoms(s, unit, Variant.COMPARE) for s in ("pre", "post")))

    def match(self, unit: str) -> Match:
        plain, sections = (self.object("pre", unit, v) for v in (Variant.PLAIN, Variant.SECTIONS))
        return correlate(unit, unit + ".o", plain, sections, Run.read(self.shipped), partial(self.called, unit))

    def called(self, unit: str, name: str) -> Vaddr | None:
        """Where the other units lead under a name."""
        run = Run.read(self.shipped)
        for other in self.sources:
            if other.endswith((".c", ".cc")) and other != unit:
                plain, sections = (self.object("pre", other, v) for v in (Variant.PLAIN, Variant.SECTIONS))
                with contextlib.suppress(NoMatch):
                    found = correlate(other, other + ".o", plain, sections, run).leads_to(name, run)
                    if found is not None:
                        return found
        return None

    def changes(self) -> list[UnitChange]:
        found = []
        for unit in self.units:
            if unit in self.sources:
                delta = self.difference(unit)
                if not delta.is_empty:
                    apart = partial(self.apart, unit)
                    way = stored(partial(self.compiles, unit), delta)
                    assert way.problem is None
                    atoms = (self.atoms("pre", unit), self.atoms("post", unit, way.variant))
                    found.append(
                        UnitChange(
                            unit,
                            unit + ".o",
                            *atoms,
                            way.difference,
                            self.match(unit),
                            apart=apart,
                            unstored=way.unstored,
                        )
                    )
        return found

    def compiles(self, unit: str, variant: Variant) -> tuple[AtomObject, AtomObject]:
        return self.atoms("pre", unit, variant), self.atoms("post", unit, variant)

    def apart(self, unit: str) -> tuple[AtomObject, AtomObject]:
        return self.atoms("pre", unit, Variant.APART), self.atoms("post", unit, Variant.APART)

    def elsewhere(self, name: str) -> FoundSymbol | None:
        for unit in self.sources:
            if unit.endswith((".c", ".cc")):
                elf = self.object("pre", unit, Variant.SECTIONS)
                defined = [s for s in elf.symbols if s.name == name and s.has_section]
                if defined:
                    address = self.match(unit).address_of(name)
                    if address is not None:
                        ifunc = defined[0].type == SymbolType.GNU_IFUNC
                        return FoundSymbol(address, f"{unit} defines it and was found", ifunc)
        return None

    def build(self) -> Built:
        run = Run.read(self.shipped)
        target = Target(run.elf.build_id or BuildId(""), self.shipped.name, "p", "p", "1", "x86_64")
        whole = Ledger((FileAccount("a.c", (Account(Fate.PATCHED),)),))
        fixes = [FixFact("x.patch", ("CVE-2099-0001",), "00", whole)]
        told = None if self.members is None else lambda _: self.members
        toolchain = {"compiler": "gcc"}
        return build("p-1", target, self.changes(), run, fixes, self.elsewhere, toolchain, self.request, members=told)

    def patch(self) -> PatchFile:
        """The patch of everything that the fix changes; a refusal is a failure."""
        built = self.build()
        assert built.data is not None and not built.refused, built.refused
        return parse_patch(built.data, "test")

    def refused(self) -> tuple[RefusedFunction, ...]:
        built = self.build()
        return built.refused

    def start(self, env: Mapping[str, str] | None = None) -> Running:
        program = self.folder / "host" if self.shape is LIBRARY else self.shipped
        process = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        running = Running(process)
        self.running.append(running)
        running.read("start")
        return running

    def end(self) -> None:
        """End all programs that were started."""
        while self.running:
            self.running.pop().end()


@dataclass
class Running:
    """The program, asked by function name."""

    process: subprocess.Popen[bytes]

    def ask(self, name: str, value: int = 0) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{name} {value}\n".encode())
        self.process.stdin.flush()
        return self.read(f"{name}({value})")

    def read(self, what: str) -> int:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the program ended with {self.process.wait()} at {what}"
        return int(line)

    def apply(self, patch: PatchFile) -> None:
        result = apply(self.process.pid, patch)
        assert result.exit_code is ExitCode.OK, result

    def revert(self, patch: PatchFile) -> None:
        assert revert(self.process.pid, patch.id).exit_code is ExitCode.OK

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class Make(Protocol):
    def __call__(
        self,
        sources: dict[str, str] | str,
        fix: dict[str, str] | str | tuple[str, str],
        calls: str,
        shape: str = "library",
        cflags: Sequence[str] = (),
        ldflags: Sequence[str] = (),
        host_flags: Sequence[str] = (),
    ) -> Package: ...


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Make]:
    """Make packages whose programs end with the test."""
    with packages(tmp_path) as make:
        yield make


@contextlib.contextmanager
def packages(place: Path) -> Iterator[Make]:
    """Make packages in a folder; their programs end in the end. One source text is `a.c`; a fix given as (old, new)
    replaces text in it."""
    made: list[Package] = []

    def build_package(
        sources: dict[str, str] | str,
        fix: dict[str, str] | str | tuple[str, str],
        calls: str,
        shape: str = "library",
        cflags: Sequence[str] = (),
        ldflags: Sequence[str] = (),
        host_flags: Sequence[str] = (),
    ) -> Package:
        files = {"a.c": sources} if isinstance(sources, str) else sources
        if isinstance(fix, tuple):
            name = next(n for n, text in files.items() if fix[0] in text)
            fix = {name: files[name].replace(*fix)}
        elif isinstance(fix, str):
            fix = {next(iter(files)): fix}
        kind = {s.name: s for s in (LIBRARY, PIE, FIXED)}[shape]
        folder = place / f"p{len(made)}"
        folder.mkdir()
        one = Package(folder, kind, files, fix, tuple(calls.split()), tuple(cflags), tuple(ldflags), tuple(host_flags))
        one.make()
        made.append(one)
        return one

    yield build_package
    for one in made:
        one.end()


def names(patch: PatchFile | Manifest) -> set[str]:
    manifest = patch if isinstance(patch, Manifest) else patch.manifest
    return {f.name for f in manifest.functions}


def function(patch: PatchFile, name: str) -> ReplacedFunction:
    return next(f for f in patch.manifest.functions if f.name == name)


def dump(patch: PatchFile) -> str:
    return json.dumps(json.loads(patch.manifest.to_json()), indent=1)
