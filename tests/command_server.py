"""A process that has imported the verbs and forks for each command line: what a test waits for is the work, not Python.

Run by `tests.command`, with one socket as standard input. Each request is one message: words, folder and environment as
JSON, with the descriptors of stdout and stderr, and a socket on which the exit status is said.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import struct
import sys

LATE = ("agent.standing", "feed.client", "feed.publication", "feed.repository", "make.make", "report.schema")
"""What verbs import when they run."""
LENGTH = 1 << 20


def serve() -> None:
    asked = socket.socket(fileno=0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    from suture import cli
    from suture.cli import main

    verbs = (
        one.name for one in pkgutil.walk_packages(cli.__path__, "suture.cli.") if one.name != "suture.cli.__main__"
    )
    for name in (*verbs, *(f"suture.{late}" for late in LATE)):
        with contextlib.suppress(ImportError):
            # an installation without an extra: the verb itself says so
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    while True:
        data, descriptors, _, _ = socket.recv_fds(asked, LENGTH, 3)
        if not data:
            return
        if os.fork() == 0:
            asked.close()
            _between(data, descriptors, main.main)
        for one in descriptors:
            os.close(one)


def _between(data: bytes, descriptors: list[int], main: object) -> None:
    """Fork once more, wait, and say the status: the server itself never waits."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out, err, answer = descriptors
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os.write(answer, struct.pack("i", status))
        os._exit(0)
    os.close(answer)
    given = json.loads(data)
    os.chdir(given["folder"])
    os.environ.clear()
    os.environ.update(given["environment"])
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
        os.close(source)
    sys.argv = [given["program"], *given["words"]]
    sys.exit(main())  # type: ignore[operator]


if __name__ == "__main__":
    serve()
