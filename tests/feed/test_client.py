"""A host fetches what concerns it: the way of one real patch, and what is downloaded on it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from suture.error import BadOption, Refused
from suture.feed.client import last_seen
from suture.feed.error import Unreachable, Untrusted
from suture.patch import statement
from suture.patch.file import read_patch
from suture.report.feed import OfferState
from suture.report.reason import Reason
from tests.feed.conftest import DAYS, Keeper, Visitor, begin, build_id, of_folder, serving


def test_a_real_patch_reaches_a_host_over_http_as_it_was(keeper: Keeper, visitor: Visitor) -> None:
    offer = keeper.offer(1)
    with serving(of_folder(keeper.feed.public)) as url:
        (path,) = visitor.fetch(url, 1, 2)
    found = read_patch(path)
    assert found.id == offer.patch and found.manifest.target.build_id == build_id(1)


def test_what_concerns_other_hosts_is_not_downloaded(keeper: Keeper, visitor: Visitor) -> None:
    for n in range(200):
        keeper.add(n)
    keeper.publish()
    with serving(of_folder(keeper.feed.public)) as url:
        client = visitor.client(url)
        client.refresh()
        (said,) = client.statements([build_id(7)])
        assert [o.build_id for o in said.offers] == [build_id(7)]
        assert client.fetcher.bytes < 40_000
        again = visitor.client(url)
        again.refresh()
        assert again.statements([build_id(7)]) == (said,)
        assert again.fetcher.bytes < 1000  # timestamp.json alone


def test_a_withdrawal_is_read_by_who_has_the_patch(keeper: Keeper, visitor: Visitor) -> None:
    keeper.offer(1)
    (before,) = visitor.look(keeper.feed.public, 1)
    keeper.withdraw(1, OfferState.REVERT, "nginx fails")
    keeper.publish()
    (after,) = visitor.look(keeper.feed.public, 1)
    now = datetime.now(UTC)
    assert statement.current(before, "stable", now) and not statement.current(after, "stable", now)
    (gone,) = statement.withdrawn([after])
    assert (gone.patch, gone.state, gone.reason) == (keeper.offers[1].patch, OfferState.REVERT, "nginx fails")


def test_without_a_root_nothing_is_believed(keeper: Keeper, tmp_path: Path) -> None:
    with pytest.raises(BadOption) as told:
        Visitor(tmp_path / "new", None).look(keeper.feed.public)
    assert "--root FILE" in told.value.remedy


def test_a_feed_that_is_not_there_is_named_with_what_to_check(keeper: Keeper, visitor: Visitor) -> None:
    with serving(of_folder(keeper.feed.public)) as url:
        pass
    with pytest.raises(Unreachable) as told:
        visitor.look(url, 1)
    assert told.value.reason is Reason.FEED_UNREACHABLE and url in told.value.what


def test_two_do_not_fetch_into_one_folder_at_a_time(keeper: Keeper, visitor: Visitor) -> None:
    client = visitor.client(keeper.feed.public)
    with client.alone(), pytest.raises(Refused), visitor.client(keeper.feed.public).alone():
        pass


def test_a_file_that_is_there_is_not_fetched_again(keeper: Keeper, visitor: Visitor) -> None:
    offer = keeper.offer(1)
    (path,) = visitor.fetch(keeper.feed.public, 1)
    client = visitor.client(keeper.feed.public)
    client.refresh()
    before = client.fetcher.bytes
    assert client.download(offer, path.parent) == (path, False) and client.fetcher.bytes == before
    path.write_bytes(b"something else")
    assert client.download(offer, path.parent) == (path, True)
    assert read_patch(path).id == offer.patch


def test_what_was_seen_last_is_known_without_the_feed(keeper: Keeper, visitor: Visitor) -> None:
    assert last_seen(visitor.folder) is None
    keeper.offer(1)
    visitor.look(keeper.feed.public, 1)
    found = last_seen(visitor.folder)
    assert found is not None and found.version == 2
    assert keeper.now + 1.9 * DAYS < found.expires < keeper.now + 2.1 * DAYS


def test_a_product_whose_keeper_is_late_holds_no_other_up(tmp_path: Path, made: bytes) -> None:
    late = begin(tmp_path / "late", made, datetime.now(UTC) - 100 * DAYS)
    for path in late.keys.glob("kernel-*"):
        path.unlink()
    late.now = datetime.now(UTC)
    late.add(1)
    assert [n for n in late.publish().notes if n.startswith("kernel expires at")]
    client = Visitor(tmp_path / "host", late.root).client(late.feed.public)
    client.refresh()
    answer = client.ask([build_id(1)])
    assert [s.build_id for s in answer.statements] == [build_id(1)]
    assert [p.reason for p in answer.problems] == [Reason.FEED_EXPIRED]
    with pytest.raises(Untrusted, match="kernel"):
        client.statements([build_id(1)])
