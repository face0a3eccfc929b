"""Patches with tripwires, made by the command: the same patch as without, but for what it counts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from suture.make.make import make
from suture.make.request import Request, ready
from suture.make.wiring import Wiring
from suture.patch.file import PatchFile, parse_patch, read_patch
from suture.patch.manifest import BadPatch, Manifest, parse_manifest
from suture.patch.seal import seal
from suture.patch.tripwire import SECTION, UNWIRED
from tests.command import suture
from tests.tripwire.conftest import BOUND, LIMIT, SERVER, Tree, build


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return build(tmp_path_factory.mktemp("wiring"))


def patch(said: dict[str, object]) -> PatchFile:
    rows = said["patches"]
    assert isinstance(rows, list) and len(rows) == 1, said
    return read_patch(Path(rows[0]["path"]))


def nature(manifest: Manifest) -> object:
    fixes = [f.ledger for f in manifest.fixes]
    return manifest.verdict, fixes, [(f.name, f.address, f.entry, f.sha256) for f in manifest.functions]


def test_the_patch_is_the_same_but_for_its_counters(tree: Tree) -> None:
    plain, wired = (patch(tree.make(LIMIT, BOUND, options=o)) for o in ((), ("--tripwires",)))
    assert nature(plain.manifest) == nature(wired.manifest)
    assert plain.manifest.tripwires == () and b"tripwire" not in plain.object.data
    wires = wired.manifest.tripwires
    assert [(t.file, t.line, t.function, t.condition, t.cves) for t in sorted(wires, key=lambda t: t.line)] == [
        ("server.c", 9, "put", "n > 64", ("CVE-2099-2000",)),
        ("server.c", 17, "nest", "depth > 9", ("CVE-2099-2000",)),
    ]
    section = wired.object.section(SECTION)
    assert section is not None and section.sh_size == 16


def test_making_it_again_gives_the_same_bytes(tree: Tree) -> None:
    path = tree.make(LIMIT)["patches"][0]["path"]
    words = ["verify", path, "--tree", ".", "--binary", "server"]
    assert suture(*words, cwd=tree.root).returncode == 0


def test_a_counter_is_one_instruction(tree: Tree) -> None:
    path = tree.make(LIMIT, BOUND)["patches"][0]["path"]
    code = subprocess.run(["objdump", "-dr", path], capture_output=True, text=True, check=True).stdout
    assert code.count("lock incq") == code.count("suture_tripwire_") == 2


def test_one_that_is_not_wanted_is_left_out_with_the_reason(tree: Tree) -> None:
    manifest = patch(
        tree.make(LIMIT, BOUND, options=("--tripwires", "--no-tripwire", "server.c:9=fires in t1"))
    ).manifest
    assert [t.line for t in manifest.tripwires] == [17]
    assert [(w.line, w.reason) for w in manifest.without_tripwire] == [(9, "fires in t1")]


def test_a_counter_that_would_change_another_function_is_left_out(tmp_path: Path) -> None:
    """gcc takes `limit` for pure, and calls it once for both; with a counter in it that would be another caller."""
    source = SERVER.replace(
        "int main(void)",
        "static __attribute__((noinline)) int limit(long n)\n{\n    return n > 7;\n}\n"
        "__attribute__((noinline)) long twice(long n)\n{\n    return limit(n) * 3 + limit(n);\n}\n"
        "int main(void)",
    ).replace("nest(atol", "twice(atol")
    fix = ("    return n > 7;\n", "    if (n > 99)\n        return 5;\n    return n > 7;\n")
    manifest = patch(build(tmp_path, source).make(fix, BOUND, source=source)).manifest
    assert {f.name for f in manifest.functions} == {"limit", "nest"}
    assert [(t.function, t.condition) for t in manifest.tripwires] == [("nest", "depth > 9")]
    assert [(w.function, "twice" in w.reason) for w in manifest.without_tripwire] == [("limit", True)]


@pytest.mark.parametrize(("old", "new"), [('"offset":8', '"offset":9'), ('"offset":8', '"offset":0')])
def test_counters_that_are_not_the_tripwires_own_are_refused(tree: Tree, old: str, new: str) -> None:
    one = patch(tree.make(LIMIT, BOUND))
    altered = one.object.data.replace(old.encode(), new.encode())
    assert altered != one.object.data
    with pytest.raises(BadPatch, match="counters"):
        parse_patch(seal(altered[:-48]), "altered")


def test_members_that_patches_without_tripwires_do_not_have_may_not_be_empty(tree: Tree) -> None:
    manifest = json.loads(patch(tree.make(LIMIT, options=())).manifest.to_json())
    assert "tripwires" not in manifest and "without_tripwire" not in manifest
    with pytest.raises(BadPatch, match="empty"):
        parse_manifest(json.dumps({**manifest, "tripwires": []}).encode(), "altered")


def test_a_value_that_the_fix_changes_counts_where_it_is_another(tree: Tree) -> None:
    fix = ("    depth = (int)n;\n", "    depth = (int)(n & 63);\n")
    manifest = patch(tree.make(fix)).manifest
    assert [(t.condition, t.kind) for t in manifest.tripwires] == [("(int)(n & 63) != (int)n", "value")]


def test_a_test_that_a_macro_makes_harmful_is_left_out(tmp_path: Path) -> None:
    source = SERVER.replace("static int depth;", "static int depth;\n#define TAKEN (int)(n++)")
    fix = ("    depth = (int)n;\n", "    depth = TAKEN;\n")
    manifest = patch(build(tmp_path, source).make(fix, source=source)).manifest
    assert manifest.tripwires == ()
    assert [w.reason for w in manifest.without_tripwire] == ["its test would change something"]


def test_a_patch_is_not_lost_where_counters_cannot_be_put_in(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    plain = patch(tree.make(LIMIT, options=())).manifest
    asked = Request.from_facts(patch(tree.make(LIMIT)).manifest.request, "server")
    everything = ready(asked)
    monkeypatch.setattr(Wiring, "wired", fails)
    (made,) = make(everything.tree, everything.shipped, everything.fixes, asked.facts()).patches
    assert nature(made.manifest) == nature(plain) and made.manifest.tripwires == ()
    (left,) = made.manifest.without_tripwire
    assert (left.file, left.line, left.reason) == ("server.c", 0, f"{UNWIRED} (RecursionError)")
    assert parse_patch(made.data, "made").manifest == made.manifest
