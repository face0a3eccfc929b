"""The fleet's server of the demo, its people, and its interface for programs as the demo asks it."""

from __future__ import annotations

import json
import secrets
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from demo_files.fleet_host import SERVER_ADDRESS
from demo_files.telling import SUTURE, DemoFailed, Telling

_PORT = 8443
_START_SECONDS = 30.0
_SECONDS = 20.0
_EVERY_SECONDS = 2
PERSON = "ann"


class FleetServer:
    """Serves while entered. `folder` gets its database."""

    def __init__(self, folder: Path, certificate: Path, private_key: Path, telling: Telling) -> None:
        self._folder, self._telling = folder, telling
        self._identity = (certificate, private_key)
        self.url = f"https://{SERVER_ADDRESS}:{_PORT}"
        self.password = secrets.token_urlsafe(12)
        self._database = ("--database", f"sqlite:///{folder / 'fleet.sqlite'}")
        self._context = ssl.create_default_context(cafile=str(certificate))
        self._tokens: dict[str, str] = {}
        self._ended = ExitStack()

    def __enter__(self) -> FleetServer:
        password = self._folder / "password"
        password.write_text(self.password)
        self.suture("user", PERSON, "--role", "admin", "--password-file", password)
        for role in ("operator", "approver"):
            self._tokens[role] = self.suture("api-token", "--name", role, "--role", role)["secret"]
        certificate, key = self._identity
        words = ("fleet", "serve", "--listen", f"{SERVER_ADDRESS}:{_PORT}", "--every-seconds", str(_EVERY_SECONDS))
        command = [str(SUTURE), *words, "--certificate", str(certificate), "--private-key", str(key), *self._database]
        with open(self._folder / "fleet.log", "wb") as log:
            process = subprocess.Popen([*command, "--rule", "cisa-bod-26-04"], stdout=log, stderr=log)
        self._ended.callback(process.wait)
        self._ended.callback(process.terminate)
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.ask("operator", "hosts")
                return self
            except OSError as problem:
                if process.poll() is not None or time.monotonic() > end:
                    said = (self._folder / "fleet.log").read_text()
                    raise DemoFailed(f"the fleet's server does not answer: {problem}; {said[-2000:]}") from problem
                time.sleep(0.1)

    def __exit__(self, *what: object) -> None:
        self._ended.close()

    def suture(self, *words: str | Path) -> dict[str, Any]:
        """An action of `suture fleet` on this server's database."""
        return self._telling.suture("fleet", *words, *self._database)

    @property
    def key(self) -> str:
        """The server's public key."""
        return str(self.suture("key")["notes"][0])

    def token(self, hosts: int) -> str:
        """What lets so many hosts in."""
        return str(self.suture("token", "--hosts", str(hosts), "--group", "web")["secret"])

    def ask(self, role: str, what: str, body: Any = None) -> dict[str, Any]:
        """`/api/v1/what` as somebody of a role. Raises `DemoFailed` where it refuses, OSError where it is not there."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Authorization": f"Bearer {self._tokens[role]}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v1/{what}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS, context=self._context) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as problem:
            raise DemoFailed(f"{what}: the server answers {problem.code}: {problem.read()[:500]!r}") from problem

    def rollout(self, number: int) -> dict[str, Any]:
        """How a rollout stands."""
        found: list[dict[str, Any]] = self.ask("operator", "rollouts")["rollouts"]
        return next(r for r in found if r["id"] == number)

    def standing(self, patch: str) -> dict[str, int]:
        """On how many hosts a patch stands how."""
        found = self.ask("operator", "rollouts")["patches"]
        return next((p["hosts"] for p in found if p["patch"] == patch), {})
