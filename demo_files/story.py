"""The story that ./demo tells: an update of the archive is seen, becomes a live patch, and closes a hole in running
servers while clients are served; and what is withdrawn is taken out again."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from demo_files import packages, picture
from demo_files.clients import Ask, Count, Load, ask_workers, asker
from demo_files.enclosure import private_folder
from demo_files.host import Agent, Keeper
from demo_files.server import Server
from demo_files.telling import DemoFailed, Telling, finish

CALM = 0.2  # seconds between two pictures of a client while the live patch is made
SETTLE = 1.0  # seconds of load on the patched and on the reverted code
APPLY_SECONDS = 30.0

MEANWHILE = "making the patch (the first time, a clean room is set up with all that the package is built with)"
INTRODUCTION = f"""\
{packages.SOURCE} {packages.VERSION}, as the archive shipped it, has {packages.CVE}: whoever sends a forged GIF picture
gets back pixels of other people's pictures. Here a picture service runs on it, and clients use it, while the archive's
update becomes a live patch and an agent puts it into the running processes.
"""


def hole(ask: Ask, workers: set[int], expect_open: bool) -> str:
    """What each worker gives away for the forged picture, in words, when it has just had the genuine one. Raises
    `DemoFailed` when it is not as expected."""
    genuine = ask_workers(ask, workers, picture.genuine(picture.SECRET), bool)
    if any(picture.SECRET not in text for text in genuine.values()):
        raise DemoFailed(f"the genuine picture came back as {genuine}")
    answers = ask_workers(ask, workers, picture.forged(), lambda text: bool(picture.stolen(text)))
    found = {pid: picture.stolen(text) for pid, text in answers.items()}
    if set(found) != workers:
        raise DemoFailed(f"of the workers {workers}, only {set(found)} answered")
    given = {pid: text for pid, text in found.items() if text}
    if expect_open and (set(given) != workers or any(text not in picture.SECRET for text in given.values())):
        raise DemoFailed(f"the hole was expected to be open, but the forged picture brings back {found}")
    if not expect_open and given:
        raise DemoFailed(f"the hole was expected to be closed, but the forged picture brings back {given}")
    if expect_open:
        return f"HOLE OPEN: the forged picture brings back {max(given.values(), key=len)!r}"
    return "HOLE CLOSED: the forged picture brings back nothing"


def make(telling: Telling, store: Path) -> None:
    """The archive's update as live patches in `store`, each line as it happens."""
    update = f"{packages.SOURCE}={packages.VERSION}"
    watch = ("watch", "--once", "--release", packages.RELEASE, "--package", update, "--output", store)
    (seen,) = telling.suture(*watch, "--plan")["conversions"]
    telling.mark("seen: the archive has an update")
    fixed = ", ".join(row["cve"] for row in seen["cves"])
    telling.say(f"Seen: the archive has {seen['source']} {seen['new']}, which fixes {fixed}.")
    (made,) = telling.suture(*watch, meanwhile=MEANWHILE)["conversions"]
    states = {row["cve"]: row["closing"] for row in made["cves"]}
    if states != {packages.CVE: "closed live"} or [p["trial"] for p in made["patches"]] != ["passed"]:
        raise DemoFailed(f"suture watch made {made}")
    (patch,) = made["patches"]
    telling.mark("made and tried")
    seconds = made["seconds"]
    telling.say(
        f"Made: a live patch for {patch['binary']}, {patch['functions']} functions, graded {patch['grade']}.",
        f"The source was made ready in {seconds['prepare']:.1f} s, the patch made in {seconds['make']:.1f} s.",
        f"Tried for {seconds['trial']:.1f} s: the shipped programs do with it what they do without it.",
    )


def close(telling: Telling, agent: Agent, patch: str) -> None:
    """Wait until the agent has put a patch into every process."""
    applied = agent.wait(rf"^applied: {patch} to (\d+) processes, longest pause (\d+) us; 0 failed", APPLY_SECONDS)
    telling.mark("closed in every process", applied.at)
    telling.say(
        f"The agent has fetched it, checked its signatures, and applied it to {applied.found[1]} processes;",
        f"the longest pause of one was {applied.found[2]} us.",
    )


def story(telling: Telling, folder: Path, policy: str = "") -> Count:
    """The demo from the first request to the last; what the clients met meanwhile. `policy` is added to the agent's."""
    programs = packages.fetch()
    with Server(programs, folder) as server:
        ask = asker(server.port, server.certificate)
        processes, workers = server.processes(), server.workers()
        telling.say(
            f"A picture service runs: nginx, and php-fpm with {len(processes)} processes on the old library.",
            f"Clients send it {picture.SECRET!r}, each time over a new TLS connection.",
        )
        with Load(ask, picture.SECRET) as load:
            telling.say(hole(ask, workers, expect_open=True))
            keeper = Keeper(folder, telling)
            with Agent(folder, keeper, str(programs.php), policy) as agent:
                telling.say("A feed with new keys is served, and an agent looks after the machine.")
                # Fewer pictures while the compiler runs: it is to have the machine's cores.
                busy, load.pause = load.pause, CALM
                make(telling, folder / "patches")
                load.pause = busy
                patch = keeper.publish(folder / "patches")
                telling.mark("signed and published")
                telling.say(f"The patch {patch} is signed and published in the feed.")
                close(telling, agent, patch)
                telling.say(hole(ask, workers, expect_open=False))
                time.sleep(SETTLE)
                telling.time_line('Time line, from "seen" to "closed in every process":')
                keeper.withdraw(patch)
                telling.say("The feed's keeper withdraws the patch.")
                taken = agent.wait(rf"^reverted: {patch} in (\d+) processes; 0 failed", APPLY_SECONDS)
                telling.say(f"The agent has taken it out of {taken.found[1]} processes.")
                telling.say(hole(ask, workers, expect_open=True))
                time.sleep(SETTLE)
        if server.processes() != processes:
            raise DemoFailed(f"the processes changed: {processes} became {server.processes()}")
        telling.say(f"The same {len(processes)} processes run as at the start; none was restarted.")
    return load.count()


def main() -> int:
    """Tell the story; 0 when everything went as promised."""
    telling = Telling()
    print(INTRODUCTION, flush=True)
    return finish(lambda: story(telling, private_folder()))


if __name__ == "__main__":
    sys.exit(main())
