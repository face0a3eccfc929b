"""A host of the demo's fleet: the picture service (nginx with TLS, php-fpm) and an agent, in a container with an
address and a name of its own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from demo_files import picture
from demo_files.clients import Ask, asker
from demo_files.packages import Programs
from demo_files.server import FPM_CONF, SCRIPT, USER, ServerFailed, nginx_configuration
from demo_files.telling import SUTURE
from suture.command import run
from suture.source import cache

_CONTAINER, _START = (Path(__file__).with_name(name) for name in ("container.sh", "fleet_host.sh"))
_CHECKOUT = Path(__file__).resolve().parents[1]
_SPACES = ("--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
SERVER_ADDRESS = "10.77.0.1"
_NAMES = Path("/run/netns")  # ip-netns(8)
_PORT = 443
_START_SECONDS = 60.0
_ANSWER_SECONDS = 60.0  # all hosts share the processors of one machine

POLICY = """\
[feed]
url = "{feed}"
root = "/shared/root.json"
channel = "early"
every_minutes = 0.1

[apply]
mode = "fleet"
untried = true
grades = ["safe", "review"]

[fleet]
server = "{key}"

[look]
every_seconds = 2

[include]
paths = ["{program}"]
"""


@dataclass(frozen=True)
class Surroundings:
    """What all hosts share: the programs, an image with the old library, the fleet's address and key, the feed's
    address and root.json, and the certificate and key with which every service of the demo is reached."""

    programs: Programs
    image: Path
    fleet: str
    fleet_key: str
    feed: str
    feed_root: Path
    certificate: Path
    private_key: Path


def address(number: int) -> str:
    """Of the host with this number, from 1."""
    return f"10.77.0.{10 + number}"


def prepare_network() -> None:
    """The server's own address, in the network namespace that this process is in; and a place for the names of the
    hosts' namespaces that this mount namespace alone sees."""
    _NAMES.mkdir(exist_ok=True)
    run(["mount", "--types", "tmpfs", "suture-demo", str(_NAMES)])
    _ip("link", "set", "lo", "up")
    _ip("address", "add", f"{SERVER_ADDRESS}/32", "dev", "lo")


class FleetHost:
    """Runs from `start` to `stop`. `folder` is its own."""

    def __init__(self, number: int, around: Surroundings, folder: Path) -> None:
        self.name, self.address = f"web-{number:02}", address(number)
        self._number, self._around, self._folder = number, around, folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def shared(self) -> Path:
        """The folder that it shares with the machine."""
        return self._folder / "shared"

    @property
    def ask(self) -> Ask:
        """Sends one picture to it, over TLS."""
        return asker(_PORT, self._around.certificate, self.address, _ANSWER_SECONDS)

    def start(self, token: str) -> None:
        """Returns at once; `token` lets it into the fleet."""
        self._connect()
        self._write(token)
        around, programs = self._around, self._around.programs
        inside = [str(SUTURE), str(programs.php), str(programs.php_gd), str(programs.nginx), programs.library_path]
        places = [str(p) for p in (self._folder / "root", around.image, self.shared, cache.root().resolve())]
        command = ["nsenter", f"--net={_NAMES / self.name}", "unshare", *_SPACES, "sh", str(_CONTAINER), *places]
        command += ["sh", "/shared/start.sh", *inside, around.fleet, around.fleet_key]
        more = " ".join(dict.fromkeys((str(_CHECKOUT), str(Path(sys.prefix).resolve()))))
        with open(self.shared / "start.log", "wb") as log:
            environment = {**os.environ, "MORE": more, "NAME": self.name}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def wait(self) -> None:
        """Until its service answers; raises `ServerFailed` when it does not."""
        end = time.monotonic() + _START_SECONDS
        assert self._process is not None
        while self._process.poll() is None and time.monotonic() < end:
            try:
                self.ask(picture.genuine("ready"))
                return
            except (OSError, ValueError):
                time.sleep(0.05)
        logs = "\n".join(p.read_text(errors="replace").strip() for p in self.shared.glob("*.[lo][ou][gt]"))
        raise ServerFailed(f"{self.name} did not start: {logs[-3000:]}", "see the lines above")

    def log(self) -> str:
        """What its agent has told."""
        return (self.shared / "agent.log").read_text(errors="replace")

    def stop(self) -> None:
        """End it and all that it has begun."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _connect(self) -> None:
        """A network of its own, with one line to the server's."""
        line = f"line{self._number}"
        _ip("netns", "add", self.name)
        _ip("link", "add", line, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("link", "set", line, "up")
        _ip("route", "add", f"{self.address}/32", "dev", line, "src", SERVER_ADDRESS)
        inside = ("--netns", self.name)
        _ip(*inside, "address", "add", f"{self.address}/32", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip(*inside, "link", "set", device, "up")
        _ip(*inside, "route", "add", f"{SERVER_ADDRESS}/32", "dev", "eth0", "src", self.address)

    def _write(self, token: str) -> None:
        around, shared = self._around, self.shared
        for place in (self._folder / "root", shared):
            place.mkdir(parents=True)
        within = Path("/shared")
        (shared / "pictures.php").write_bytes(SCRIPT.read_bytes())
        (shared / "start.sh").write_bytes(_START.read_bytes())
        (shared / "fpm.conf").write_text(FPM_CONF.format(run=within, user=USER, workers=1))
        text = nginx_configuration(within, _PORT, within / "service.pem", within / "service.key", self.address)
        (shared / "nginx.conf").write_text(text)
        (shared / "service.pem").write_bytes(around.certificate.read_bytes())
        (shared / "service.key").write_bytes(around.private_key.read_bytes())
        (shared / "fleet.pem").write_bytes(around.certificate.read_bytes())
        (shared / "root.json").write_bytes(around.feed_root.read_bytes())
        (shared / "machine-id").write_text(hashlib.sha256(self.name.encode()).hexdigest()[:32] + "\n")
        (shared / "token").write_text(token)
        (shared / "agent.toml").write_text(
            POLICY.format(feed=around.feed, key=around.fleet_key, program=around.programs.php)
        )


def _ip(*words: str) -> None:
    run(["ip", *words])
