"""What root believes of a feed: each attack of a part without rights that somebody has taken over."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.formats import encode_canonical

from suture.agent import evidence
from suture.agent.evidence import Doubtful, Evidence, TrustedState, believe
from suture.feed import rotation
from suture.feed.key import Keys
from suture.patch.statement import Statement
from suture.report.feed import OfferState, Product
from suture.report.reason import Reason
from tests.feed.conftest import Keeper, Visitor, begin, build_id, keeper, made, visitor

__all__ = ["keeper", "made", "visitor"]


def shown(keeper: Keeper, visitor: Visitor, n: int = 1) -> Evidence:
    """What a host has got of the nth binary."""
    client = visitor.client(keeper.feed.public)
    client.refresh()
    (said,) = client.statements([build_id(n)])
    found = client.shown(said)
    return Evidence(said.product, said.build_id, found.roots, found.chain, found.said)


def first(keeper: Keeper) -> TrustedState:
    return TrustedState(keeper.root.decode())


def doubted(work: Callable[[], object]) -> Reason:
    with pytest.raises(Doubtful) as caught:
        work()
    assert caught.value.remedy
    return caught.value.reason


def test_what_the_feed_has_signed_is_believed(keeper: Keeper, visitor: Visitor) -> None:
    offer = keeper.offer(1)
    one = shown(keeper, visitor)
    said, trusted = believe(evidence.decode(evidence.encode(one)), first(keeper), keeper.now)
    assert isinstance(said, Statement) and [o.sha256 for o in said.offers] == [offer.sha256]
    assert trusted.versions["timestamp"] and trusted.versions["targets"] and trusted.versions["libraries"]
    again, same = believe(one, trusted, keeper.now)
    assert (again, same) == (said, trusted)


def test_statements_in_bins(keeper: Keeper, visitor: Visitor) -> None:
    for n in range(70):
        keeper.add(n)
    keeper.publish()
    one = shown(keeper, visitor, 7)
    assert len(one.chain) == 5
    said, _ = believe(one, first(keeper), keeper.now)
    assert said.build_id == build_id(7)
    assert doubted(lambda: believe(replace(one, chain=one.chain[:4]), first(keeper), keeper.now)) is Reason.FEED_ALTERED
    other = next(
        s for s in (shown(keeper, visitor, n) for n in range(70)) if s.chain[4] != one.chain[4]
    )  # a bin that belongs to others
    mixed = replace(one, chain=(*one.chain[:4], other.chain[4]))
    assert doubted(lambda: believe(mixed, first(keeper), keeper.now)) is Reason.FEED_ALTERED


def test_nothing_older_is_believed_again(keeper: Keeper, visitor: Visitor) -> None:
    """A withdrawn patch is not put in by what was signed before the withdrawal."""
    keeper.offer(1)
    before = shown(keeper, visitor)
    keeper.withdraw(1, OfferState.REVERT)
    keeper.publish()
    said, trusted = believe(shown(keeper, visitor), first(keeper), keeper.now)
    assert said.offers[0].state is OfferState.REVERT
    assert doubted(lambda: believe(before, trusted, keeper.now)) is Reason.FEED_ROLLED_BACK


def test_a_state_is_not_put_together_from_two(keeper: Keeper, visitor: Visitor) -> None:
    keeper.offer(1)
    old = shown(keeper, visitor)
    keeper.withdraw(1, OfferState.REVERT)
    keeper.publish()
    new = shown(keeper, visitor)
    for n in range(1, 4):
        mixed = replace(new, chain=(*new.chain[:n], *old.chain[n:]), said=old.said)
        assert doubted(lambda m=mixed: believe(m, first(keeper), keeper.now)) is Reason.FEED_ALTERED  # type: ignore[misc]
    assert doubted(lambda: believe(replace(new, said=old.said), first(keeper), keeper.now)) is Reason.FEED_ALTERED


def test_what_has_expired_is_not_believed(keeper: Keeper, visitor: Visitor) -> None:
    keeper.offer(1)
    one = shown(keeper, visitor)
    late = keeper.now + timedelta(days=3)
    assert doubted(lambda: believe(one, first(keeper), late)) is Reason.FEED_EXPIRED


def test_another_feed_is_not_believed(keeper: Keeper, visitor: Visitor, tmp_path: Path, made: bytes) -> None:
    keeper.offer(1)
    other = begin(tmp_path / "other", made)
    other.offer(1)
    theirs = shown(other, Visitor(tmp_path / "their-host", other.root))
    assert doubted(lambda: believe(theirs, first(keeper), keeper.now)) is Reason.FEED_SIGNATURE


@pytest.mark.parametrize("place", range(4))
def test_an_altered_file_is_not_believed(keeper: Keeper, visitor: Visitor, place: int) -> None:
    keeper.offer(1)
    one = shown(keeper, visitor)
    read: dict[str, Any] = json.loads(one.chain[place])
    read["signed"]["expires"] = "2099-01-01T00:00:00Z"
    changed = replace(one, chain=(*one.chain[:place], json.dumps(read), *one.chain[place + 1 :]))
    assert doubted(lambda: believe(changed, first(keeper), keeper.now)) is Reason.FEED_SIGNATURE


def test_one_signature_counts_once(keeper: Keeper, visitor: Visitor, tmp_path: Path) -> None:
    """A root that one of three keys has signed twice is none where two have to sign."""
    keeper.offer(1)
    start = first(keeper)
    everything = Keys((keeper.keys, *keeper.roots))
    rotation.replace_key(keeper.feed, everything, "timestamp", "", tmp_path / "new", keeper.now)
    keeper.publish(tmp_path / "new")
    one = shown(keeper, visitor)
    following: dict[str, Any] = json.loads(one.roots[-1])
    assert len(following["signatures"]) >= 2
    following["signatures"] = [following["signatures"][0]] * 2
    alone = replace(one, roots=(*one.roots[:-1], json.dumps(following)))
    assert doubted(lambda: believe(alone, start, keeper.now)) is Reason.FEED_SIGNATURE


def test_a_new_root_is_followed_and_versions_begin_anew_with_new_keys(
    keeper: Keeper, visitor: Visitor, tmp_path: Path
) -> None:
    keeper.offer(1)
    _, trusted = believe(shown(keeper, visitor), first(keeper), keeper.now)
    stolen = replace(trusted, versions={**trusted.versions, "timestamp": 10**6, "snapshot": 10**6})
    everything, folders = Keys((keeper.keys, *keeper.roots)), [tmp_path / "a", tmp_path / "b"]
    assert doubted(lambda: believe(shown(keeper, visitor), stolen, keeper.now)) is Reason.FEED_ROLLED_BACK
    rotation.replace_key(keeper.feed, everything, "timestamp", "", folders[0], keeper.now)
    keeper.publish(*keeper.roots, *folders[:1])
    rotation.replace_key(keeper.feed, everything, "snapshot", "", folders[1], keeper.now)
    keeper.publish(*keeper.roots, *folders)
    said, after = believe(shown(keeper, visitor), stolen, keeper.now)
    assert said.offers and after.versions["timestamp"] < 10**6 and json.loads(after.root)["signed"]["version"] == 3
    _, once_more = believe(shown(keeper, visitor), after, keeper.now)
    assert once_more == after


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"product": "libraries", "build_id": "00", "roots": [1], "chain": [], "said": ""}', b"\xff"],
)
def test_what_is_no_evidence_is_none(data: bytes) -> None:
    assert doubted(lambda: evidence.decode(data)) is Reason.FEED_ALTERED


@pytest.mark.parametrize("chain", [(), ("{}",) * 4, ('{"signed": 1}',) * 4, ("nonsense",) * 4])
def test_evidence_without_form_is_doubtful_or_an_error_that_the_service_knows(
    keeper: Keeper, chain: tuple[str, ...]
) -> None:
    one = Evidence(Product.LIBRARIES, build_id(1), (), chain, "{}")
    with pytest.raises((Doubtful, KeyError, TypeError, ValueError, AttributeError)):
        believe(one, first(keeper), datetime.now().astimezone())


def test_the_text_that_is_signed_is_what_securesystemslib_signs() -> None:
    value = {"b": [1, True, None, False, 'x"y\\z\u00e9\n'], "a": {"": [], "k": {}}, "n": -3}
    assert evidence.canonical(value) == encode_canonical(value)
