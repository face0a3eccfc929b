"""That this host is in a fleet: the server, the host's own key (Ed25519) and the number of its last check-in. It is in
a file of the part without rights, which speaks with the server and nobody else does."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from suture import whole_file
from suture.agent import kept
from suture.report.encoding import plain

_NAME = "fleet.json"


@dataclass(frozen=True)
class Membership:
    """`id` is what the server calls this host; `server` the server's public key and `secret` the host's private one, in
    hex digits. `authority`: a file of certificates that the server's is checked by, "" for the system's.
    `next_secret`: a key that the server was told of, and perhaps has."""

    url: str
    id: str
    server: str
    secret: str
    authority: str
    sequence: int
    every_seconds: int
    next_secret: str = ""


def is_member(folder: Path) -> bool:
    """`folder` is the state of the part without rights."""
    return (folder / _NAME).exists()


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Who reads it and writes it anew is alone meanwhile. Raises OSError."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def read(folder: Path) -> Membership | None:
    """None where this host is in no fleet."""
    return kept.read_value(folder / _NAME, Membership)


def write(folder: Path, own: Membership) -> None:
    """It is readable for its owner alone, who is that of the folder. Raises OSError."""
    data = json.dumps(plain(own), sort_keys=True).encode()
    whole_file.replace_durably(folder / _NAME, data, mode=0o600)
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(folder / _NAME, owner.st_uid, owner.st_gid)


def next_sequence(own: Membership, milliseconds: int) -> Membership:
    """The number of the next check-in: the time in milliseconds, and more than any before."""
    return replace(own, sequence=max(own.sequence + 1, milliseconds))
