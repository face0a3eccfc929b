"""A feed carried as a file: believed as far as its signatures reach, and no longer than it says."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from suture.error import BadOption, NotFound
from suture.feed import bundle
from suture.feed.error import Untrusted
from suture.process.stop.borrow import OnStep
from suture.report.feed import OfferState
from suture.report.reason import Reason
from tests.feed.conftest import DAYS, Keeper, Visitor, begin, build_id
from tests.killed import killed_after


def test_a_host_without_a_network_gets_the_same(keeper: Keeper, visitor: Visitor, tmp_path: Path) -> None:
    for n in range(100):
        keeper.add(n)
    keeper.publish()
    carried = bundle.export(keeper.feed, tmp_path / "bundle.tar")
    seen, taken = bundle.take_in(tmp_path / "bundle.tar", tmp_path / "mirror", keeper.root)
    assert len(carried.offers) == len(taken.offers) == 100 and seen.version == 2
    (path,) = visitor.fetch(tmp_path / "mirror/public", 7)
    assert path.name.startswith(keeper.offers[7].patch)


def test_a_part_of_a_feed_is_carried(keeper: Keeper, visitor: Visitor, tmp_path: Path) -> None:
    for n in range(100):
        keeper.add(n)
    keeper.publish()
    bundle.export(keeper.feed, tmp_path / "bundle.tar", [build_id(7)])
    _, taken = bundle.take_in(tmp_path / "bundle.tar", tmp_path / "mirror", keeper.root)
    assert [o.build_id for o in taken.offers] == [build_id(7)]
    assert visitor.fetch(tmp_path / "mirror/public", 7)


def test_a_newer_bundle_follows_and_an_older_one_is_refused(keeper: Keeper, visitor: Visitor, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    keeper.offer(1)
    bundle.export(keeper.feed, tmp_path / "old.tar")
    bundle.take_in(tmp_path / "old.tar", mirror, keeper.root)
    keeper.withdraw(1, OfferState.REVERT)
    keeper.publish()
    bundle.export(keeper.feed, tmp_path / "new.tar")
    bundle.take_in(tmp_path / "new.tar", mirror, None)
    with pytest.raises(Untrusted) as told:
        bundle.take_in(tmp_path / "old.tar", mirror, None)
    assert told.value.reason is Reason.FEED_ROLLED_BACK
    (said,) = visitor.look(mirror / "public", 1)
    assert said.offers[0].state is OfferState.REVERT
    assert sorted(p.name for p in mirror.iterdir()) == ["client", "public"]


def test_an_expired_bundle_is_refused_and_one_that_expires_there_is_believed_no_longer(
    tmp_path: Path, made: bytes
) -> None:
    keeper = begin(tmp_path / "own", made)
    keeper.now -= 5 * DAYS
    keeper.offer(1)
    bundle.export(keeper.feed, tmp_path / "bundle.tar")
    with pytest.raises(Untrusted) as told:
        bundle.take_in(tmp_path / "bundle.tar", tmp_path / "mirror", keeper.root)
    assert told.value.reason is Reason.FEED_EXPIRED and "suture feed publish" in told.value.remedy


def test_a_bundle_of_another_feed_is_refused(keeper: Keeper, tmp_path: Path, made: bytes) -> None:
    other = begin(tmp_path / "other", made)
    bundle.export(other.feed, tmp_path / "bundle.tar")
    with pytest.raises(Untrusted) as told:
        bundle.take_in(tmp_path / "bundle.tar", tmp_path / "mirror", keeper.root)
    assert told.value.reason is Reason.FEED_SIGNATURE
    with pytest.raises(BadOption):
        bundle.take_in(tmp_path / "bundle.tar", tmp_path / "new", None)


@pytest.mark.parametrize("what", ["cut", "byte", "no bundle", "missing"])
def test_a_broken_bundle_is_refused_and_nothing_of_it_is_taken(keeper: Keeper, tmp_path: Path, what: str) -> None:
    keeper.offer(1)
    path = tmp_path / "bundle.tar"
    bundle.export(keeper.feed, path)
    data = bytearray(path.read_bytes())
    middle = data.index(b"\x7fELF") + 1000  # in the patch
    data[middle] ^= 1
    wrong = {"cut": bytes(data[:middle]), "byte": bytes(data), "no bundle": b"x" * 4096, "missing": b""}
    path.write_bytes(wrong[what])
    if what == "missing":
        path.unlink()
    with pytest.raises(NotFound if what == "missing" else Untrusted) as told:
        bundle.take_in(path, tmp_path / "mirror", keeper.root)
    assert told.value.remedy
    assert not (tmp_path / "mirror/public").exists()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "metadata/../../x", "metadata/.x", "targets/a/b/c", "link"])
def test_a_bundle_writes_nothing_outside_of_its_folder(keeper: Keeper, tmp_path: Path, name: str) -> None:
    path = tmp_path / "bundle.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("metadata/x" if name == "link" else name)
        member.type, member.linkname = (tarfile.SYMTYPE, "/etc/passwd") if name == "link" else (tarfile.REGTYPE, "")
        tar.addfile(member, io.BytesIO())
    with pytest.raises(Untrusted):
        bundle.take_in(path, tmp_path / "deep/deep/mirror", keeper.root)
    assert not list(tmp_path.rglob("x"))


def test_an_import_that_was_killed_is_done_by_the_next(keeper: Keeper, visitor: Visitor, tmp_path: Path) -> None:
    """At each file that is moved into the mirror, hosts see the old or the new state."""
    mirror = tmp_path / "mirror"
    keeper.offer(1)
    bundle.export(keeper.feed, tmp_path / "old.tar")
    bundle.take_in(tmp_path / "old.tar", mirror, keeper.root)
    keeper.withdraw(1, OfferState.REVERT)
    keeper.publish()
    bundle.export(keeper.feed, tmp_path / "new.tar")
    states: list[OfferState] = []
    while killed_at_move(len(states) + 1, lambda: bundle.take_in(tmp_path / "new.tar", mirror, None)):
        (said,) = Visitor(tmp_path / f"host-{len(states)}", keeper.root).look(mirror / "public", 1)
        states.append(said.offers[0].state)
    assert set(states) == {OfferState.OFFERED} and len(states) > 5  # timestamp.json is the last
    (said,) = visitor.look(mirror / "public", 1)
    assert said.offers[0].state is OfferState.REVERT


def killed_at_move(count: int, work: Callable[[], object]) -> bool:
    """Do `work` in a child that kills itself before its nth file is moved. False when it was done before that."""

    def counting(on_step: OnStep) -> None:
        move = os.replace

        def counted(source: Path, target: Path) -> None:
            if "/public/" in str(target):
                on_step("move")
            move(source, target)

        os.replace = counted  # type: ignore[assignment]
        work()

    return killed_after(count, counting) is not None
