"""Which images a patch is for. The images are given; that they are found in a process is tested in
tests/process/memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from suture.error import Refused, Unsupported
from suture.number import Address, Bias, BuildId, Vaddr
from suture.patch.manifest import Group, Manifest, ReplacedFunction, Target
from suture.process.change import fitting
from suture.process.change.fitting import NotLoaded, fitting_images, refuse_shared
from suture.process.error import WrongTarget
from suture.process.memory.image import Image
from suture.process.memory.maps import Maps

ID, BIAS = "ab" * 20, 0x7F00_0000_0000
MAPS = b"""\
7f0000000000-7f0000001000 r--p 00000000 fd:00 5 /usr/lib/libx.so.3
7f0000001000-7f0000002000 r-xp 00001000 fd:00 5 /usr/lib/libx.so.3
7f0000002000-7f0000003000 rw-p 00002000 fd:00 5 /usr/lib/libx.so.3
"""
TRACEE: Any = SimpleNamespace(pid=7, via=7)


def image(path: str = "/usr/lib/libx.so.3", build_id: str = ID, bias: int = BIAS) -> Image:
    return Image(path, False, BuildId(build_id), Bias(bias), Address(bias), Address(bias + 0x3000), Address(0), b"", 5)


def patch(*functions: tuple[int, int], package: str = "", version: str = "", file: str = "libx.so.3") -> Any:
    rows = tuple(ReplacedFunction(f"f{a:x}", Vaddr(a), n, "", 0, 5, "f", "f.orig") for a, n in functions)
    target = Target(BuildId(ID), file, package, "", version, "x86_64")
    return SimpleNamespace(manifest=Manifest("p", target, (), (Group("g", rows),), {}))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Any:
    def fits(p: Any, *present: Image, maps: bytes = MAPS, short: bool = False) -> list[Image]:
        monkeypatch.setattr(fitting, "images", lambda pid, maps: list(present))
        monkeypatch.setattr(fitting, "is_32_bit", lambda pid: short)
        return fitting_images(TRACEE, Maps(maps), p)

    return fits


def test_all_images_with_the_build_id_and_all_of_the_code_fit(fits: Any) -> None:
    again = image("/opt/libx.so.3", bias=BIAS + 0x10_0000)
    other = image("/usr/lib/liby.so", "cd" * 20)
    more = MAPS + MAPS.replace(b"7f00000", b"7f00001")
    assert fits(patch((0x1000, 16)), other, image()) == [image()]
    assert fits(patch((0x1000, 16), (0x1FF0, 16)), image(), again, maps=more) == [image(), again]
    assert fits(patch((0x1000, 16)), image(), again) == [image()]


def test_an_image_without_all_of_the_code_is_not_what_it_says(fits: Any) -> None:
    for where in ((0x2000, 16), (0x0, 16), (0x9000, 16), (0x1FF0, 0x2000)):
        with pytest.raises(WrongTarget, match=f"/usr/lib/libx.so.3 claims build-id {ID} but") as caught:
            fits(patch((0x1000, 16), where), image())
        assert not isinstance(caught.value, NotLoaded)


def test_what_is_loaded_instead_is_named(fits: Any) -> None:
    def instead(*present: Image, p: Any = None, maps: bytes = MAPS) -> str:
        with pytest.raises(NotLoaded) as caught:
            fits(p or patch((0x1000, 16)), *present, maps=maps)
        assert caught.value.remedy == "make the patch for what runs: suture make --for pid:7"
        return str(caught.value.what)

    far = image("/usr/lib/liby.so.3", "ef" * 20)
    near = image("/usr/lib/libx.so.3.1", "cd" * 20)
    assert (
        instead(far, near) == f"pid 7: /usr/lib/libx.so.3.1 has build-id {'cd' * 20}, the patch is for libx.so.3 {ID}"
    )
    assert (
        instead(far)
        == f"pid 7: /usr/lib/libx.so.3 has no ELF header with a build-id in memory, the patch is for libx.so.3 {ID}"
    )
    assert (
        instead(far, maps=MAPS.replace(b"r-xp", b"r--p"))
        == f"pid 7: it has no libx.so.3 loaded, the patch is for libx.so.3 {ID}"
    )
    assert instead(maps=b"") == f"pid 7: it has no libx.so.3 loaded, the patch is for libx.so.3 {ID}"
    assert instead(maps=b"", p=patch(package="x", version="1-2")).endswith(f"libx.so.3 {ID} (x 1-2)")
    assert instead(maps=b"", p=patch(package="x")).endswith(ID)
    assert instead(maps=b"", p=patch(version="1")).endswith(ID)
    # the last part of the path alone tells
    assert "it has no" in instead(image("/libx.so.3/other", "cd" * 20), maps=b"")


def test_a_32_bit_process_is_refused(fits: Any) -> None:
    with pytest.raises(Unsupported, match="pid 7: is a 32-bit process, the patch is for x86_64"):
        fits(patch((0x1000, 16)), image(), short=True)


def test_an_entry_in_a_shared_mapping_is_refused() -> None:
    p = patch((0x1008, 16), (0x2008, 16))
    refuse_shared(TRACEE, Maps(MAPS), p, image())
    refuse_shared(TRACEE, Maps(b""), p, image())
    shared = MAPS.replace(b"rw-p", b"rw-s")
    with pytest.raises(
        Refused, match=r"pid 7: f2008 lies in a shared mapping of /usr/lib/libx.so.3 at 0x7f0000002000,"
    ):
        refuse_shared(TRACEE, Maps(shared), p, image())
