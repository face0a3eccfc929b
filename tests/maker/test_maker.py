"""Who makes what was wished for, and who makes a patch again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from suture.elf.object_writer import NewSection, write_object
from suture.error import BadOption, ExitCode, NotFound
from suture.kernel.manifest import SECTION
from suture.maker.binary import Binaries
from suture.maker.kernel import Kernels
from suture.maker.maker import Differs, KernelWish, Wish, check_cves, first_difference, of_file, of_wish, read_text
from suture.patch.manifest import BadPatch
from suture.patch.seal import seal
from suture.progress import silent
from suture.report.reason import Reason
from tests.kernel.conftest import manifest


def test_the_source_tells_who_makes_it() -> None:
    assert isinstance(of_wish(Wish(source="linux=6.1.176-1", kernel=KernelWish(replace=True))), Kernels)
    assert isinstance(of_wish(Wish(source="linux-base=1")), Binaries)
    assert isinstance(of_wish(Wish(subject="pid:1")), Binaries)


@pytest.mark.parametrize(
    "own",
    [
        KernelWish(flavour="rt-amd64"),
        KernelWish(reaches="6.1.1-1"),
        KernelWish(callbacks=Path("c")),
        KernelWish(replace=True),
        KernelWish(sign_key=Path("k")),
        KernelWish(sign_cert=Path("c")),
    ],
)
def test_no_wish_for_a_kernel_is_passed_over_for_a_binary(own: KernelWish) -> None:
    with pytest.raises(BadOption, match="are for kernels"):
        of_wish(Wish(source="zlib=1", kernel=own))


@pytest.mark.parametrize(
    ("wish", "what"),
    [
        (Wish(source="linux=1", cves=("x",)), "no CVE number"),
        (Wish(source="linux=1", kernel=KernelWish(sign_key=Path("k"))), "key and its certificate"),
        (Wish(source="linux=1", relaxed="why"), "--relaxed"),
        (Wish(source="zlib=1", cves=("x",)), "no CVE number"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_fetched(wish: Wish, what: str, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=what):
        of_wish(wish).make(wish, tmp_path, silent)


def test_a_patch_is_made_again_by_what_its_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "new.suture.o"
    path.write_bytes(seal(write_object([NewSection(SECTION, 0, manifest().to_json())], [])))
    assert isinstance(of_file(path), Kernels)
    path.write_bytes(b"text")
    with pytest.raises(BadPatch):
        of_file(path)


def test_other_bytes_are_a_bad_patch_and_the_first_is_named() -> None:
    assert first_difference(b"abc", b"abd") == "the first difference is at byte 2 of 3 and 3"
    assert first_difference(b"abc", b"ab") == "the first difference is at byte 2 of 3 and 2"
    found = Differs("p: made again it is another")
    assert (found.exit_code, found.reason) == (ExitCode.BAD_PATCH, Reason.PATCH_DIFFERS)


def test_cves_are_numbers() -> None:
    check_cves(["CVE-2025-6021", "CVE-2099-12345"])
    for word in ("CVE-2025-1", "cve-2025-6021", "CVE-2025-6021x", ""):
        with pytest.raises(BadOption):
            check_cves([word])


def test_a_text_is_read_as_it_is_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "fix").write_bytes(b"a\r\nb\xff")
    assert read_text(tmp_path / "fix").encode(errors="surrogateescape") == b"a\r\nb\xff"
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "absent"):
        with pytest.raises(NotFound):
            read_text(tmp_path / name)


def test_where_two_files_begin_to_differ_is_told_by_the_byte() -> None:
    assert first_difference(b"abc", b"abd") == "the first difference is at byte 2 of 3 and 3"
    assert first_difference(b"abc", b"abcd") == "the first difference is at byte 3 of 3 and 4"
