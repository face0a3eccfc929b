"""A feed with many patches, and a host that needs three of them. `bench/feed` calls it.

One real patch is made, and for each further binary the same with another build-id, sealed anew, so that each goes
through the reader of patches. Everything is done with the command, as a person or a timer does it. The host asks for
1,000 build-ids, of which the feed has patches for three; the server is `suture feed serve` on the same machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facts import RESULTS, Start
from feed_page import COLUMNS, document, rows
from target import Library, NotMeasured

from suture.cli.output import print_json, print_table
from suture.patch.file import SUFFIX, read_patch
from suture.patch.seal import seal

_COMMAND = str(Path(sys.executable).with_name("suture"))
_WANTED = 3
_SEAL = len(seal(b""))


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/feed", description="A feed with many patches, and a host that needs three of them."
    )
    parser.add_argument(
        "--patches", type=int, nargs="+", default=[100, 1000, 10000], metavar="N", help="how many (100 1000 10000)"
    )
    parser.add_argument("--mapped", type=int, default=1000, metavar="N", help="build-ids that the host asks for (1000)")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page too")
    args = parser.parse_args(words)
    start = Start.now("feed", words)
    sizes = []
    for count in args.patches:
        with tempfile.TemporaryDirectory() as name:
            sizes.append(_measured(Path(name), count, args.mapped))
    record = start.finish({"mapped": args.mapped, "wanted": _WANTED, "sizes": sizes})
    path = record.write(args.into)
    if args.page:
        args.page.write_text(document(json.loads(path.read_text())))
    if args.json:
        print_json(record.data)
    else:
        print_table(COLUMNS, rows(record.data))
    return 0


def build_id(number: int) -> str:
    """As the linker makes them: 160 bits that look like chance."""
    return hashlib.sha1(str(number).encode()).hexdigest()


def _measured(folder: Path, count: int, mapped: int) -> dict[str, Any]:
    patches = _patches(folder, count + 2)
    keys, feed = folder / "keys", folder / "feed"
    _run("init", "--feed", feed, "--keys", keys, "--root-keys", folder / "root")
    publish = ("publish", "--feed", feed, "--keys", keys)
    found: dict[str, Any] = {"patches": count, "patch_bytes": patches[0].stat().st_size}
    found["add_seconds"] = _add(feed, patches[:count])
    found["publish_seconds"] = _run(*publish)[0]
    found["idle_seconds"] = _run(*publish)[0]
    build_ids = [build_id(n) for n in (*range(_WANTED), *range(-1, _WANTED - mapped - 1, -1))]
    host = _Host(folder, build_ids)
    with _served(feed) as url:
        looks = [host.fetch(url, "cold", _WANTED), host.fetch(url, "warm, nothing is new", 0)]
        _add(feed, [patches[count]])
        found["one_more_seconds"] = _run(*publish)[0]
        looks.append(host.fetch(url, "warm, a patch for others is new", 0))
        host.build_ids[-1] = build_id(count + 1)
        _add(feed, [patches[count + 1]])
        _run(*publish)
        looks.append(host.fetch(url, "warm, a patch for this host is new", 1))
    found["looks"] = looks
    found["metadata_bytes"] = sum(p.stat().st_size for p in (feed / "public").rglob("*") if p.suffix == ".json")
    return found


def _patches(folder: Path, count: int) -> list[Path]:
    """Patches for so many binaries."""
    library = Library.compile(folder)
    patch = library.patch(2)
    data = patch.read_bytes()
    own = read_patch(patch).manifest.target.build_id.encode()
    place = folder / "patches"
    place.mkdir()
    found = []
    for n in range(count):
        found.append(place / f"{n}{SUFFIX}")
        found[-1].write_bytes(seal(data[:-_SEAL].replace(own, build_id(n).encode())))
    return found


def _add(feed: Path, patches: Sequence[Path]) -> float:
    options = ("--accept", "review", "--product", "libraries", "--channel", "delayed")
    seconds, said = _run("add", *patches, "--feed", feed, *options)
    if len(said["added"]) != len(patches):
        raise NotMeasured(f"{len(said['added'])} of {len(patches)} patches were taken")
    return seconds


class _Host:
    """A host that keeps what it has seen."""

    def __init__(self, folder: Path, build_ids: Sequence[str]) -> None:
        self.folder = folder
        self.build_ids = list(build_ids)

    def fetch(self, url: str, what: str, new: int) -> dict[str, Any]:
        """One look. Raises `NotMeasured` unless so many patches are new."""
        wanted = [word for b in self.build_ids for word in ("--build-id", b)]
        root = ("--root", self.folder / "feed/root.json")
        seconds, said = _run("fetch", "--url", url, *root, "--into", self.folder / "host", *wanted)
        got = [p["offer"]["bytes"] for p in said["patches"] if p["new"]]
        if len(got) != new:
            raise NotMeasured(f"{what}: {len(got)} patches were fetched, not {new}")
        return {
            "what": what,
            "seconds": seconds,
            "fetch_seconds": said["seconds"],
            "files": said["files"] - new,
            "bytes": said["bytes"] - sum(got),
        }


@contextmanager
def _served(feed: Path) -> Iterator[str]:
    command = [_COMMAND, "feed", "serve", "--feed", str(feed), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = ""
        while not text.endswith("\n}\n"):
            text += process.stdout.readline()
        try:
            yield json.loads(text)["notes"][0]
        finally:
            process.terminate()


def _run(*words: object) -> tuple[float, Mapping[str, Any]]:
    """Seconds of `suture feed`, from its start to its end, and what it says."""
    begin = time.monotonic()
    done = subprocess.run([_COMMAND, "feed", *map(str, words), "--json"], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begin
    if done.returncode:
        raise NotMeasured(f"suture feed {words[0]} ended with {done.returncode}: {done.stdout[-1000:]}{done.stderr}")
    return seconds, json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
