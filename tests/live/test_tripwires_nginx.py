"""The archive's nginx with a hole, patched while it runs: a client on another machine (a network namespace) tries the
hole, and within a second an event says which process, which CVE and which line; nginx goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo_files import packages
from suture.source.archive import archive_for
from tests.command import SUTURE, suture
from tests.live.test_feed_nginx import AROUND

pytestmark = [pytest.mark.archive, pytest.mark.slow]

VERSION = "1.22.1-9+deb12u9"
SERVER, CLIENT = "10.99.7.1", "10.99.7.2"
# a rewrite that has not found its new location yet leaves a URI that may be shorter than the alias that is cut off
BLOCK = """\
server {{
    listen {address}:80;
    location = /alive {{ return 200 "alive"; }}
    location /abcdefgh/ {{
        alias {files}/;
        rewrite ^/abcdefgh/(.*)$ /$1;
        if (-f $request_filename) {{ return 204; }}
    }}
}}
"""
FIX = """\
--- a/src/http/ngx_http_core_module.c
+++ b/src/http/ngx_http_core_module.c
@@ -1930,7 +1930,7 @@
 
     alias = clcf->alias;
 
-    if (alias && !r->valid_location) {
+    if (alias && (!r->valid_location || r->uri_changed)) {
         ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                       "\\"alias\\" cannot be used in location \\"%V\\" "
                       "where URI was rewritten", &clcf->name);
"""


@contextmanager
def namespaces() -> Iterator[tuple[str, str]]:
    """Two machines with one wire between them."""
    names = (f"suture-server-{os.getpid()}", f"suture-client-{os.getpid()}")
    ends = (f"ss{os.getpid()}", f"sc{os.getpid()}")
    for name in names:
        subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        peer = ["peer", "name", ends[1], "netns", names[1]]
        subprocess.run(["ip", "link", "add", ends[0], "netns", names[0], "type", "veth", *peer], check=True)
        for name, end, address in zip(names, ends, (SERVER, CLIENT), strict=True):
            within = ["ip", "-n", name]
            subprocess.run([*within, "addr", "add", f"{address}/24", "dev", end], check=True)
            subprocess.run([*within, "link", "set", end, "up"], check=True)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=True)


def asked(namespace: str, path: str) -> str:
    """The status of an answer; "" for a connection that was closed without one."""
    program = (
        "import http.client, sys\n"
        f"line = http.client.HTTPConnection({SERVER!r}, 80, timeout=10)\n"
        "try:\n    line.request('GET', sys.argv[1]); print(line.getresponse().status)\n"
        "except (http.client.HTTPException, ConnectionError): print('')\n"
    )
    words = ["ip", "netns", "exec", namespace, sys.executable, "-I", "-c", program, path]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def workers(master: int) -> list[int]:
    children = Path(f"/proc/{master}/task/{master}/children").read_text()
    return [int(pid) for pid in children.split()]


@contextmanager
def nginx(run: Path, namespace: str, client: str) -> Iterator[int]:
    """The shipped program with its master's pid, once it answers."""
    (run / "files").mkdir(parents=True)
    text = AROUND.format(run=run, server=BLOCK.format(address=SERVER, files=run / "files"))
    (run / "nginx.conf").write_text(text)
    program = archive_for("nginx", VERSION).binary("nginx", VERSION) / "usr/sbin/nginx"
    # a copy of almost 2^64 bytes: only some of the ways to copy that glibc chooses by the processor end of it
    way = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=Prefer_ERMS"}
    env = {**os.environ, **way, "LD_LIBRARY_PATH": packages.fetch().library_path}
    words = ["ip", "netns", "exec", namespace, str(program), "-p", str(run), "-c", str(run / "nginx.conf")]
    master = subprocess.Popen(words, env=env)  # ip executes the program: the pid stays
    try:
        until = time.monotonic() + 20
        while asked(client, "/alive") != "200":
            assert time.monotonic() < until and master.poll() is None, (run / "error.log").read_text()
            time.sleep(0.1)
        yield master.pid
    finally:
        master.terminate()
        master.wait()


def test_an_attempt_from_another_machine_is_named_within_a_second_and_nginx_goes_on(tmp_path: Path) -> None:
    (tmp_path / "alias-after-rewrite.patch").write_text(FIX)
    words = ["--source", f"nginx={VERSION}", "--fix", "alias-after-rewrite.patch", "--cve", "CVE-2026-15176"]
    words = [*words, "--file", "nginx", "--tripwires", "--json"]
    said = suture("make", *words, cwd=tmp_path, check=True).stdout
    patch = tmp_path / json.loads(said)["patches"][0]["path"]
    with namespaces() as (server, client), nginx(tmp_path / "run", server, client) as master:
        (before,) = workers(master)
        assert asked(client, "/abcdefgh/x") == ""  # the hole ends the worker; its master starts another
        until = time.monotonic() + 10
        while asked(client, "/alive") != "200" and time.monotonic() < until:
            time.sleep(0.1)
        (worker,) = workers(master)
        assert worker != before
        suture("apply", patch, str(master), str(worker), check=True)
        watch = subprocess.Popen([SUTURE, "watch-attempts", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            assert watch.stdout is not None and watch.stderr is not None
            assert watch.stderr.readline().startswith(b"watching")
            assert asked(client, "/alive") == "200"
            start = time.monotonic()
            assert asked(client, "/abcdefgh/x") not in ("", "204")
            event = json.loads(watch.stdout.readline())
            while event["process"]["pid"] != worker:  # of another patched process of this machine
                event = json.loads(watch.stdout.readline())
            assert time.monotonic() - start < 1.5  # the client's own time included
        finally:
            watch.kill()
            watch.communicate()
        assert event["wire"]["cves"] == ["CVE-2026-15176"] and event["count"] == 1
        assert (event["wire"]["file"], event["wire"]["line"]) == ("src/http/ngx_http_core_module.c", 1933)
        assert event["wire"]["condition"] == "r->uri_changed"
        assert event["process"]["program"].endswith("/usr/sbin/nginx")
        assert asked(client, "/alive") == "200" and workers(master) == [worker]
