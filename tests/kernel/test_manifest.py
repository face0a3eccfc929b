"""The manifest in a module, and a signature that does not make it another patch."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suture.elf.object_writer import NewSection, write_object
from suture.kernel.manifest import SECTION, identity, parse_patch, unsigned
from suture.make_kernel.signature import sign
from suture.match.proof import MatchedSection, MatchedUnit, ProvenSymbol
from suture.number import Vaddr
from suture.patch.manifest import BadPatch
from suture.patch.seal import seal
from tests.kernel.conftest import manifest
from tests.patch.document import at, changed, places

_REQUEST = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-days", "1")
_VERIFY = ("openssl", "cms", "-verify", "-binary", "-noverify", "-inform", "DER", "-out", "/dev/null")


def module(raw: bytes) -> bytes:
    return seal(write_object([NewSection(SECTION, 0, raw)], []))


def test_a_manifest_is_read_back_as_it_was_written() -> None:
    own = manifest(objects={"ext4": "aa"})
    assert parse_patch(module(own.to_json()), "x").manifest == own


UNIT = MatchedUnit("a.c", "vmlinux", True, (MatchedSection(".text", 9, 8, Vaddr(1 << 63)),), ("f",))
FULL = replace(
    manifest(objects={"ext4": "aa"}),
    keep=("it changes data",),
    notes=("a note",),
    units=(UNIT,),
    symbols=(ProvenSymbol("f", Vaddr(4096), ("a.c .text+0x1",)),),
    toolchain={"compiler": "gcc 12"},
    request={"source": ("linux=6.1",), "fix": ("a.patch", "text\udc80\n")},
)
DOCUMENT = json.loads(FULL.to_json())
OPEN = ("objects", "toolchain", "request")  # here the keys are names of things


def test_nothing_of_a_manifest_is_left_out() -> None:
    assert parse_patch(module(FULL.to_json()), "x").manifest == FULL


def test_a_field_that_is_missing_is_refused() -> None:
    keys = [p for p in places(DOCUMENT) if isinstance(p[-1], str) and not (len(p) == 2 and p[0] in OPEN)]
    assert len(keys) > 40
    for path in keys:
        with pytest.raises(BadPatch):
            parse_patch(module(changed(DOCUMENT, path, None)), f"without {path}")


@pytest.mark.parametrize("value", [{"x": 1}, 3.5, -1, 1 << 64, "\ud800", ["x", ["y"]], True, "12", ""])
def test_a_field_that_holds_something_else_is_refused(value: Any) -> None:
    for path in places(DOCUMENT):
        if type(at(DOCUMENT, path)) is type(value) and value in ("12", "", True) and path != ("kind",):
            continue  # another text is a text
        with pytest.raises(BadPatch):
            parse_patch(module(changed(DOCUMENT, path, value)), f"{path} = {value!r}")


def test_a_fact_that_the_format_does_not_know_is_refused_wherever_it_stands() -> None:
    objects = [
        p for p in [(), *places(DOCUMENT)] if isinstance(at(DOCUMENT, p), dict) and not (len(p) == 1 and p[0] in OPEN)
    ]
    assert len(objects) > 6
    for path in objects:
        with pytest.raises(BadPatch, match="unknown"):
            parse_patch(module(changed(DOCUMENT, (*path, "unknown"), "x")), f"{path}")


def test_a_fact_that_is_given_twice_is_refused() -> None:
    twice = FULL.to_json().replace(b'"replace":false', b'"replace":false,"replace":true')
    assert twice != FULL.to_json()
    with pytest.raises(BadPatch, match="given twice"):
        parse_patch(module(twice), "x")


@pytest.mark.parametrize("name", ["", "../../etc", "a/b", "a b", "a\n", "x" * 56, "\u00e4"])
def test_what_is_no_name_of_a_module_is_refused(name: str) -> None:
    for path in (("module",), ("functions", 0, "object")):
        with pytest.raises(BadPatch, match="no name of a module"):
            parse_patch(module(changed(DOCUMENT, path, name)), "x")
    with pytest.raises(BadPatch, match="no name of a module"):
        parse_patch(module(changed(DOCUMENT, ("objects", name), "aa")), "x")


@given(st.binary(max_size=200))
def test_damaged_manifests_are_bad_patches(raw: bytes) -> None:
    with pytest.raises(BadPatch):
        parse_patch(module(raw), "x")


def test_references_that_the_kernel_would_never_fill_in_are_a_bad_patch() -> None:
    own = manifest()
    sections = [
        NewSection(SECTION, 0, own.to_json()),
        NewSection(f".klp.rela.{own.functions[0].object}..text", 0, b"x"),
    ]
    assert (
        parse_patch(seal(write_object([*sections, NewSection(".klp.rela.vmlinux..text", 0, b"x")], [])), "x").manifest
        == own
    )
    with pytest.raises(BadPatch, match=r"never fill in the references of \.klp\.rela\.stranger"):
        parse_patch(seal(write_object([*sections, NewSection(".klp.rela.stranger..text", 0, b"x")], [])), "x")


def test_another_makers_module_is_a_bad_patch() -> None:
    with pytest.raises(BadPatch, match="none that Suture made"):
        parse_patch(write_object([NewSection(".text", 6, b"\xc3")], []), "x")


def test_a_signature_is_openssls_and_leaves_the_id_alone(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [*_REQUEST, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    plain = module(manifest().to_json())
    signed = sign(plain, key, certificate)
    assert unsigned(signed) == plain and identity(signed) == identity(plain) and signed != plain
    signature = signed[len(plain) : -40]
    (tmp_path / "signature").write_bytes(signature)
    (tmp_path / "module").write_bytes(plain)
    done = subprocess.run(
        [
            *_VERIFY,
            "-in",
            str(tmp_path / "signature"),
            "-content",
            str(tmp_path / "module"),
            "-certfile",
            str(certificate),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_an_altered_module_is_a_bad_patch_signed_or_not(tmp_path: Path) -> None:
    data = bytearray(module(manifest().to_json()))
    data[100] ^= 1
    with pytest.raises(BadPatch, match="altered"):
        parse_patch(bytes(data), "x")
    with pytest.raises(BadPatch, match="digest"):
        parse_patch(module(manifest().to_json())[:-48], "x")
