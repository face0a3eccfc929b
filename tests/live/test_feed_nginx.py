"""The archive's nginx serves a feed with the configuration of docs/how-to/feed.md, and a host fetches from it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo_files import packages
from suture.feed import rotation
from suture.feed.key import Keys
from suture.patch.file import read_patch
from tests.feed.conftest import Keeper, Visitor, begin, build_id, made

__all__ = ["made"]  # a fixture
pytestmark = pytest.mark.archive

PAGE = Path(__file__).parents[2] / "docs/how-to/feed.md"
# what any nginx.conf has around a server; root, since the folders of tests are root's own
AROUND = """\
daemon off;
user root;
error_log {run}/error.log warn;
pid {run}/pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {run}/body;
    fastcgi_temp_path {run}/fastcgi;
    proxy_temp_path {run}/proxy;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    {server}
}}
"""


def configuration(run: Path, public: Path, port: int) -> str:
    (block,) = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(), re.S)
    server = block.replace("listen 8080", f"listen 127.0.0.1:{port}").replace("/srv/feed/public", str(public))
    assert f":{port};" in server and str(public) in server
    return AROUND.format(run=run, server=server)


@contextlib.contextmanager
def nginx(run: Path, public: Path) -> Iterator[str]:
    programs = packages.fetch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run.mkdir()
    (run / "nginx.conf").write_text(configuration(run, public, port))
    environment = {**os.environ, "LD_LIBRARY_PATH": programs.library_path}
    words = [str(programs.nginx), "-e", str(run / "error.log"), "-p", str(run), "-c", str(run / "nginx.conf")]
    with subprocess.Popen(words, env=environment) as process:
        try:
            end = time.monotonic() + 20
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert process.poll() is None and time.monotonic() < end, (run / "error.log").read_text()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def header(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        return str(answer.headers["Cache-Control"])


def status(url: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as told:
        urllib.request.urlopen(url)
    return int(told.value.code)


def test_a_host_fetches_from_nginx_as_it_is_documented(tmp_path: Path, made: bytes) -> None:
    keeper: Keeper = begin(tmp_path / "own", made)
    offer = keeper.offer(1)
    visitor = Visitor(tmp_path / "host", keeper.root)
    with nginx(tmp_path / "run", keeper.feed.public) as url:
        (path,) = visitor.fetch(url, 1)
        assert read_patch(path).manifest.target.build_id == build_id(1)
        assert header(f"{url}/metadata/timestamp.json") == header(f"{url}/metadata/1.root.json") == "no-cache"
        patch = f"{url}/targets/patches/{offer.sha256}.{path.name}"
        assert "immutable" in header(patch) and "immutable" in header(f"{url}/metadata/2.snapshot.json")
        assert {status(f"{url}/{name}") for name in ("", "metadata/", "metadata/2.root.json")} == {404}
        assert status(f"{url}/../feed.toml") == 400
        rotation.replace_key(
            keeper.feed, Keys((keeper.keys, *keeper.roots)), "timestamp", "", tmp_path / "new", keeper.now
        )
        keeper.add(2)
        keeper.publish(tmp_path / "new")
        assert len(visitor.fetch(url, 1, 2)) == 2
