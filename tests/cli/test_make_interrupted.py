"""`suture make` twice at once, and ended at any moment: nothing half-made stays, and the next one gives the same
bytes."""

from __future__ import annotations

import difflib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from suture.source import cache
from suture.source.archive import archive_for
from tests.command import SUTURE, suture

ZLIB = "1:1.2.13.dfsg-1"
UNITS = 6
UNIT = "long f%(n)d(long x) { long r = 1; while (x-- > 0) r = r * 31 + %(n)d * x; return r; }\n"


@dataclass
class Making:
    """A making that can be done again and again: `words` are its options, `folder` where its patch goes."""

    words: tuple[str, ...]
    folder: Path

    def start(self) -> subprocess.Popen[str]:
        command = [str(SUTURE), "make", *self.words, "--output", str(self.folder)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def finish(self) -> bytes:
        """Make it; the bytes of the patch."""
        process = self.start()
        said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        (data,) = self.shows()
        return data

    def shows(self) -> list[bytes]:
        """The patches that a person finds there; a hidden file of a making that was killed is none."""
        found = [p for p in self.folder.glob("*") if not p.name.startswith(".")]
        shown = [p.read_bytes() for p in found]
        for path in found:
            path.unlink()
        return shown


def end(process: subprocess.Popen[str], sent: signal.Signals) -> None:
    """Ctrl-C reaches all that runs in the terminal, a SIGKILL the command alone."""
    if sent is signal.SIGINT:
        os.killpg(process.pid, sent)
    else:
        process.kill()
    process.communicate(timeout=60)
    assert process.returncode in ({130, -signal.SIGINT, 0} if sent is signal.SIGINT else {-sent, 0})


def clear(folder: Path) -> None:
    """Empty a folder in which compilers of a killed making may still write: they end by themselves, soon."""
    for _ in range(100):
        subprocess.run(["find", folder, "-mindepth", "1", "-delete"], stderr=subprocess.DEVNULL, check=False)
        if not any(folder.iterdir()):
            return
        time.sleep(0.1)
    pytest.fail(f"{folder} is written to ten seconds after its making was killed")


def half_made(root: Path) -> list[Path]:
    """What the compiler made, under its final name: objects that `nm` does not take, lists that end in the middle of a
    line."""
    named = [p for p in root.glob("object/*/*") if not p.parent.name.startswith(".")]
    return [p for p in named if not (_is_object(p) or p.read_bytes()[-1:] == b"\n")]


def _is_object(path: Path) -> bool:
    whole = subprocess.run(["nm", path], capture_output=True, check=False).returncode == 0
    return whole and path.read_bytes().startswith(b"\x7fELF")


def left_over(root: Path) -> list[Path]:
    """Folders of processes that are gone."""
    return [p for place in ("object", "run") for p in (root / place).glob(".scratch-*")]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Making:
    """A fix of a header of a tree of one's own."""
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "project"
    root.mkdir()
    names = [f"u{n}" for n in range(UNITS)]
    for n, name in enumerate(names):
        (root / f"{name}.c").write_text('#include "k.h"\n' + (UNIT % {"n": n}).replace("31", "K"))
    (root / "k.h").write_text("#define K 31\n")
    calls = "+".join(f"f{n}(c)" for n in range(UNITS))
    (root / "main.c").write_text(
        "".join(f"long f{n}(long);\n" for n in range(UNITS)) + f"int main(int c, char **v) {{ return {calls}; }}\n"
    )
    objects = " ".join(f"{n}.o" for n in [*names, "main"])
    (root / "Makefile").write_text(f"prog: {objects}\n\tgcc -o prog {objects}\n%.o: %.c\n\tgcc -O2 -g -c $< -o $@\n")
    suture("record", "--", "make", cwd=root, check=True)
    fix = tmp_path / "k.patch"
    fix.write_text("--- a/k.h\n+++ b/k.h\n@@ -1 +1 @@\n-#define K 31\n+#define K 37\n")
    words = ("--tree", str(root), "--binary", str(root / "prog"), "--fix", str(fix))
    return Making(words, tmp_path / "out")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Making:
    """A fix of zlib in a cache that has all that is fetched and nothing that is made of it."""
    source = archive_for("zlib", ZLIB).source("zlib", ZLIB).tree / "zutil.c"
    archive_for("zlib", ZLIB).binary("zlib1g", ZLIB)
    old = source.read_text()
    new = old.replace("    flags = 0;", "    flags = 0x10000000;", 1)
    rows = difflib.unified_diff(old.splitlines(True), new.splitlines(True), "a/zutil.c", "b/zutil.c")
    fix = tmp_path / "flags.patch"
    fix.write_text("".join(rows))
    making = Making(("--source", f"zlib={ZLIB}", "--fix", str(fix)), tmp_path / "out")
    making.finish()  # the room with the build dependencies is made by now
    own = tmp_path / "cache"
    own.mkdir()
    for name in ("apt", "source", "binary", "layer", "room"):
        if (cache.root() / name).exists():
            (own / name).symlink_to(cache.root() / name)
    monkeypatch.setenv("SUTURE_CACHE", str(own))
    return making


def at_once(making: Making, folders: Sequence[Path]) -> list[bytes]:
    """The same making several times at the same time, each to a folder of its own."""
    several = [Making(making.words, folder) for folder in folders]
    started = [(m, m.start()) for m in several]
    found = []
    for one, process in started:
        said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        (path,) = one.folder.iterdir()
        found.append(path.read_bytes())
    return found


def test_makes_at_once_of_a_tree_of_ones_own_give_the_same_bytes(own: Making, tmp_path: Path) -> None:
    found = at_once(own, [tmp_path / f"out{n}" for n in range(3)])
    assert len(set(found)) == 1 and found[0] == own.finish()


@pytest.mark.parametrize("sent", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL])
def test_a_make_that_is_ended_at_any_time_leaves_nothing_half_made(
    own: Making, tmp_path: Path, sent: signal.Signals
) -> None:
    began = time.monotonic()
    expected = own.finish()
    whole = time.monotonic() - began
    for n in range(1, 5):
        clear(tmp_path / "cache/object")
        process = own.start()
        time.sleep(whole * n / 5)
        end(process, sent)
        assert own.shows() in ([], [expected]) and half_made(tmp_path / "cache") == []
    assert own.finish() == expected
    assert left_over(tmp_path / "cache") == []


@pytest.mark.archive
@pytest.mark.slow
def test_makes_at_once_of_a_package_prepare_it_once_and_give_the_same_bytes(package: Making, tmp_path: Path) -> None:
    found = at_once(package, [tmp_path / f"out{n}" for n in range(2)])
    assert len(set(found)) == 1
    assert len([p for p in (tmp_path / "cache/tree/zlib").glob("*/*") if not p.name.startswith(".")]) == 1


STEPS = ("configuring", "recording", "compiling", "matching", "making the patch")


@pytest.mark.archive
@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_package_can_be_made_after_one_that_was_ended_at_any_step(
    package: Making, tmp_path: Path, sent: signal.Signals
) -> None:
    shown: list[bytes] = []
    for step in STEPS:
        process = package.start()
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(step):
                break
        time.sleep(0.2 if step in STEPS[:3] else 0)
        end(process, sent)
        if step in STEPS[:2]:
            assert process.returncode != 0
            trees = [p for p in (tmp_path / "cache/tree/zlib").glob("*/*") if not p.name.startswith(".")]
            assert trees == []
        shown += package.shows()
        assert half_made(tmp_path / "cache") == []
    data = package.finish()
    assert left_over(tmp_path / "cache") == []
    assert {*shown} <= {data}
    # the same bytes as from a cache that nothing was ever interrupted in
    subprocess.run(["rm", "-r", *(str(tmp_path / "cache" / n) for n in ("tree", "object", "post"))], check=True)
    assert package.finish() == data
