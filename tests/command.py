"""`suture` as a process of its own, forked from one that has imported its modules (tests/command_server.py).

What starts with an empty interpreter is shown elsewhere: tests/test_command.py, tests/cli/test_startup.py,
tests/packaging.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

SUTURE = Path(sys.executable).with_name("suture")
SERVER = Path(__file__).with_name("command_server.py")


@functools.cache
def _server(process: int) -> socket.socket:
    """One for each process of the tests; it ends with the socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    subprocess.Popen([sys.executable, str(SERVER)], stdin=theirs.fileno(), start_new_session=True)
    theirs.close()
    return ours


def suture(
    *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None, check: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end; `returncode`, `stdout` and `stderr` as of `subprocess.run`."""
    argv = [str(w) for w in words]
    given = {
        "program": str(SUTURE),
        "words": argv,
        "folder": str(cwd or Path.cwd()),
        "environment": dict(os.environ if env is None else env),
    }
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, ours:
        with theirs:
            descriptors = [out.fileno(), err.fileno(), theirs.fileno()]
            socket.send_fds(_server(os.getpid()), [json.dumps(given).encode()], descriptors)
        status = ours.recv(4)
        assert len(status) == 4, "the server of commands ended"
        texts = []
        for one in (out, err):
            one.seek(0)
            texts.append(one.read().decode())
    code = os.waitstatus_to_exitcode(struct.unpack("i", status)[0])
    done = subprocess.CompletedProcess([str(SUTURE), *argv], code, *texts)
    if check:
        done.check_returncode()
    return done
