"""A fleet on one machine: a server, a feed and twenty hosts with agents. A fix is rolled out in stages while clients
are served; then a bad patch kills its target in the canaries, and the server stops it and takes it back by itself."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from demo_files import fleet_host, packages, picture
from demo_files.clients import Count, Load
from demo_files.container import image
from demo_files.enclosure import private_folder
from demo_files.fleet_host import FleetHost, Surroundings
from demo_files.fleet_server import PERSON, FleetServer
from demo_files.host import Keeper, ServedFeed
from demo_files.photographer import Photographer
from demo_files.server import make_identity
from demo_files.story import hole, make
from demo_files.telling import DemoFailed, Telling, finish

CANARIES = (3, 9, 14)  # numbers of hosts
PAUSE = 0.5  # seconds between two pictures of a client; each host has one
_BAD_FIX = Path(__file__).with_name("hurried-bmp.patch")
_WIDE = "W" * 700  # a picture wider than the bad patch can stand
_TURN = 0.3
_START_SECONDS, _STAGE_SECONDS = 300.0, 300.0
_SECOND_PART = "--in-network"
PLAN: dict[str, Any] = {
    "stages": [
        {"name": "canaries", "tags": ["canary"], "soak_minutes": 1},
        {"name": "a quarter", "percent": 25, "soak_minutes": 0},
        {"name": "all", "soak_minutes": 0},
    ],
    "quorum": 100,
}
INTRODUCTION = f"""\
{{count}} hosts serve pictures on {packages.SOURCE} {packages.VERSION}, which has {packages.CVE}: a forged picture
brings back pixels of other people's pictures. Each has its own mounts, processes, network, name and machine-id, with
nginx, php-fpm and both parts of the agent. A server of a fleet decides when they may take a patch. What they may take,
the feed's signatures alone decide.
"""


@dataclass
class Fleet:
    """All that runs."""

    telling: Telling
    server: FleetServer
    keeper: Keeper
    hosts: Sequence[FleetHost]
    loads: Sequence[Load]
    photographer: Photographer

    def count(self) -> Count:
        """What all clients have met so far."""
        return sum((load.count() for load in self.loads), Count())


def start(ended: ExitStack, telling: Telling, folder: Path, count: int, pictures: Path) -> Fleet:
    """The server, the feed, the hosts and their clients."""
    fleet_host.prepare_network()
    programs = packages.fetch()
    names = [f"IP:{a}" for a in (fleet_host.SERVER_ADDRESS, *(fleet_host.address(n + 1) for n in range(count)))]
    certificate, private_key = make_identity(folder, names)
    server = ended.enter_context(FleetServer(folder, certificate, private_key, telling))
    keeper = Keeper(folder, telling)
    feed = ended.enter_context(ServedFeed(folder, keeper.feed, fleet_host.SERVER_ADDRESS))
    around = Surroundings(
        programs, image(programs, folder / "image"), server.url, server.key, feed.url, keeper.feed / "root.json",
        certificate, private_key,
    )  # fmt: skip
    token = server.token(count)
    hosts = [FleetHost(n + 1, around, folder / f"host-{n + 1}") for n in range(count)]
    for host in hosts:
        ended.callback(host.stop)
        host.start(token)
    telling.say(f"{count} hosts have started, and enrol.")
    for host in hosts:
        host.wait()
    _until(lambda: server.ask("operator", "hosts")["total"] == count, _START_SECONDS, "all hosts have enrolled")
    for number in CANARIES:
        server.suture("describe", hosts[number - 1].name, "--tags", "canary")
    loads = [ended.enter_context(Load(h.ask, picture.SECRET, clients=1, pause=PAUSE)) for h in hosts]
    photographer = ended.enter_context(Photographer(server.url, PERSON, server.password, pictures))
    return Fleet(telling, server, keeper, hosts, loads, photographer)


def holes(hosts: Sequence[FleetHost], expect_open: bool) -> str:
    """What the services give away, in words. Raises `DemoFailed` when it is not as expected."""
    for host in hosts:
        hole(host.ask, {host.ask(picture.genuine(picture.SECRET)).pid}, expect_open)
    return f"HOLE {'OPEN' if expect_open else 'CLOSED'} on {len(hosts)} of {len(hosts)} hosts."


def offered(fleet: Fleet, patch: str) -> None:
    """Wait until every host has the patch from the feed, and waits for the server."""
    everywhere = {"waiting": len(fleet.hosts)}
    _until(lambda: fleet.server.standing(patch) == everywhere, _STAGE_SECONDS, "every host knows the patch")
    fleet.telling.say(f"All {len(fleet.hosts)} hosts have fetched it, checked its signatures, and wait for the server.")


def begin(fleet: Fleet, patch: str, name: str) -> int:
    """An operator asks for a rollout, an approver approves it; its number."""
    asked = fleet.server.ask("operator", "rollouts", {"patch": patch, "name": name, "plan": PLAN})
    (row,) = asked["rollouts"]
    fleet.telling.mark("an operator asks for the rollout")
    fleet.server.ask("approver", f"rollouts/{row['id']}/approve", {})
    fleet.telling.mark("another person approves it")
    sizes = ", ".join(f"{s['name']} {s['hosts']}" for s in row["stages"])
    fleet.telling.say(f"Rollout {row['id']} is asked for by one person and approved by another. Hosts: {sizes}.")
    return int(row["id"])


def good(fleet: Fleet, store: Path) -> str:
    """The fix goes out: canaries, a quarter, all. The patch's id."""
    telling, server = fleet.telling, fleet.server
    patch = fleet.keeper.publish(store)
    telling.mark("signed and published in the feed")
    telling.say(f"The patch {patch} is signed and published in the feed.")
    offered(fleet, patch)
    telling.mark("every host has fetched it, and waits")
    fleet.photographer.take("/", "overview-before")
    fleet.photographer.take("/", "overview-before-dark", dark=True)
    fleet.photographer.take("/holes", "holes-before")
    number = begin(fleet, patch, f"{packages.SOURCE} {packages.CVE}")
    total = 0
    for stage, planned in enumerate(PLAN["stages"]):
        total += _one_stage(fleet, number, stage, planned["name"], total)
        fleet.photographer.take(f"/rollouts/{number}", f"rollout-{planned['name'].replace(' ', '-')}")
    _until(lambda: server.rollout(number)["status"] == "done", _STAGE_SECONDS, "the rollout is done")
    telling.mark("the rollout is done")
    telling.say(holes(fleet.hosts, expect_open=False))
    fleet.photographer.take(f"/holes/{packages.CVE}", "hole-after")
    return patch


def _one_stage(fleet: Fleet, number: int, stage: int, name: str, before: int) -> int:
    """Wait until a stage has the patch; how many hosts it has."""
    telling, server = fleet.telling, fleet.server
    _until(lambda: server.rollout(number)["stage"] >= stage, _STAGE_SECONDS, "the next stage begins")
    telling.mark(f"stage {name} begins")
    row = _until(lambda: _whole_stage(server.rollout(number), stage), _STAGE_SECONDS, "a stage has the patch")
    total = before + int(row["hosts"])
    telling.mark(f"in force on {total} of {len(fleet.hosts)} hosts")
    telling.say(f"Stage {name}: {row['in_force']} hosts have it, {total} of {len(fleet.hosts)} in all.")
    return int(row["hosts"])


def bad(fleet: Fleet, made: Path, fix: str) -> None:
    """A patch that kills its target goes to the canaries, and no further; `fix`, which came before it, stays in."""
    telling, server, hosts = fleet.telling, fleet.server, fleet.hosts
    patch = fleet.keeper.publish_file(made)
    telling.mark("the bad patch is signed and published")
    telling.say(f"A patch that nobody has tried, {patch}, is signed and published: it cannot stand wide pictures.")
    offered(fleet, patch)
    number = begin(fleet, patch, "hurried-bmp")
    _until(lambda: _whole_stage(server.rollout(number), 0), _STAGE_SECONDS, "the canaries have the patch")
    telling.mark("in force on the canaries")
    victim, others = hosts[CANARIES[0] - 1], [hosts[n - 1] for n in CANARIES[1:]]
    telling.say(f"The canaries have it. A client sends a wide picture to {victim.name}.")
    try:
        victim.ask(picture.genuine(_WIDE))
    except (OSError, ValueError) as problem:
        telling.say(f"php-fpm's worker died of it: the client got {problem}.")
    else:
        raise DemoFailed("the bad patch did no harm")
    telling.mark("a process dies of it on one canary")
    row = _until(lambda: _stopped(server.rollout(number)), _STAGE_SECONDS, "the rollout is stopped")
    telling.mark("the server stops the rollout")
    telling.say(f"The server has stopped the rollout by itself: {row['why']}.")
    _until(lambda: "in force" not in server.standing(patch), _STAGE_SECONDS, "the patch is out everywhere")
    telling.mark("out of every canary")
    taken = [h.name for h in others if "by a rollout of the fleet's server" in h.log()]
    if taken != [h.name for h in others]:
        raise DemoFailed(f"of the other canaries {taken} have taken it back by the server's order")
    telling.say(f"{victim.name} took it out after the crash, {' and '.join(taken)} by the server's order.")
    if f"stays: {fix}" not in victim.log():
        raise DemoFailed(f"{victim.name} does not say that the fix stays in")
    telling.say(f"It suspects the newer of its two patches: the fix {fix}, which ran well before, stays in.")
    touched = [h.name for h in hosts if f"applied: {patch}" in h.log()]
    if touched != [hosts[n - 1].name for n in CANARIES]:
        raise DemoFailed(f"the bad patch went into {touched}, not into the canaries alone")
    telling.say(f"Of {len(hosts)} hosts, {len(touched)} ever had it. The same wide picture is served again:")
    for host in hosts:
        if _WIDE not in host.ask(picture.genuine(_WIDE)).text:
            raise DemoFailed(f"{host.name} does not serve the wide picture")
    telling.say(f"WIDE PICTURE SERVED on {len(hosts)} of {len(hosts)} hosts.", holes(hosts, expect_open=False))
    fleet.photographer.take(f"/rollouts/{number}", "rollout-stopped")
    canary = next(h for h in server.ask("operator", "hosts")["hosts"] if h["name"] == victim.name)
    fleet.photographer.take(f"/hosts/{canary['id']}", "canary-after")
    fleet.photographer.take("/", "overview-after")
    fleet.photographer.take("/", "overview-after-dark", dark=True)
    fleet.photographer.take("/audit", "audit")


def story(telling: Telling, folder: Path, count: int, pictures: Path) -> Count:
    """From the start of the server to the end of the bad patch; what the clients met meanwhile."""
    (made,) = (folder / "bad").glob("*.suture.o")
    with ExitStack() as ended:
        fleet = start(ended, telling, folder, count, pictures)
        telling.say(f"{count} hosts have enrolled; clients send each of them pictures. Canaries: {_names(fleet)}.")
        telling.say(holes(fleet.hosts, expect_open=True))
        fix = good(fleet, folder / "patches")
        telling.time_line("Time line of the fix, seconds:")
        bad(fleet, made, fix)
        telling.time_line("Time line of the bad patch, seconds:")
        telling.say(f"{len(fleet.photographer.taken)} pictures of the pages are in {pictures}.")
        met = fleet.count()
    return met


def _names(fleet: Fleet) -> str:
    return ", ".join(fleet.hosts[n - 1].name for n in CANARIES)


def _whole_stage(rollout: dict[str, Any], stage: int) -> dict[str, Any] | None:
    """A stage that has the patch on all of its hosts."""
    if rollout["status"] == "stopped":
        raise DemoFailed(f"the rollout was stopped: {rollout['why']}")
    row: dict[str, Any] = rollout["stages"][stage]
    return row if row["in_force"] == row["hosts"] else None


def _stopped(rollout: dict[str, Any]) -> dict[str, Any] | None:
    if rollout["stage"] > 0:
        raise DemoFailed("the bad patch went beyond the canaries")
    return rollout if rollout["status"] == "stopped" else None


def _until(check: Callable[[], Any], seconds: float, what: str) -> Any:
    """What is true in the end. Raises `DemoFailed`."""
    end = time.monotonic() + seconds
    while not (found := check()):
        if time.monotonic() > end:
            raise DemoFailed(f"within {seconds:.0f} s it has not come to this: {what}")
        time.sleep(_TURN)
    return found


def prepare(telling: Telling, folder: Path) -> None:
    """Both patches, made where the network is."""
    packages.fetch()
    make(telling, folder / "patches")
    telling.marks.clear()
    source = ("--source", f"{packages.SOURCE}={packages.VERSION}")
    meanwhile = "making the bad patch"
    telling.suture("make", *source, "--fix", _BAD_FIX, "--output", folder / "bad", meanwhile=meanwhile)
    telling.say("A second patch is made from a change that somebody wrote in a hurry.")


def main() -> int:
    """Show it with as many hosts as the first argument says, pictures into the second; 0 when all went as promised."""
    return finish(partial(_shown, Telling(), int(sys.argv[1]), Path(sys.argv[2])))


def _shown(telling: Telling, count: int, pictures: Path) -> Count:
    """What the clients met; makes the patches first, and goes on in a network of its own."""
    if sys.argv[3:] != [_SECOND_PART]:
        print(INTRODUCTION.format(count=count), flush=True)
        folder = private_folder(pictures)
        prepare(telling, folder)
        os.environ["SUTURE_DEMO_START"], os.environ["SUTURE_DEMO_FOLDER"] = str(telling.begun), str(folder)
        own = (sys.executable, "-m", "demo_files.fleet", *sys.argv[1:3], _SECOND_PART)
        os.execvp("unshare", ["unshare", "--net", *own])
    return story(telling, Path(os.environ["SUTURE_DEMO_FOLDER"]), count, pictures)


if __name__ == "__main__":
    sys.exit(main())
