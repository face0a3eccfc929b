"""Publishing: all at once or not at all, whatever stops it, and nothing is signed that others have put there."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from suture.error import NotFound, Refused
from suture.feed import inspection, repository, rotation
from suture.feed.error import BadFeed, NoKey
from suture.feed.founding import Quorum
from suture.feed.key import Keys
from suture.feed.shelf import bits_for
from suture.patch import statement
from suture.report.feed import OfferState
from tests.feed.conftest import DAYS, QUORUMS, Keeper, Visitor, begin, build_id, of_folder, serving
from tests.killed import killed_after


def seen(visitor: Visitor, keeper: Keeper) -> tuple[OfferState | None, OfferState | None]:
    """How a host sees the first and the second patch, both fetched."""
    said = {s.build_id: s for s in visitor.look(keeper.feed.public, 1, 2)}
    states = [said[build_id(n)].offers[0].state if build_id(n) in said else None for n in (1, 2)]
    visitor.fetch(keeper.feed.public, 1, 2)
    return states[0], states[1]


@pytest.mark.parametrize("rotate", [False, True], ids=["patches", "and keys"])
def test_killed_at_each_step_hosts_see_the_old_or_the_new_state(
    keeper: Keeper, visitor: Visitor, tmp_path: Path, rotate: bool
) -> None:
    keeper.offer(1)
    old, new = (OfferState.OFFERED, None), (OfferState.REVERT, OfferState.OFFERED)
    assert seen(visitor, keeper) == old
    keeper.add(2)
    keeper.withdraw(1, OfferState.REVERT)
    folder = tmp_path / "new-keys"
    folder.mkdir()
    if rotate:
        for role in ("timestamp", "snapshot", "targets", "libraries"):
            rotation.replace_key(keeper.feed, Keys((keeper.keys, *keeper.roots)), role, "", folder, keeper.now)
    steps: list[tuple[str, tuple[OfferState | None, OfferState | None]]] = []
    while name := killed_after(len(steps) + 1, lambda on_step: keeper.publish(folder, on_step=on_step)):
        fresh = Visitor(tmp_path / f"fresh-{len(steps)}", visitor_root(keeper))
        assert seen(visitor, keeper) == seen(fresh, keeper)
        steps.append((name, seen(fresh, keeper)))
    states = [state for _, state in steps]
    assert states == sorted(states, key=lambda s: s == new) and {*states} == {old, new}
    assert "write timestamp" in [name for name, _ in steps] and ("write root" in [n for n, _ in steps]) is rotate
    assert seen(visitor, keeper) == new
    assert not list(keeper.feed.staged.iterdir())
    state = keeper.feed.published()
    assert state is not None and inspection.inspect(state).problems == []


def visitor_root(keeper: Keeper) -> bytes:
    return (keeper.feed.metadata / "1.root.json").read_bytes()


def test_a_feed_grows_into_bins_and_loses_nothing(keeper: Keeper, visitor: Visitor) -> None:
    for count in (60, 70, 1030):
        for n in range(len(keeper.offers), count):
            keeper.add(n)
        keeper.publish()
        state = keeper.feed.published()
        assert state is not None
        role = state.role("libraries", state.top.signed)
        bins = role.delegations.succinct_roles if role and role.delegations else None
        assert (bins.bit_length if bins else 0) == bits_for(count)
        numbers = [0, 59, count // 2, count - 1]
        assert [s.build_id for s in visitor.look(keeper.feed.public, *numbers)] == sorted(
            {build_id(n) for n in numbers}
        )
        assert len(list(inspection.statements(state))) == count
    keeper.withdraw(3, OfferState.HOLD)
    done = keeper.publish()
    assert len(done.roles) == 3 and done.roles[0].startswith("libraries-8-")  # one bin, snapshot, timestamp
    (said,) = visitor.look(keeper.feed.public, 3)
    assert said.offers[0].state is OfferState.HOLD


def test_nothing_to_do_publishes_nothing_and_half_of_a_life_later_it_is_renewed(keeper: Keeper) -> None:
    keeper.offer(1)
    assert keeper.publish().roles == ()
    keeper.now += 1.5 * DAYS
    assert keeper.publish().roles == ("timestamp",)
    keeper.now += 3 * DAYS
    assert keeper.publish().roles == ("snapshot", "timestamp")
    keeper.now += 60 * DAYS
    done = keeper.publish()
    assert {"targets", "libraries", "kernel", "snapshot", "timestamp"} <= set(done.roles)


def test_the_keys_of_the_server_alone_renew(keeper: Keeper, tmp_path: Path) -> None:
    keeper.offer(1)
    own = tmp_path / "server"
    own.mkdir()
    for path in [*keeper.keys.glob("snapshot-*"), *keeper.keys.glob("timestamp-*")]:
        path.rename(own / path.name)
    offline, keeper.keys = keeper.keys, own
    keeper.now += 50 * DAYS
    done = keeper.publish()
    assert done.roles == ("snapshot", "timestamp")
    assert any("libraries expires at" in note for note in done.notes)
    keeper.add(2)
    with pytest.raises(NoKey) as told:
        keeper.publish()
    assert "libraries" in told.value.what and "--keys" in told.value.remedy
    keeper.publish(offline)


def test_the_keeper_signs_nothing_that_others_have_put_there(keeper: Keeper) -> None:
    keeper.offer(1)
    place = keeper.feed.metadata / "2.libraries.json"
    good = place.read_bytes()
    place.write_bytes(good.replace(build_id(1).encode(), build_id(9).encode()))
    keeper.add(1)
    with pytest.raises(BadFeed, match="libraries"):
        keeper.publish()
    place.write_bytes(good)
    keeper.publish()


def test_the_keeper_does_not_go_on_from_an_older_state(keeper: Keeper) -> None:
    place = keeper.feed.metadata / "timestamp.json"
    old = place.read_bytes()
    keeper.offer(1)
    place.write_bytes(old)
    with pytest.raises(BadFeed, match="older"):
        keeper.publish()


def test_one_at_a_time_publishes_and_the_others_wait(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper.add(1)
    with ThreadPoolExecutor() as pool:
        with keeper.feed.locked():
            done = pool.submit(keeper.publish)
            time.sleep(0.3)
            assert not done.done()
        assert len(done.result(10).added) == 1
    monkeypatch.setattr(repository, "PATIENCE", 0.2)
    with keeper.feed.locked(), pytest.raises(Refused):
        keeper.publish()


def test_a_withdrawal_of_what_is_not_there_is_named(keeper: Keeper) -> None:
    keeper.offer(1)
    keeper.offers[1] = type(keeper.offers[1])(**{**vars(keeper.offers[1]), "patch": "0" * 16})
    keeper.withdraw(1, OfferState.HOLD)
    with pytest.raises(NotFound, match="0000000000000000"):
        keeper.publish()


def test_a_channel_gets_a_patch_after_its_delay_and_the_feed_is_not_signed_for_it(
    keeper: Keeper, visitor: Visitor
) -> None:
    offer = keeper.add(1, channel="")
    keeper.publish()
    (said,) = visitor.look(keeper.feed.public, 1)
    for channel, hours in (("early", 0), ("stable", 24), ("delayed", 168)):
        due = keeper.now + timedelta(hours=hours)
        assert statement.current(said, channel, due)[0].patch == offer.patch
        assert not statement.current(said, channel, due - timedelta(seconds=1))
    keeper.add(1, channel="stable")
    keeper.publish()
    (said,) = visitor.look(keeper.feed.public, 1)
    assert statement.current(said, "stable", keeper.now) and not statement.current(said, "delayed", keeper.now)


def test_a_key_that_is_lost_is_replaced_and_the_keeper_is_told_what_that_means(
    keeper: Keeper, visitor: Visitor, tmp_path: Path
) -> None:
    keeper.offer(1)
    visitor.look(keeper.feed.public, 1)
    (lost,) = keeper.keys.glob("timestamp-*")
    lost.unlink()
    new = tmp_path / "new"
    rotation.replace_key(keeper.feed, Keys((keeper.keys, *keeper.roots)), "timestamp", "", new, keeper.now)
    done = keeper.publish(new)
    assert [n for n in done.notes if n.startswith("timestamp is signed by its new key alone")]
    assert done.roles == ("root", "timestamp")
    assert visitor.look(keeper.feed.public, 1)


def test_what_no_host_needs_any_more_is_removed_after_two_days(keeper: Keeper, visitor: Visitor) -> None:
    def files() -> set[str]:
        return {p.name for p in keeper.feed.public.rglob("*") if p.is_file()}

    for n in range(3):
        keeper.offer(n)
    assert {"1.snapshot.json", "2.libraries.json", "4.snapshot.json"} <= files()
    keeper.now += 3 * DAYS
    keeper.publish()
    kept = files()
    assert not {"1.snapshot.json", "3.snapshot.json", "2.libraries.json"} & kept
    assert {"1.root.json", "4.snapshot.json", "4.libraries.json", "1.targets.json"} <= kept
    assert len(list(keeper.feed.targets.glob("*/*.index"))) == 5
    state = keeper.feed.published()
    assert state is not None and inspection.inspect(state).problems == []
    assert len(visitor.look(keeper.feed.public, 0, 1, 2)) == 3


def test_hosts_that_fetch_while_it_is_published_see_one_state_or_the_other(
    keeper: Keeper, tmp_path: Path, made: bytes
) -> None:
    """Both patches of a pair are withdrawn and offered together, keys change meanwhile, and hosts ask all the time."""
    for n in (1, 2):
        keeper.add(n)
    keeper.publish()
    first, over = keeper.root, threading.Event()

    def look(number: int) -> int:
        looks = 0
        while not over.is_set():
            visitor = Visitor(tmp_path / f"host-{number}", first)
            states = [s.offers[0].state for s in visitor.look(url, 1, 2)]
            assert len(states) == 2 and len(set(states)) == 1
            looks += 1
        return looks

    with serving(of_folder(keeper.feed.public)) as url, ThreadPoolExecutor() as pool:
        hosts = [pool.submit(look, n) for n in range(3)]
        folders = [keeper.keys, *keeper.roots]
        try:
            for n in range(20):
                if n % 5 == 4:
                    for role in ("timestamp", "snapshot", "libraries"):
                        new = tmp_path / f"new-{n}-{role}"
                        rotation.replace_key(keeper.feed, Keys(tuple(folders)), role, "", new, keeper.now)
                        folders.append(new)
                for m in (1, 2):
                    keeper.withdraw(m, OfferState.HOLD if n % 2 == 0 else OfferState.OFFERED)
                keeper.publish(*folders)
        finally:
            over.set()
        assert min(host.result(60) for host in hosts) > 1
    assert keeper.feed.root().signed.version == 5


def test_a_product_with_a_quorum_of_two_needs_both_keys(tmp_path: Path, made: bytes) -> None:
    keeper = begin(tmp_path / "own", made, quorums={**QUORUMS, "libraries": Quorum(2, 2)})
    (_, second) = keeper.keys.glob("libraries-*")
    away = tmp_path / "away"
    away.mkdir()
    second.rename(away / second.name)
    keeper.add(1)
    with pytest.raises(NoKey, match="libraries: 1 more"):
        keeper.publish()
    keeper.publish(away)
    visitor = Visitor(tmp_path / "host", keeper.root)
    assert visitor.look(keeper.feed.public, 1)
