"""Which tripwires harmless use raises: the patches of all fixes of a package together, in processes of the package's
own tests, its commands, and commands of the release. `bench/tripwires_noise` calls it.

The programs are in bench/tripwires_noise.toml. Each is held before `main`, patched, and let go; what its own process
has counted by its end is what it raised.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from typing import Any

from facts import RESULTS, Record, Start
from tripwires_page import DOCUMENT, document

from suture.command import CommandFailed, run
from suture.error import SutureError
from suture.patch.file import PatchFile, read_patch
from suture.patch.tripwire import NOISY
from suture.process.change.apply import apply
from suture.process.see.aside import named
from suture.process.see.tripwires import counted, wired
from suture.report.attempt import CountedWire
from suture.source.archive import archive_for
from suture.trial.trial import HOLD

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "coverage"))

from fix import Fix, Package, load_fixes  # noqa: E402
from row import suture  # noqa: E402
from subject import Files, fetch, mappings  # noqa: E402

_SECONDS = 300.0  # for one program
_COMMANDS = {"openssl": ("openssl",), "libxml2": ("libxml2-utils",), "glibc": ("libc-bin",)}


@dataclass(frozen=True)
class Harmless:
    """A program of bench/tripwires_noise.toml."""

    package: str
    test: str = ""
    command: str = ""
    arguments: tuple[str, ...] = ()
    input: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        last = [a.rpartition("/")[2] for a in self.arguments]
        return " ".join([self.test or self.command, *last])


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/tripwires_noise", description="Tripwires that harmless use raises.")
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="openssl, libxml2 or glibc, printed only")
    parser.add_argument("--keep", action="store_true", help="take these packages' rows into the kept numbers")
    args = parser.parse_args(words)
    start = Start.now("tripwires_noise", words)
    table = tomllib.loads((HERE / "tripwires_noise.toml").read_text())["program"]
    programs = [Harmless(**{**row, "arguments": tuple(row.get("arguments", ()))}) for row in table]
    fixes = [f for f in load_fixes() if f.trigger]
    rows = []
    with tempfile.TemporaryDirectory(prefix="suture-noise-") as name:
        for package in dict.fromkeys(f.package for f in fixes):
            if not args.packages or package.source in args.packages:
                own = [p for p in programs if p.package == package.source]
                rows.append(_row(package, [f for f in fixes if f.package == package], own, Path(name)))
    if args.keep:
        kept = Record.read(RESULTS / "tripwires_noise.json").data["rows"]
        rows = [next((r for r in rows if r["package"] == k["package"]), k) for k in kept]
    if args.keep or not args.packages:
        start.finish({"rows": rows}).write(RESULTS)
        DOCUMENT.write_text(document(Record.read(RESULTS / "tripwires.json")))
    return 0


def _row(package: Package, fixes: Sequence[Fix], programs: Sequence[Harmless], folder: Path) -> dict[str, Any]:
    """One package: its fixes as one patch for each binary, and what each program raises."""
    output = folder / package.source
    output.mkdir()
    made = suture("make", *_together(package, fixes), "--tripwires", "--try", f"--output={output}")
    patches = [read_patch(Path(p["path"])) for p in made["patches"]]
    left = [w for p in patches for w in p.manifest.without_tripwire if w.reason.startswith(NOISY)]
    row = {
        "package": package.source,
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "tripwires": sum(len(p.manifest.tripwires) for p in patches),
        "refused": len(made["refused"]),
        "noisy": [f"{w.file}:{w.line} {w.condition}: {w.reason.removeprefix(NOISY)}" for w in left],
        "programs": [],
    }
    print({k: v for k, v in row.items() if k != "programs"}, flush=True)
    user = _User(package, fetch(package, package.version), output, patches)
    user.prepare()
    row["programs"] = [_program(user, one) for one in programs]
    return row


def _together(package: Package, fixes: Sequence[Fix]) -> list[str]:
    """All fixes of a package as arguments of `suture make`."""
    patches = dict.fromkeys(p for f in fixes for p in f.patches)
    only = dict.fromkeys(p for f in fixes for p in f.only)
    words = [f"--source={package.source}={package.version}"]
    words += [f"--fix-from={package.source}={package.fixed}:{name}" for name in patches]
    return words + ([f"--to={package.fixed}", *(f"--only={path}" for path in only)] if only else [])


def _program(user: _User, one: Harmless) -> dict[str, Any]:
    said: dict[str, Any] = {"program": one.text, "raised": [], "status": None, "note": ""}
    try:
        said |= user.run(one)
    except (CommandFailed, SutureError, OSError) as problem:
        said["note"] = str(getattr(problem, "what", problem)).splitlines()[0][:200]
    print(said, flush=True)
    return said


@dataclass
class _User:
    """Runs programs on the shipped files of a package, patched."""

    package: Package
    files: Files
    output: Path
    patches: Sequence[PatchFile]

    def prepare(self) -> None:
        """What holds a process, and the tests' own library."""
        (self.output / "hold.c").write_text(HOLD)
        run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(self.output / "hold.so"), str(self.output / "hold.c")])
        if self.package.source == "openssl":
            helpers = [self.tree / "test" / "helpers" / n for n in ("ssltestlib.c", "pkcs12.c")]
            sources = [*(self.tree / "test" / "testutil").glob("*.c"), self.tree / "apps" / "lib" / "opt.c", *helpers]
            for source in sorted(sources):
                target = str(self.output / f"{source.stem}.o")
                run(["gcc", "-w", "-O1", "-c", *self._includes, str(source), "-o", target])
            objects = sorted(str(p) for p in self.output.glob("*.o") if not p.name.endswith(".suture.o"))
            run(["ar", "rcs", str(self.output / "tests.a"), *objects])

    @property
    def tree(self) -> Path:
        """The source of the shipped version."""
        archive = archive_for(self.package.source, self.package.version)
        return archive.source(self.package.source, self.package.version).tree

    @property
    def _includes(self) -> list[str]:
        shipped = [f"-I{folder}" for folder in self.files.headers]
        own = ("include", "test", "test/helpers", "apps/include", ".") if self.package.source == "openssl" else (".",)
        return [*shipped, *(f"-I{self.tree / name}" for name in own)]

    def _built(self, test: str) -> Path:
        """A test of the package, linked with the shipped libraries. Raises `CommandFailed`."""
        target = self.output / test
        if not target.is_file():
            places = [self.tree / folder / f"{test}.c" for folder in ("test", ".", "doc/examples")]
            source = next(p for p in places if p.is_file())
            own = [str(p) for p in self.output.glob("tests.a")]
            folders = [f"-L{folder}" for folder in self.files.libraries]
            libraries = [*(f"-l:{name}" for name in self.package.link), "-lpthread", "-lm"]
            words = ["gcc", "-w", "-O1", *self._includes, "-o", str(target), str(source), *own, *folders, *libraries]
            run([*words, "-Wl,--allow-shlib-undefined"])
        return target

    def _found(self, command: str) -> Path:
        archive = archive_for(self.package.source, self.package.version)
        for package in _COMMANDS[self.package.source]:
            path = archive.binary(package, self.package.version) / "usr/bin" / command
            if path.is_file():
                return path
        own = which(command)
        assert own is not None, command
        return Path(own)

    def run(self, one: Harmless) -> dict[str, Any]:
        """One program, patched from before `main`: the tripwires that it raised, and its exit status."""
        program = self._built(one.test) if one.test else self._found(one.command)
        names = {"test": str(self.tree / "test"), "out": str(self.output), "here": str(HERE.parent)}
        for name, text in one.files.items():
            (self.output / name).write_text(text)
        words = [str(program), *(_filled(a, names) for a in one.arguments)]
        place = self.output / f"place-{time.monotonic_ns()}"
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "SUTURE_HOLD": str(place)}
        environment["LD_PRELOAD"] = str(self.output / "hold.so")
        path = ":".join(str(folder) for folder in self.files.libraries)
        if self.package.loader:
            gconv = next(f / "gconv" for f in self.files.libraries if (f / "gconv").is_dir())
            environment["GCONV_PATH"] = str(gconv)
            host = "/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu"
            words = [str(self.files.shipped / "ld-linux-x86-64.so.2"), "--library-path", f"{path}:{host}", *words]
        else:
            environment["LD_LIBRARY_PATH"] = path
        with tempfile.TemporaryFile() as given, open(f"{place}.said", "wb") as said:
            given.write(one.input.encode())
            given.seek(0)
            process = subprocess.Popen(
                words, env=environment, cwd=self.output, stdin=given, stdout=said, stderr=subprocess.STDOUT
            )
            try:
                return self._watched(process, place)
            finally:
                process.kill()
                process.wait()

    def _watched(self, process: subprocess.Popen[bytes], place: Path) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while not place.with_name(f"{place.name}.ready").exists():
            if process.poll() is not None or time.monotonic() > end:
                return {"note": "it does not wait to be patched"}
            time.sleep(0.05)
        mapped = {Path(m.name).name for m in mappings(process.pid)}
        own = [p for p in self.patches if _is_mapped(p, mapped)]
        for patch in own:
            apply(process.pid, patch)
        place.with_name(f"{place.name}.go").touch()
        counts: dict[str, int] = {}
        note = ""
        while process.poll() is None:
            if time.monotonic() > end:
                note = f"it does not end in {_SECONDS:.0f} s"
                break
            is_done = place.with_name(f"{place.name}.done").exists()
            counts |= _counts(process.pid)
            if is_done:
                place.with_name(f"{place.name}.over").touch()
            time.sleep(0.1)
        raised = sorted(place for place, count in counts.items() if count)
        return {"raised": raised, "patches": len(own), "status": process.poll(), "note": note}


def _filled(text: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _is_mapped(patch: PatchFile, mapped: set[str]) -> bool:
    name = patch.manifest.target.file
    return any(m == name or m.startswith(f"{name}.") for m in mapped)


def _counts(pid: int) -> dict[str, int]:
    """What the tripwires of a process count now; nothing once it has ended."""

    def look() -> tuple[CountedWire, ...]:
        found = wired(pid)
        return counted(found) if found is not None else ()

    with suppress(SutureError):
        return {f"{c.wire.file}:{c.wire.line} {c.wire.condition}": c.count for c in named(pid, look)}
    return {}


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
