"""`suture fleet` through the command, and the server that it serves."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from suture.error import ExitCode
from tests.cli.test_feed import run, said
from tests.cli.test_make import SUTURE
from tests.comply.test_catalogue import KEV


@contextmanager
def serving(database: str, *more: str) -> Iterator[str]:
    """A server in a process of its own; its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [SUTURE, "fleet", "serve", "--plain", "--insecure-cookies", "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen(
        [*map(str, words), "--database", database, *more], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline().startswith("serving at ")
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(url)
            yield url
        finally:
            process.terminate()


def _wait(url: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{url}/login", timeout=5).close()
            return
        except OSError:
            import time

            time.sleep(0.05)
    raise AssertionError("the server does not answer")


def test_what_an_administrator_types(tmp_path: Path) -> None:
    place = ("--database", f"sqlite:///{tmp_path / 'fleet.sqlite'}")
    (tmp_path / "password").write_text("correct horse battery\n")
    run("fleet", "user", "ann", "--role", "admin", "--password-file", tmp_path / "password", *place)
    assert [a["role"] for a in run("fleet", "user", "--list", *place)["accounts"]] == ["admin"]
    assert "new password" in said("fleet", "user", "ann", "--password-file", tmp_path / "password", *place)
    assert len(said("fleet", "token", "--label", "web", *place).strip()) == 32
    assert len(run("fleet", "api-token", "--name", "monitoring", *place)["secret"]) == 43
    assert len(run("fleet", "key", *place)["notes"][0]) == 64
    (tmp_path / "kev.json").write_text(json.dumps(KEV))
    (source,) = run("fleet", "import", "--kev", tmp_path / "kev.json", *place)["sources"]
    assert (source["name"], source["version"]) == ("CISA KEV", "2024.06.01")
    assert run("fleet", "hosts", *place)["total"] == 0 and run("fleet", "holes", *place)["total"] == 0
    assert run("fleet", "rollout", *place)["rollouts"] == []
    wrong = run("fleet", "rollout", "--begin", "0123456789abcdef", *place, code=ExitCode.NOT_FOUND)
    assert "no host has told of a patch" in wrong["error"]
    assert "5 entries are whole" in said("fleet", "audit", *place)
    run("fleet", "backup", tmp_path / "copy", *place)
    other = ("--database", f"sqlite:///{tmp_path / 'other.sqlite'}")
    assert run("fleet", "restore", tmp_path / "copy", *other)["notes"] == ["0 hosts are known"]
    run("fleet", "restore", tmp_path / "copy", *other, code=ExitCode.NOT_FOUND)


def test_a_server_without_a_certificate_says_so(tmp_path: Path) -> None:
    wrong = run("fleet", "serve", "--database", f"sqlite:///{tmp_path / 'f'}", code=ExitCode.USAGE)
    assert "--certificate" in wrong["remedy"]
    open_door = ("fleet", "serve", "--plain", "--listen", "0.0.0.0:8443")
    assert "passwords" in run(*open_door, "--database", f"sqlite:///{tmp_path / 'f'}", code=ExitCode.USAGE)["error"]


def test_it_serves(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'fleet.sqlite'}") as url, urllib.request.urlopen(f"{url}/login") as answer:
        assert b"Log in" in answer.read() and "server" not in {k.lower() for k in answer.headers}
