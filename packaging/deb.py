"""The Debian package of Suture: `packaging/build-deb RELEASE` calls it.

What a host needs lies in /usr/lib/suture, where nothing but the command finds it. Everything is laid out here, and put
together in a clean room of the release, by its own tools. The same source gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import interpreter
import wheels

from suture import __version__
from suture.agent import policy
from suture.cli import completion, manual
from suture.error import SutureError
from suture.progress import Progress
from suture.source import cache
from suture.source.archive import Archive, SourceVersion
from suture.source.mirror import RELEASES

ROOT = Path(__file__).resolve().parents[1]
DEBIAN = Path(__file__).resolve().parent / "debian"
LIBRARY = "usr/lib/suture/packages"
UNITS = "lib/systemd/system"
DOCUMENTS = "usr/share/doc/suture"
EXAMPLE = "etc/suture/agent.example.toml"
MAINTAINER = "Suture maintainers <maintainers@suture.invalid>"

_COMMAND = """\
#!{python} -IS
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, "/{library}")
from suture.cli.main import main

sys.exit(main())
"""
_COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/suture",
    "zsh": "usr/share/zsh/vendor-completions/_suture",
    "fish": "usr/share/fish/vendor_completions.d/suture.fish",
}
_SCRIPT = r"""
export SOURCE_DATE_EPOCH={epoch}
umask 022
cp --recursive --preserve=mode,timestamps /stage /tmp/tree && cd /tmp/tree
export PYTHONHASHSEED=0
{run} -S -B -m compileall -q -f --invalidation-mode unchecked-hash -s /tmp/tree -p / -j 1 {folders} >/tmp/compiled \
    || {{ tail /tmp/compiled; exit 1; }}
mkdir /tmp/work /tmp/work/debian && cd /tmp/work
printf 'Source: suture\n\nPackage: suture\nArchitecture: any\nDescription: x\n' >debian/control
find /tmp/tree -type f \( -name '*.so' -o -name 'python3.11' \) -print0 | sort --zero-terminated \
    | xargs --null dpkg-shlibdeps -O --ignore-missing-info >depends 2>warnings || {{ cat warnings; exit 1; }}
needed=$(sed -n 's/^shlibs:Depends=//p' depends)
cd /tmp/tree
find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort --zero-terminated | xargs --null md5sum >DEBIAN/md5sums
size=$(du --apparent-size --summarize --block-size=1024 --exclude=DEBIAN . | cut -f1)
sed -i "s/@SIZE@/$size/; s/@SHLIBS@/$needed/" DEBIAN/control
find . -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {{}} +
dpkg-deb --root-owner-group -Zxz --build . /output/{name} >/dev/null
"""


@dataclass(frozen=True)
class Recipe:
    """What differs from release to release. `python` is the interpreter's path, `packages` what has to be installed
    for it, `brings` the source of one that the package brings, None where the release's own will do."""

    release: str
    python: str
    packages: tuple[str, ...]
    brings: SourceVersion | None

    @property
    def version(self) -> str:
        """Of the package; that of a newer release is the newer one."""
        return f"{__version__}+deb{RELEASES[self.release]}"

    @property
    def name(self) -> str:
        return f"suture_{self.version}_amd64.deb"


def recipe(release: str, python: str, progress: Progress) -> Recipe:
    """Bookworm has the Python that Suture is written for; bullseye has 3.9."""
    if release == interpreter.FROM:
        return Recipe(release, "/usr/bin/python3.11", ("python3.11",), None)
    return Recipe(release, interpreter.COMMAND, (), interpreter.source(progress, python))


def build(wanted: Recipe, output: Path, epoch: int, progress: Progress, again: bool = False) -> Path:
    """The package, written into a folder. `again` builds the interpreter anew though it is there."""
    archive = Archive(wanted.release, progress)
    own = interpreter.interpreter(wanted.brings, archive, progress, again) if wanted.brings else None
    room = (
        interpreter.building_room(archive, progress)
        if own
        else interpreter.room_with(archive, wanted.packages, progress)
    )
    progress(f"laying out {wanted.name}")
    with cache.scratch_folder(cache.root() / "run") as scratch:
        stage, out = scratch / "stage", scratch / "out"
        out.mkdir()
        lay_out(wanted, stage, own, epoch)
        folders = [LIBRARY, *([f"{interpreter.PREFIX[1:]}/lib"] if own else [])]
        run = f"PYTHONHOME=/tmp/tree{interpreter.PREFIX} /tmp/tree{wanted.python}" if own else wanted.python
        script = _SCRIPT.format(epoch=epoch, run=run, folders=" ".join(folders), name=wanted.name)
        progress(f"building {wanted.name}")
        room.enter(script, binds=[(stage, "/stage")], outputs=[(out, "/output")])
        output.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(out / wanted.name, output / wanted.name)
    return output / wanted.name


def lay_out(wanted: Recipe, stage: Path, own: Path | None, epoch: int) -> None:
    """All files of the package at their places below `stage`, with DEBIAN/ for dpkg-deb."""
    if own:
        shutil.copytree(own, stage, symlinks=True)
    _library(stage)
    _write(stage / "usr/bin/suture", _COMMAND.format(python=wanted.python, library=LIBRARY), 0o755)
    for unit in units():
        _write(stage / UNITS / unit.name, installed_unit(unit.read_text()))
    for shell, place in _COMPLETIONS.items():
        _write(stage / place, completion.SHELLS[shell]())
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch)
    for name, text in manual.pages().items():
        _packed(stage / f"usr/share/man/man{manual.SECTION}/{name}.gz", text)
    _write(stage / EXAMPLE, example_policy((ROOT / "docs/reference/agent-policy.md").read_text()))
    for folder in ("var/lib/suture", "var/cache/suture"):
        (stage / folder).mkdir(parents=True)
    _documents(wanted, stage, epoch)
    _control(wanted, stage)
    for folder, _, names in os.walk(stage):
        Path(folder).chmod(0o755)
        for path in (Path(folder) / name for name in names):
            is_program = path.stat().st_mode & 0o100 and path.suffix != ".py"
            path.chmod(0o755 if is_program else 0o644)


def _library(stage: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src/suture"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for name in listed:
        if (ROOT / name).is_file():
            _write(stage / LIBRARY / name.removeprefix("src/"), (ROOT / name).read_text())
    with tempfile.TemporaryDirectory() as folder:
        for wheel in wheels.fetch(Path(folder)):
            wheels.unpack(wheel, stage / LIBRARY)


def units() -> list[Path]:
    """The units that the package has."""
    return sorted((ROOT / "src/suture/agent/units").iterdir())


def enabled(unit: Path) -> bool:
    """Whether installing the package enables a unit: those that do nothing without a policy."""
    return f"ConditionPathExists={policy.DEFAULT}\n" in unit.read_text()


def installed_unit(text: str) -> str:
    """A unit for the command where the package has it."""
    if "/usr/local/bin/suture" not in text:
        raise ValueError("the unit does not run /usr/local/bin/suture")
    return text.replace("/usr/local/bin/suture", "/usr/bin/suture")


def example_policy(page: str) -> str:
    """The complete example of docs/reference/agent-policy.md; all but what is needed is commented out."""
    found = re.search(r"^```toml\n(.*?)^```$", page, re.M | re.S)
    if found is None:
        raise ValueError("the page has no example")
    first, _, rest = found[1].partition("\n\n")
    head = "# Copy this file to /etc/suture/agent.toml and change it there; `suture agent check` says what it means.\n"
    optional = [line for line in first.splitlines() if "needed:" not in line and line != "[feed]"]
    kept = [line for line in first.splitlines() if line not in optional]
    lines = [*kept, *(f"# {line}" for line in optional), "", *(f"# {x}" if x else "" for x in rest.splitlines())]
    return head + "\n" + "\n".join(lines) + "\n"


def _documents(wanted: Recipe, stage: Path, epoch: int) -> None:
    folder = stage / DOCUMENTS
    _write(folder / "copyright", (DEBIAN / "copyright").read_text())
    if wanted.brings:
        _packed(folder / "copyright.python.gz", (wanted.brings.tree / "debian/copyright").read_text())
    changes = f"  * The changes are in {DOCUMENTS}/CHANGELOG.md.gz.\n"
    entry = f"suture ({wanted.version}) {wanted.release}; urgency=medium\n\n{changes}\n"
    _packed(folder / "changelog.gz", f"{entry} -- {MAINTAINER}  {formatdate(epoch)}\n")
    _packed(folder / "CHANGELOG.md.gz", (ROOT / "CHANGELOG.md").read_text())
    for kind in ("how-to", "reference", "explanation"):
        for page in sorted((ROOT / "docs" / kind).iterdir()):
            _write(folder / "docs" / kind / page.name, page.read_text())
    _write(stage / "usr/share/lintian/overrides/suture", (DEBIAN / "lintian-overrides").read_text())


def _control(wanted: Recipe, stage: Path) -> None:
    depends = ", ".join(["@SHLIBS@", "passwd", *wanted.packages])
    text = (DEBIAN / "control").read_text()
    text = text.format(version=wanted.version, maintainer=MAINTAINER, size="@SIZE@", depends=depends)
    if wanted.brings:
        text = text.replace(
            "Description:", f"Built-Using: {wanted.brings.name} (= {wanted.brings.version})\nDescription:"
        )
    _write(stage / "DEBIAN/control", text)
    _write(stage / "DEBIAN/conffiles", f"/{EXAMPLE}\n")
    for name in ("postinst", "prerm", "postrm"):
        text = (DEBIAN / name).read_text().replace("@UNITS@", " ".join(u.name for u in units()))
        text = text.replace("@ENABLED@", " ".join(u.name for u in units() if enabled(u)))
        _write(stage / "DEBIAN" / name, text, 0o755)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _packed(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def epoch_of_source() -> int:
    """$SOURCE_DATE_EPOCH, else the time of the newest commit, in seconds."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    argv = ["git", "log", "-1", "--format=%ct"]
    return int(subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(prog="packaging/build-deb", description=__doc__)
    parser.add_argument("release", choices=("bookworm", "bullseye"))
    parser.add_argument("--output", type=Path, default=ROOT / "build", metavar="DIR", help="where to (default: build)")
    parser.add_argument("--python", default="", metavar="VERSION", help="of the Python source that bullseye's is from")
    parser.add_argument("--again", action="store_true", help="build that Python anew though it was built before")
    args = parser.parse_args()

    def say(step: str) -> None:
        print(f"{step} ...", file=sys.stderr, flush=True)

    try:
        print(build(recipe(args.release, args.python, say), args.output, epoch_of_source(), say, args.again))
    except SutureError as error:
        print(f"error: {error.what}\nremedy: {error.remedy}", file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
