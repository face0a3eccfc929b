"""The version of a package with backported fixes: above the one that it stands on, below any later official one.

deb-version(7): `~` sorts before the end, letters before other signs, and runs of digits by their value.
"""

from __future__ import annotations

import re

from debian.debian_support import version_compare

from suture.error import Refused
from suture.source.mirror import RELEASES

_OWN = re.compile(r"\+suture(\d+)\Z")
_UPDATE = re.compile(r"[+~]deb\d+u\d+")


def successor(version: str, release: str) -> str:
    """`1.2-3+deb11u5` gives `1.2-3+deb11u5+suture1`, that gives `+suture2`. A version without an update's number gets
    `+deb11u0` first: `1.2-3+suture1` would sort above `1.2-3+deb11u1`."""
    own = _OWN.search(version)
    if own:
        return f"{version[: own.start()]}+suture{int(own[1]) + 1}"
    update = "" if _UPDATE.search(version) else f"+deb{RELEASES[release]}u0"
    return f"{version}{update}+suture1"


def check(made: str, base: str, newer: str) -> None:
    """That a host upgrades from `base` to `made`, and from that to the newer release's version. Raises `Refused`."""
    if version_compare(base, made) < 0 < version_compare(newer, made):
        return
    raise Refused(
        f"{made} does not sort between {base} and {newer}, so hosts would not upgrade to it or from it",
        "choose another version of the newer release with --from-version",
    )
