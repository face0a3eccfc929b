"""Services in containers of their own on one machine: a fix is published, and the agent puts it into all of their
processes at once; it is withdrawn, and taken out of all of them. Clients are served all the time."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from demo_files import packages, picture
from demo_files.clients import Count, Load
from demo_files.container import Container, image
from demo_files.enclosure import private_folder
from demo_files.host import Agent, Keeper
from demo_files.packages import Programs
from demo_files.story import APPLY_SECONDS, SETTLE, hole, make
from demo_files.telling import DemoFailed, Telling, finish

PAUSE = 0.05  # seconds between two pictures of a client; each service has one
_PROCESSES = 2  # of a service: php-fpm and its worker
_IMAGES = 2
_QUIET = 1.0  # seconds in which the agent would have told of a start that it has patched late

APPLIED = r"^(applied): {} to (\d+) processes(, longest pause \d+ us); 0 failed"
REVERTED = r"^(reverted): {} in (\d+) processes(); 0 failed"
INTRODUCTION = f"""\
{{count}} picture services run on {packages.SOURCE} {packages.VERSION}, which has {packages.CVE}: a forged picture
brings back pixels of other people's pictures. Each runs in a container: mounts, processes and network of its own.
"""


class Machine:
    """The services, each with a client, while entered."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self._images = [image(programs, folder / f"image-{n}") for n in range(_IMAGES)]
        self.services: list[Container] = []
        self.loads: list[Load] = []
        self._ended = ExitStack()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *what: object) -> None:
        self._ended.close()

    def start(self, own: Path | None = None) -> Container:
        """One more service, of an image that others use or of its `own`."""
        number = len(self.services)
        chosen = own or self._images[number % len(self._images)]
        service = Container(self._programs, chosen, self._folder / f"service-{number}")
        self._ended.callback(service.stop)
        service.start()
        self.services.append(service)
        load = Load(service.ask, picture.SECRET, clients=1, pause=PAUSE)
        self.loads.append(self._ended.enter_context(load))
        return service

    def new_image(self) -> Path:
        """An image that nothing has run of."""
        return image(self._programs, self._folder / "image-new")

    def count(self) -> Count:
        """What all clients have met so far."""
        return sum((load.count() for load in self.loads), Count())


def holes(services: Sequence[Container], expect_open: bool) -> str:
    """What the services give away, in words. Raises `DemoFailed` when it is not as expected."""
    for service in services:
        hole(service.ask, {service.ask(picture.genuine(picture.SECRET)).pid}, expect_open)
    return f"HOLE {'OPEN' if expect_open else 'CLOSED'} in {len(services)} of {len(services)} services."


def everywhere(telling: Telling, agent: Agent, pattern: str, services: int) -> None:
    """Wait until the agent has done its work in all processes of that many services."""
    told = agent.wait(pattern, APPLY_SECONDS)
    if int(told.found[2]) != services * _PROCESSES:
        raise DemoFailed(f"{told.found[0]}, and not in {services * _PROCESSES}")
    telling.say(f"The agent: {told.found[1]} {told.found[2]} processes{told.found[3]}.")


def late_starts(telling: Telling, machine: Machine, agent: Agent, patch: str) -> None:
    """Services that start while the patch is in force: one of a known image, one of a new one."""
    known = machine.start()
    telling.say("A service starts in a new container of a known image.", holes([known], expect_open=False))
    time.sleep(_QUIET)
    if agent.has_told(APPLIED.format(patch)):
        raise DemoFailed("the start in a container of a known image was not held: it was patched later")
    telling.say("The kernel held its start until it was patched.")
    begun = time.time()
    new = machine.start(machine.new_image())
    applied = agent.wait(APPLIED.format(patch), APPLY_SECONDS)
    telling.say(
        "A service starts in a container of an image that nothing has run of.",
        f"The agent has seen and patched it {applied.at - begun:.1f} s after its start.",
        holes([new], expect_open=False),
    )


def story(telling: Telling, folder: Path, count: int) -> Count:
    """The demo from the first request to the last; what the clients met meanwhile."""
    programs = packages.fetch()
    make(telling, folder / "patches")
    telling.marks.clear()
    with Machine(programs, folder) as machine:
        for _ in range(count):
            machine.start()
        telling.say(f"{count} services run, with {count * _PROCESSES} processes on the old library, of 2 images.")
        telling.say(holes(machine.services, expect_open=True))
        keeper = Keeper(folder, telling)
        with Agent(folder, keeper, str(programs.php)) as agent:
            telling.say("A feed with new keys is served, and an agent looks after the machine.")
            telling.mark("the keeper publishes the patch")
            patch = keeper.publish(folder / "patches")
            telling.mark("signed, and in the feed")
            everywhere(telling, agent, APPLIED.format(patch), len(machine.services))
            telling.mark("patched in every process")
            telling.say(holes(machine.services, expect_open=False))
            time.sleep(SETTLE)
            late_starts(telling, machine, agent, patch)
            telling.mark("the keeper withdraws the patch")
            keeper.withdraw(patch)
            telling.mark("signed, and in the feed")
            everywhere(telling, agent, REVERTED.format(patch), len(machine.services))
            telling.mark("reverted in every process")
            telling.say(holes(machine.services, expect_open=True))
            time.sleep(SETTLE)
            telling.time_line("Time line, seconds:")
    return machine.count()


def main() -> int:
    """Show it with as many services as the first argument says; 0 when everything went as promised."""
    telling = Telling()
    count = int(sys.argv[1])
    print(INTRODUCTION.format(count=count), flush=True)
    return finish(lambda: story(telling, private_folder(), count))


if __name__ == "__main__":
    sys.exit(main())
