"""Whatever a process, a file or a manifest calls itself: no verb writes it so that a terminal obeys it or a reader
takes it for ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from suture.cli.main import VERBS, main
from suture.elf.object_writer import NewSection, write_object
from suture.kernel.manifest import SECTION
from suture.match.proof import MatchedSection, MatchedUnit, Proof, ProvenSymbol
from suture.number import BuildId, Vaddr
from suture.patch.manifest import FixFact, RefusedFunction, Target, Verdict
from suture.patch.seal import seal
from suture.process.change.apply import apply
from suture.visible import MOST_LINE, Visible, visible
from tests.kernel.conftest import manifest as kernel_manifest
from tests.patch.test_file import MANIFEST, patch
from tests.process.conftest import LIBRARY, NEW, PROGRAM, Running, Start, gcc, make_patch, start

__all__ = ["start"]

NAME = "\x1b]0;owned\x07\x1b[2J\r\nFORGED 1 root fixed in memory\n\x9b31m\u202eexe\u200b\u2028\x7f\x08"
LONG = NAME + "x" * 15_000


def hostile_manifest(name: str) -> bytes:
    """A patch each of whose texts is hostile."""
    first, *_ = MANIFEST.groups
    function = replace(first.functions[0], name=name)
    refused = (RefusedFunction(name, name, 7, name, name),)
    units = (MatchedUnit(name, name, True, (MatchedSection(name, 9, 9, Vaddr(9)),), (name,)),)
    return patch(
        manifest=replace(
            MANIFEST,
            name=name,
            target=Target(BuildId(name), name, name, name, name, name),
            fixes=(FixFact(name, (name,), name),),
            groups=(replace(first, name=name, functions=(function,)),),
            supersedes=(name,),
            verdict=Verdict(False, (name,), refused),
            proof=Proof(units, (ProvenSymbol(name, Vaddr(9), (name,)),)),
            toolchain={name: name},
            request={"source": (f"{name}=1",), "fix": (name, name)},
            relaxed=name,
        )
    )


@pytest.fixture(params=[NAME, LONG], ids=["odd", "long"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    place = tmp_path / (NAME.replace("/", "") + ".suture.o")
    place.write_bytes(hostile_manifest(request.param))
    return place


@pytest.fixture
def carrier(start: Start, tmp_path: Path) -> Iterator[tuple[Running, Path]]:
    """A process with a hostile name and a hostile library's path that carries a patch with hostile texts; and a folder
    with that patch."""
    folder = tmp_path / NAME.replace("/", "")
    folder.mkdir()
    library = gcc(folder / "libanswer.so", LIBRARY, "-fPIC", "-shared")
    program = gcc(folder / "\x1b[31m\nFORGED", PROGRAM, str(library), f"-Wl,-rpath,{folder}")
    own = make_patch(folder / "p", library, NEW, {"answer": ["answer"]}, name="answer")
    verdict = Verdict(True, (NAME,))
    hostile = replace(
        own, manifest=replace(own.manifest, name=NAME, verdict=verdict, fixes=(FixFact(NAME, (NAME,), ""),))
    )
    target = start(program)
    target.ask("2")
    apply(target.pid, hostile)
    library.rename(folder / "gone")
    yield target, folder / "p"


Case = Callable[[Path, Running, Path], list[str]]
CASES: dict[str, list[Case]] = {
    "scan": [
        lambda f, t, p: ["scan"],
        lambda f, t, p: ["scan", "--patches", str(p)],
        lambda f, t, p: ["scan", "--patches", str(f.parent)],
    ],
    "make": [
        lambda f, t, p: ["make", "--source", f"{NAME}=1", "--fix", str(f)],
        lambda f, t, p: ["make", "--tree", NAME, "--for", NAME],
    ],
    "show": [
        lambda f, t, p: ["show", str(f)],
        lambda f, t, p: ["show", "--proof", str(f)],
        lambda f, t, p: ["show", str(f.with_suffix(".ko"))],
        lambda f, t, p: ["show", "--proof", str(f.with_suffix(".ko"))],
        lambda f, t, p: ["show", "--debug", NAME],
    ],
    "verify": [lambda f, t, p: ["verify", str(f)], lambda f, t, p: ["verify", str(f.with_suffix(".ko"))]],
    "apply": [
        lambda f, t, p: ["apply", str(f), str(t.pid)],
        lambda f, t, p: ["apply", "--accept-partial", str(f), str(t.pid)],
        lambda f, t, p: ["apply", "--accept-partial", str(f)],
        lambda f, t, p: ["apply", "--dry-run", "--accept-partial", str(f), str(t.pid)],
        lambda f, t, p: ["apply", str(p / "answer.suture.o"), str(t.pid)],
        lambda f, t, p: ["apply", NAME, str(t.pid)],
        lambda f, t, p: ["apply", "x", NAME],
    ],
    "status": [
        lambda f, t, p: ["status"],
        lambda f, t, p: ["status", str(t.pid)],
        lambda f, t, p: ["status", str(t.pid), "--json"],
        lambda f, t, p: ["status", str(t.pid), "--gdb", str(p / "answer.suture.o")],
    ],
    "revert": [lambda f, t, p: ["revert", NAME], lambda f, t, p: ["revert", str(p / "answer.suture.o"), str(t.pid)]],
    "guard": [
        lambda f, t, p: ["guard", "--seconds", "0.1", "--accept-partial", str(f)],
        lambda f, t, p: ["guard", "--seconds", "0.1", str(p / "answer.suture.o"), "--file", NAME],
        lambda f, t, p: ["guard", NAME],
    ],
    "feed": [
        lambda f, t, p: ["feed", "add", "--feed", str(f.parent / "feed"), NAME],
        lambda f, t, p: ["feed", "check", "--feed", NAME],
        lambda f, t, p: ["feed", "fetch", "--url", NAME, "--root", NAME, "--host", "--into", str(p)],
    ],
    "agent": [
        lambda f, t, p: ["agent", "check", NAME],
        lambda f, t, p: ["agent", "check", str(f)],
        lambda f, t, p: ["agent", "allow", NAME],
    ],
    "export": [
        *(
            lambda f, t, p, form=form: ["export", form, "--patches", str(p)]
            for form in ("openvex", "oval", "prometheus", "nagios", "restarts")
        ),
        lambda f, t, p: ["export", "restarts", "--batch", "--patches", str(f.parent)],
        lambda f, t, p: ["export", "nagios", "--scan", NAME],
    ],
    "els": [
        lambda f, t, p: ["els", "plan", NAME],
        lambda f, t, p: ["els", "backport", "x", "--version", NAME, "--fix", NAME],
        lambda f, t, p: ["els", "build", "x", "--patch", NAME],
        lambda f, t, p: ["els", "rpm", NAME, "--patch", NAME],
        lambda f, t, p: ["els", "review", NAME, "--fix", NAME],
        lambda f, t, p: ["els", "page", "--output", NAME, "--drafts", NAME, "--port", "99999999"],
    ],
    "fleet": [
        lambda f, t, p: ["fleet", "--database", NAME, "hosts"],
        lambda f, t, p: ["fleet", "hosts", "--database", NAME],
        lambda f, t, p: ["fleet", "restore", NAME],
        lambda f, t, p: ["fleet", "vex", NAME, "--publisher", NAME, "--database", f"sqlite:///{f.parent}/fleet.sqlite"],
        lambda f, t, p: ["fleet", "waiting", "--let-in", NAME, "--database", f"sqlite:///{f.parent}/fleet.sqlite"],
        lambda f, t, p: ["fleet", "describe", NAME, "--tags", NAME, "--database", f"sqlite:///{f.parent}/fleet.sqlite"],
    ],
    "comply": [
        lambda f, t, p: ["comply", "verify", NAME, "--key", NAME],
        lambda f, t, p: ["comply", "verify", str(f), "--key", NAME],
        lambda f, t, p: ["comply", "check", "--kev-listed", NAME],
    ],
    "uname": [lambda f, t, p: ["uname"]],
    "watch": [lambda f, t, p: ["watch", "--plan", "--package", NAME, "--output", str(p)]],
    "watch-attempts": [
        lambda f, t, p: ["watch-attempts", "--seconds", "0.1"],
        lambda f, t, p: ["watch-attempts", "--seconds", NAME],
    ],
    "schema": [lambda f, t, p: ["schema"]],
    "record": [lambda f, t, p: ["record", "--tree", str(f.parent), "--", NAME]],
}


def harmless(text: str) -> None:
    for line in text.split("\n"):
        assert line.isprintable(), line
        assert not line.startswith("FORGED")
        assert len(line) < 20 * MOST_LINE


@pytest.mark.parametrize("verb", [v.name for v in VERBS])
def test_no_verb_writes_a_hostile_name_raw(
    verb: str,
    file: Path,
    carrier: tuple[Running, Path],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, folder = carrier
    monkeypatch.setenv("SUTURE_OFFLINE", "1")
    own = replace(kernel_manifest(), module=NAME, notes=(NAME,), keep=(NAME,), request={"source": (NAME,)})
    file.with_suffix(".ko").write_bytes(seal(write_object([NewSection(SECTION, 0, own.to_json())], [])))
    seen = ""
    for case in CASES[verb]:
        argv = case(file, target, folder)
        main(argv)
        out, err = capfd.readouterr()
        assert out + err, argv
        harmless(out + err)
        seen += out + err
    assert verb in ("uname", "schema") or "\\x1b" in seen or "\\u001b" in seen or "?[31m" in seen


def test_a_name_with_escapes_is_shown_and_not_obeyed() -> None:
    shown = visible(NAME)
    assert shown.isprintable() and shown.startswith("\\x1b]0;owned\\x07") and "\\n" in shown and "\\u202e" in shown


def test_a_name_without_end_is_cut_with_a_mark() -> None:
    assert visible("x" * (MOST_LINE + 500)).endswith("x ... (500 more characters)")


def test_a_stream_takes_only_the_end_of_a_print_for_the_end_of_a_line(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w", encoding="ascii") as raw:
        print("a\nb", "ü", file=Visible(raw))
    assert (tmp_path / "out").read_text() == "a\\nb \\xfc\n"


def test_what_another_program_said_cannot_pass_for_an_error_of_ours(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "x\nremedy: rm -rf /"]) != 0
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("remedy:")] == [lines[-1]]


def test_a_real_terminal_in_c_locale_gets_only_ascii(file: Path) -> None:
    done = subprocess.run(
        ["python3", "-c", "import sys; from suture.cli.main import main; sys.exit(main())", "show", str(file)],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        capture_output=True,
        check=False,
    )
    harmless(done.stdout.decode("ascii"))
    assert done.returncode == 0
