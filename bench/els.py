"""Fixes that both releases have, carried from the newer to the older as if it had none. `bench/els` calls it.

The older release's source stands as it was before its own patches for the CVE; what those made of the files is the
truth. Packages: all that either release's security archive has an update of, in the order of the SHA-256 of their
names; pairs: a CVE that a patch of both series claims. None is chosen by hand.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from debian.deb822 import Deb822
from els_page import COLUMNS, counts, document
from facts import RESULTS, Start

from suture.cli.output import print_json, print_table
from suture.els.backport import Backport, FileChange
from suture.els.carry import Carrier
from suture.els.need import Need, fixed
from suture.els.patching import patched
from suture.els.token import code
from suture.error import SutureError
from suture.source.archive import Archive, SourceVersion
from suture.source.quilt import Series
from suture.source.subject import CVE
from suture.source.update import newest_that_arrives

_OLD, _NEW = "bullseye", "bookworm"
_LARGEST = 50_000_000


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/els", description="Fixes carried to an older release, compared with what its maintainers made."
    )
    parser.add_argument("--count", type=int, metavar="N", help="packages to look at (all)")
    parser.add_argument("--package", action="append", default=[], metavar="NAME", help="this package alone; repeatable")
    parser.add_argument("--resume", action="store_true", help="keep the packages that were measured")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page too")
    args = parser.parse_args(words)
    start = Start.now("els", words)
    known = _known(args.into / "els.json") if args.resume else {}
    rows: dict[str, Any] = dict(known)
    for name in args.package or packages()[: args.count]:
        if name not in rows:
            rows[name] = _package(name)
            print(f"{name}: {rows[name].get('missing') or len(rows[name]['pairs'])}", flush=True)
            path = start.finish({"old": _OLD, "new": _NEW, "packages": rows}).write(args.into)
    path = start.finish({"old": _OLD, "new": _NEW, "packages": rows}).write(args.into)
    data = json.loads(path.read_text())
    if args.page:
        args.page.write_text(document(data))
    if args.json:
        print_json(data)
    else:
        print_table(COLUMNS, counts(data["data"]))
    return 0


def _known(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())["data"]["packages"]) if path.exists() else {}


def packages() -> list[str]:
    """Source packages with an update in the security archive of one of the releases and a version in both, ordered by
    the hash of their names. Those of more than 50 MB are left out, to spare the archive."""
    listed = [dict(_sizes(Archive(release))) for release in (_OLD, _NEW)]
    updated = {name for release in (_OLD, _NEW) for name, _ in _sizes(Archive(release), "-security_")}
    both = {n for n in updated if all(n in sizes and sizes[n] <= _LARGEST for sizes in listed)}
    return sorted(both, key=lambda n: hashlib.sha256(n.encode()).hexdigest())


def _sizes(archive: Archive, part: str = "_") -> Iterator[tuple[str, int]]:
    """Names of source packages in the indexes whose file names have a part, and the bytes of each."""
    for path in archive.lists.glob("*_source_Sources"):
        if part in path.name:
            with path.open() as file:
                for block in Deb822.iter_paragraphs(file, fields=["Package", "Checksums-Sha256"]):
                    rows = str(block.get("Checksums-Sha256", "")).splitlines()
                    yield str(block["Package"]), sum(int(r.split()[1]) for r in rows if r.strip())


def _package(name: str) -> dict[str, Any]:
    try:
        if not _share_a_cve(name):
            return {"pairs": []}
        old, new = (newest_that_arrives(name, a, partial(a.source, name)) for a in (Archive(_OLD), Archive(_NEW)))
    except SutureError as gone:
        return {"missing": gone.what, "pairs": []}
    mine = {cve: need for need in fixed(old) for cve in need.cves}
    pairs = []
    for need in fixed(new):
        own = [mine[c] for c in need.cves if c in mine]
        if own:
            pairs.append(_pair(need, own[0], old, new))
    return {"versions": [old.version, new.version], "same_upstream": old.upstream == new.upstream, "pairs": pairs}


def _share_a_cve(name: str) -> bool:
    """Whether patches of both releases name the same CVE; only the packaging is fetched."""
    found = []
    for release in (_OLD, _NEW):
        archive = Archive(release)
        folder = newest_that_arrives(name, archive, partial(archive.packaging, name)) / "patches"
        patches = [p for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else []
        found.append({c for p in patches for c in CVE.findall(f"{p.name} {p.read_text(errors='replace')}")})
    return bool(set.intersection(*found))


def _pair(need: Need, own: Need, old: SourceVersion, new: SourceVersion) -> dict[str, Any]:
    """One fix: what came of it, and what `patch` alone makes."""
    began = time.monotonic()
    here, there = Series.of(old), Series.of(new)
    paths = {f.path for fix in own.patches for f in fix.files}
    donor = {f.path for fix in need.patches for f in fix.files}
    before = {p: here.before(own.patches[0].name, p) for p in paths | donor}
    truth = {p: here.after(own.patches[-1].name, p) for p in paths | donor}
    carrier = Carrier(old, new)
    carrier.start_at(before)
    found = carrier.carry(need)
    made = {**before, **{c.path: c.after for c in found.carried}}
    changes = [
        FileChange(p, there.before(need.patches[0].name, p), there.after(need.patches[-1].name, p))
        for p in sorted(donor)
    ]
    return {
        "cves": need.cves,
        "outcome": _outcome(found, made, truth),
        "findings": sorted({f.kind.value for f in found.findings}),
        "ways": sorted({c.way.value for c in found.carried}),
        "patch": _plain(changes, before, truth),
        "seconds": round(time.monotonic() - began, 1),
    }


def _outcome(found: Backport, made: Mapping[str, str | None], truth: Mapping[str, str | None]) -> str:
    if not found.is_whole:
        return "handed over"
    return "same" if _is_same(made, truth) else "different"


def _is_same(made: Mapping[str, str | None], truth: Mapping[str, str | None]) -> bool:
    """Whether the code of all files is the same; documents and tests do not count."""
    return all(
        code(made.get(p) or "") == code(truth.get(p) or "")
        for p in {*made, *truth}
        if FileChange(p, None, None).is_code
    )


def _plain(changes: Sequence[FileChange], before: Mapping[str, str | None], truth: Mapping[str, str | None]) -> str:
    """What `patch` makes, with its default fuzz of two lines and all files together: same, different, or conflict."""
    made = dict(before)
    for change in changes:
        ours = before.get(change.path)
        if change.before is None:
            made[change.path] = change.after
            continue
        text = None if ours is None else patched(change.before, ours, change.after or "", fuzz=2)
        if text is None and change.is_code:
            return "conflict"
        made[change.path] = ours if text is None else text
    return "same" if _is_same(made, truth) else "different"


if __name__ == "__main__":
    raise SystemExit(main())
