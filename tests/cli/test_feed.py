"""`suture feed` through the command: from a patch file to a running process, and back again."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from suture.convert import store
from suture.convert.result import Conversion, ConvertOutcome, FixResult, PatchResult
from suture.elf.file import ElfFile
from suture.elf.object_writer import NewSection, write_object
from suture.error import ExitCode
from suture.kernel.manifest import SECTION
from suture.patch.manifest import FixFact
from suture.patch.seal import seal
from suture.report.schema import schema
from tests.cli.test_make import ask, running
from tests.cli.test_make import run as run_command
from tests.command import SUTURE, suture
from tests.kernel.conftest import BUILD_ID, RELEASE, WHOLE
from tests.kernel.conftest import manifest as kernel_manifest
from tests.process.conftest import gcc, make_patch

PROGRAM = """
#include <stdio.h>
__attribute__((noinline)) int answer(int x) { return x * 3 + 1; }
int main(void) { char l[64]; setvbuf(stdout, 0, _IOLBF, 0); while (fgets(l, 64, stdin)) printf("%d\\n", answer(l[0])); }
"""
NEW = "int answer(int x) { return x * 3 + 2; }"
STRICT = jsonschema.Draft202012Validator(schema(strict=True))
BEFORE, AFTER = str(ord("a") * 3 + 1), str(ord("a") * 3 + 2)


def run(*words: object, code: int = 0) -> Any:
    """As JSON that fits the schema."""
    found = run_command(*words, code=code)
    STRICT.validate(found)
    return found


def said(*words: object, code: int = 0) -> str:
    """As text."""
    done = suture(*map(str, words))
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return gcc(tmp_path / "answer", PROGRAM)


@pytest.fixture
def patch(tmp_path: Path, program: Path) -> Path:
    return Path(make_patch(tmp_path / "made", program, NEW, {"answer": ["answer"]}).object.name)


@pytest.fixture
def feed(tmp_path: Path) -> tuple[str | Path, ...]:
    """A new feed, as options."""
    folder, keys = tmp_path / "feed", tmp_path / "keys"
    roots = [word for n in "abc" for word in ("--root-keys", tmp_path / f"stick-{n}")]
    made = run("feed", "init", "--feed", folder, "--keys", keys, *roots)
    assert [(r["name"], r["threshold"], len(r["keys"])) for r in made["roles"]][:2] == [
        ("root", 2, 3),
        ("targets", 1, 1),
    ]
    assert len({p.parent for p in tmp_path.rglob("root-*.pem")}) == 3
    for n in "abc":  # taken offline
        (tmp_path / f"stick-{n}").rename(tmp_path / f"offline-{n}")
    return "--feed", folder, "--keys", keys


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    words = [SUTURE, "feed", "serve", "--feed", folder, "--port", "0", "--json"]
    with subprocess.Popen([str(w) for w in words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = ""
        while not text.endswith("\n}\n"):
            text += process.stdout.readline()
        try:
            yield json.loads(text)["notes"][0]
        finally:
            process.terminate()


def build_id(program: Path) -> str:
    return ElfFile.read(program).build_id or ""


def test_a_patch_goes_from_a_file_into_a_running_process_and_is_withdrawn(
    tmp_path: Path, feed: tuple[str | Path, ...], program: Path, patch: Path
) -> None:
    folder, of_feed = Path(feed[1]), feed[:2]
    refused = run("feed", "add", patch, *of_feed, code=ExitCode.REFUSED)
    assert refused["reason"] == "refused.patch-not-safe" and "--accept review" in refused["remedy"]
    (added,) = run("feed", "add", patch, *of_feed, "--accept", "review", "--channel", "stable")["added"]
    assert (added["grade"], added["trial"], added["product"]) == ("safe", "", "other")
    published = run("feed", "publish", *feed)
    assert [o["patch"] for o in published["added"]] == [added["patch"]]
    assert run("feed", "publish", *feed)["signed"] == []
    into = tmp_path / "into"
    with served(folder) as url, running(program) as process:
        assert ask(process, "a") == BEFORE
        fetch = ("feed", "fetch", "--url", url, "--into", into)
        unknown = run(*fetch, "--host", code=ExitCode.USAGE)
        assert "--root FILE" in unknown["remedy"]
        codes = (ExitCode.OK, ExitCode.PARTIAL)  # partial: a process that may not be looked at
        done = suture(*fetch, "--host", "--root", folder / "root.json", "--json")
        assert done.returncode in codes
        fetched = json.loads(done.stdout)
        STRICT.validate(fetched)
        (one,) = fetched["patches"]
        assert one["new"] and one["offer"]["trial"] == "" and fetched["bytes"] > 1000
        run("apply", one["path"], process.pid)
        assert ask(process, "a") == AFTER
        run("feed", "withdraw", added["patch"], *of_feed, "--revert", "--reason", "it answers wrongly")
        run("feed", "publish", *feed)
        text = said(*fetch, "--build-id", build_id(program))
        assert f"withdrawn: {added['patch']} answer: take it out (it answers wrongly)" in text and "set aside" in text
        run("revert", added["patch"], process.pid)
        assert ask(process, "a") == BEFORE
        again = run("feed", "add", patch, *of_feed, "--accept", "review", code=ExitCode.REFUSED)
        assert again["reason"] == "refused.patch-withdrawn"
        run("feed", "withdraw", added["patch"], *of_feed, "--again", "--reason", "it was the client")
        run("feed", "publish", *feed)
        (one,) = run(*fetch, "--build-id", build_id(program))["patches"]
        assert one["offer"]["state"] == "offered"


def kept(folder: Path, patch: Path, trial: str) -> Path:
    """A store of `suture watch` with one patch."""
    place = folder / "own" / "1-to-2"
    place.mkdir(parents=True)
    shutil.copy(patch, place / patch.name)
    result = PatchResult("0" * 16, "answer", str(place / patch.name), "answer", "", 1, "safe", trial)
    look = ("nobody has run it",) if trial != "passed" else ()
    fix = FixResult("x.patch", (), ConvertOutcome.LIVE, {"answer": ("answer",)}, (), look)
    store.keep(Conversion("own", "bookworm", "1", "2", "", (fix,), (), (result,), {}), place)
    return folder


def test_what_watch_keeps_is_added_once_with_its_trial(
    tmp_path: Path, feed: tuple[str | Path, ...], program: Path, patch: Path
) -> None:
    add = ("feed", "add", *feed[:2], "--store", kept(tmp_path / "store", patch, "passed"))
    (added,) = run(*add)["added"]
    assert (added["grade"], added["trial"]) == ("safe", "passed")
    assert run(*add)["added"] == []
    run("feed", "publish", *feed)
    assert run(*add)["added"] == []
    mirror = f"file://{feed[1]}/public"
    fetch = ("feed", "fetch", "--url", mirror, "--build-id", build_id(program), "--into", tmp_path / "into")
    waits = run(*fetch, "--root", Path(feed[1]) / "root.json")
    assert not waits["patches"] and [o["patch"] for o in waits["waiting"]] == [added["patch"]]
    assert f"waits: {added['patch']} answer: in stable from 20" in said(*fetch)
    assert len(run(*fetch, "--channel", "early")["patches"]) == 1
    none = run(*fetch, "--channel", "late", code=ExitCode.USAGE)
    assert "delayed, early, stable" in none["remedy"]


def test_what_no_trial_has_passed_is_left_out_and_listed(
    tmp_path: Path, feed: tuple[str | Path, ...], patch: Path
) -> None:
    add = ("feed", "add", *feed[:2], "--store", kept(tmp_path / "store", patch, "not run"))
    left = run(*add, code=ExitCode.PARTIAL)
    assert left["added"] == [] and left["left_out"][0]["reason"] == "refused.patch-not-safe"
    (added,) = run(*add, "--accept", "review")["added"]
    assert added["trial"] == "not run" and added["review"] == ["nobody has run it"]


def test_what_is_no_patch_is_refused(tmp_path: Path, feed: tuple[str | Path, ...], patch: Path) -> None:
    altered = tmp_path / "altered.suture.o"
    data = bytearray(patch.read_bytes())
    data[len(data) // 2] ^= 1
    altered.write_bytes(data)
    assert run("feed", "add", altered, *feed[:2], code=ExitCode.BAD_PATCH)["reason"].startswith("patch.")
    run("feed", "add", sys.executable, *feed[:2], code=ExitCode.BAD_PATCH)
    assert not list((Path(feed[1]) / "staged").glob("*"))


def kernel_patch(path: Path, name: str, *, cumulative: bool) -> Path:
    """The file of a module for one kernel, as far as a feed looks at it."""
    made = replace(kernel_manifest(cumulative), module=name, fixes=(FixFact(f"{name}.patch", (), "00", WHOLE),))
    path.write_bytes(seal(write_object([NewSection(SECTION, 0, made.to_json())], [])))
    return path


def test_a_cumulative_patch_of_the_kernel_takes_the_place_of_the_others(
    tmp_path: Path, feed: tuple[str | Path, ...]
) -> None:
    root = Path(feed[1]) / "root.json"
    fetch = ("feed", "fetch", "--url", f"file://{feed[1]}/public", "--build-id", BUILD_ID, "--root", root)
    ids = []
    for name, cumulative, count in (("one", False, 1), ("two", False, 2), ("three", True, 1)):
        path = kernel_patch(tmp_path / f"{name}.ko", name, cumulative=cumulative)
        add = ("feed", "add", path, *feed[:2], "--channel", "delayed")
        assert "its grade is review" in run(*add, code=ExitCode.REFUSED)["error"]
        (added,) = run(*add, "--accept", "review")["added"]
        assert (added["product"], added["binary"]) == ("kernel", RELEASE)
        ids.append(added["patch"])
        run("feed", "publish", *feed)
        got = run(*fetch, "--into", tmp_path / "into")
        assert [p["offer"]["patch"] for p in got["patches"]] == ids[-count:]
        assert Path(got["patches"][-1]["path"]).read_bytes() == path.read_bytes()
    assert sorted(p.name for p in (tmp_path / "into/set-aside").iterdir()) == sorted(f"{i}.ko" for i in ids[:2])
    wrong = run(*add, "--accept", "review", "--product", "other", code=ExitCode.USAGE)
    assert "leave --product out" in wrong["remedy"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}'])
def test_facts_that_are_none_are_named(tmp_path: Path, feed: tuple[str | Path, ...], patch: Path, text: str) -> None:
    store_of = kept(tmp_path / "store", patch, "passed")
    (facts,) = store_of.rglob("conversion.json")
    facts.write_text(text)
    told = run("feed", "add", *feed[:2], "--store", store_of, code=ExitCode.NOT_FOUND)
    assert str(facts) in told["error"]


def test_of_several_files_all_are_staged_or_none(tmp_path: Path, feed: tuple[str | Path, ...], patch: Path) -> None:
    run("feed", "add", patch, tmp_path / "none", *feed[:2], "--accept", "review", code=ExitCode.NOT_FOUND)
    assert not list((Path(feed[1]) / "staged").glob("*"))


def test_encrypted_keys_need_their_passphrase(tmp_path: Path) -> None:
    (tmp_path / "phrase").write_text("open sesame\n")
    phrase = ("--passphrase-file", tmp_path / "phrase")
    init = ("feed", "init", "--feed", tmp_path / "feed", "--keys", tmp_path / "keys", "--root-keys", tmp_path / "root")
    run(*init, *phrase, "--quorum", "kernel=2/2")
    assert all(b"ENCRYPTED" in p.read_bytes() for p in tmp_path.rglob("*.pem"))
    assert len(list(tmp_path.rglob("kernel-*.pem"))) == 2
    keys = ("feed", "keys", "--feed", tmp_path / "feed", "--keys", tmp_path / "keys")
    told = run(*keys, code=ExitCode.NO_PERMISSION)
    assert "--passphrase-file" in told["remedy"]
    (kernel,) = [r for r in run(*keys, *phrase)["roles"] if r["name"] == "kernel"]
    assert kernel["threshold"] == len(kernel["held"]) == 2


def test_what_is_staged_is_told_and_can_be_taken_back(feed: tuple[str | Path, ...], patch: Path) -> None:
    (added,) = run("feed", "add", patch, *feed[:2], "--accept", "review")["added"]
    (note,) = run("feed", "check", *feed[:2])["notes"]
    assert note.startswith("staged: 1 patch and 0 withdrawals")
    back = ("feed", "withdraw", added["patch"], *feed[:2], "--hold", "--reason", "a mistake")
    assert "not staged any more" in said(*back)
    assert run("feed", "check", *feed[:2])["notes"] == [] and run("feed", "publish", *feed)["added"] == []
    run(*back, code=ExitCode.NOT_FOUND)


def test_keys_change_with_the_signatures_of_two_keepers(tmp_path: Path, feed: tuple[str | Path, ...]) -> None:
    old = {r["name"]: r["keys"] for r in run("feed", "keys", *feed)["roles"]}
    (note,) = run("feed", "keys", *feed, "--replace", "timestamp")["notes"]
    assert "lacks 2 more signatures" in note
    run("feed", "publish", *feed)  # not signed yet: the old root stays
    (note,) = run("feed", "keys", *feed[:2], "--keys", tmp_path / "offline-a", "--sign")["notes"]
    assert "lacks 1 more signature:" in note
    (note,) = run("feed", "keys", *feed[:2], "--keys", tmp_path / "offline-c", "--sign")["notes"]
    assert "comes into force" in note
    assert "root" in run("feed", "publish", *feed)["signed"]
    found = run("feed", "keys", *feed)
    new = {r["name"]: r["keys"] for r in found["roles"]}
    assert [name for name in old if old[name] != new[name]] == ["timestamp"] and found["notes"] == []
    run("feed", "keys", *feed, "--replace", "root", code=ExitCode.USAGE)
    run("feed", "keys", *feed, "--sign", code=ExitCode.NOT_FOUND)
    assert "2 of 3" in said("feed", "keys", *feed)


def test_check_names_what_was_changed(feed: tuple[str | Path, ...], patch: Path) -> None:
    run("feed", "add", patch, *feed[:2], "--accept", "review")
    run("feed", "publish", *feed)
    assert run("feed", "check", *feed[:2], "--list")["added"][0]["name"] == "test"
    (place,) = (Path(feed[1]) / "public/targets/patches").iterdir()
    place.write_bytes(b"x")
    (problem,) = run("feed", "check", *feed[:2], code=ExitCode.UNTRUSTED)["problems"]
    assert place.name in problem["text"] and problem["reason"] == "feed.altered"
    (Path(feed[1]) / "public/metadata/timestamp.json").unlink()
    for words in (("check", *feed[:2]), ("publish", *feed), ("export", *feed[:2], "--output", place)):
        assert "published" in run("feed", *words, code=ExitCode.NOT_FOUND)["error"]


def test_a_patch_that_was_changed_is_named_and_the_others_are_fetched(
    tmp_path: Path, feed: tuple[str | Path, ...], program: Path, patch: Path
) -> None:
    other = gcc(tmp_path / "other", PROGRAM.replace("3 + 1", "3 + 9"))
    second = Path(make_patch(tmp_path / "second", other, NEW, {"answer": ["answer"]}).object.name)
    run("feed", "add", patch, second, *feed[:2], "--accept", "review", "--channel", "delayed")
    run("feed", "publish", *feed)
    (place,) = (Path(feed[1]) / "public/targets/patches").glob(f"*{run('show', patch)['patch']['id']}*.suture.o")
    place.write_bytes(place.read_bytes()[:-1] + b"x")
    root, into = Path(feed[1]) / "root.json", tmp_path / "into"
    fetch = ("feed", "fetch", "--url", f"file://{feed[1]}/public", "--root", root, "--into", into)
    both = ("--build-id", build_id(program), "--build-id", build_id(other))
    told = run(*fetch, *both, code=ExitCode.UNTRUSTED)
    assert [p["reason"] for p in told["problems"]] == ["feed.altered"]
    assert [p["path"] for p in told["patches"]] == [str(p) for p in into.glob("*.suture.o")]
    assert "problem: " in said(*fetch, *both, code=ExitCode.UNTRUSTED)


def test_a_feed_is_carried_over_and_fetched_from_there(
    tmp_path: Path, feed: tuple[str | Path, ...], program: Path, patch: Path
) -> None:
    run("feed", "add", patch, *feed[:2], "--accept", "review", "--channel", "delayed")
    run("feed", "publish", *feed)
    run("feed", "export", *feed[:2], "--output", tmp_path / "bundle.tar")
    root, mirror = Path(feed[1]) / "root.json", tmp_path / "mirror"
    (note,) = run("feed", "import", tmp_path / "bundle.tar", "--mirror", mirror, "--root", root)["notes"]
    assert "hosts believe it until 20" in note
    words = ("feed", "fetch", "--url", f"file://{mirror}/public", "--build-id", build_id(program), "--root", root)
    assert len(run(*words, "--into", tmp_path / "into")["patches"]) == 1


INIT = ("init", "--feed", "feed", "--keys", "keys", "--root-keys", "root")
FETCH = ("fetch", "--url", "http://x/", "--into", "i", "--build-id")


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["publish", "--feed", "none"], ExitCode.NOT_FOUND, "suture feed init"),
        ([*INIT, "--quorum", "x=1/1"], ExitCode.USAGE, "ROLE=M/N"),
        ([*INIT, "--quorum", "root=3/2"], ExitCode.USAGE, "ROLE"),
        (["init", "--feed", "full", "--keys", "keys", "--root-keys", "root"], ExitCode.USAGE, "not there yet"),
        ([*FETCH, "aa", "--root", "none"], ExitCode.NOT_FOUND, "root.json"),
        ([*FETCH, "../x"], ExitCode.USAGE, "hex digits"),
        (["serve", "--feed", "feed", "--port", "70000"], ExitCode.USAGE, "no port"),
        (["import", "none.tar", "--mirror", "mirror", "--root", "full/x"], ExitCode.NOT_FOUND, "bundle"),
        ([], ExitCode.USAGE, "ACTION"),
    ],
    ids=lambda w: " ".join(w[:2]) if isinstance(w, list) else "",
)  # fmt: skip
def test_odd_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: ExitCode, part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("x")
    told = run("feed", *words, code=code)
    assert part in told["error"] + told["remedy"]
