"""What an older release lacks today of a newer one's fixes, and where each stands. `bench/els_open` calls it.

Packages are those of `bench/els` that arrive in both releases. Each fix is carried, which needs no build; what was
built, published and made live is read from the folders of `suture els build`, `publish` and `live`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from els import packages
from els_open_page import COLUMNS, counts, document
from facts import RESULTS, Start

from suture.cli.els import status
from suture.cli.els.build import carried_report
from suture.cli.output import print_json, print_table
from suture.els.need import needs
from suture.els.package import PackageWish, sort
from suture.els.shelf import BuiltShelf
from suture.els.standing import standing
from suture.error import SutureError
from suture.report.els import ElsHole
from suture.report.encoding import plain
from suture.source.archive import Archive
from suture.source.subject import CVE
from suture.source.update import newest_that_arrives, versions

_OLD, _NEW = "bullseye", "bookworm"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/els_open", description="What an older release lacks of a newer one's fixes, and where each stands."
    )
    parser.add_argument("--package", action="append", default=[], metavar="NAME", help="this package alone; repeatable")
    parser.add_argument("--resume", action="store_true", help="keep the packages that were carried before")
    parser.add_argument("--built", type=Path, default=Path("built"), metavar="DIR", help="folder of suture els build")
    parser.add_argument("--repository", type=Path, default=Path("repository"), metavar="DIR", help="the apt repository")
    parser.add_argument("--patches", type=Path, default=Path("patches"), metavar="DIR", help="folder of live patches")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page too")
    args = parser.parse_args(words)
    start = Start.now("els_open", words)
    hosts = args.into / "els_hosts.json"
    known = args.into / "els_open.json"
    rows: dict[str, Any] = json.loads(known.read_text())["data"]["packages"] if args.resume and known.exists() else {}

    def written() -> Path:
        done = _done(BuiltShelf(args.built), args.repository, args.patches)
        on_hosts = json.loads(hosts.read_text())["data"]["packages"] if hosts.exists() else []
        data = {"old": _OLD, "new": _NEW, "packages": rows, "done": done, "hosts": on_hosts, "listed": len(packages())}
        return start.finish(data).write(args.into)

    for name in args.package or packages():
        if name not in rows or args.package:
            rows[name] = _package(name)
            print(f"{name}: {rows[name].get('missing') or len(rows[name]['fixes'])}", flush=True)
            written()
    data = json.loads(written().read_text())
    if args.page:
        args.page.write_text(document(data))
    if args.json:
        print_json(data)
    else:
        print_table(COLUMNS, counts(data["data"]))
    return 0


def _package(name: str) -> dict[str, Any]:
    """What comes of carrying a package's fixes, before anything is built."""
    older, newer = Archive(_OLD), Archive(_NEW)
    try:
        if not _may_lack(name, older, newer):
            return {"fixes": []}
        old, new = (newest_that_arrives(name, a, partial(a.source, name)) for a in (older, newer))
        wish = PackageWish(old, new)
        carried = carried_report(wish, sort(needs(old, new), wish))
    except SutureError as gone:
        return {"missing": gone.what, "fixes": []}
    found = standing(carried, (), (), (), {})
    return {
        "versions": [old.version, new.version],
        "listed": [versions(name, a)[-1] for a in (older, newer)],
        "fixes": [_row(hole) for hole in found.holes],
    }


def _may_lack(name: str, older: Archive, newer: Archive) -> bool:
    """Whether a patch of the newer release names a CVE that the older one's packaging does not; only packaging is
    fetched."""
    mine, theirs = (newest_that_arrives(name, a, partial(a.packaging, name)) for a in (older, newer))
    own = {c for p in _patches(mine) for c in CVE.findall(p.name)}
    own |= set(CVE.findall((mine / "changelog").read_text(errors="replace")))
    return any(set(CVE.findall(f"{p.name} {p.read_text(errors='replace')}")) - own for p in _patches(theirs))


def _patches(packaging: Path) -> list[Path]:
    folder = packaging / "patches"
    return [p for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else []


def _done(shelf: BuiltShelf, repository: Path, patches: Path) -> dict[str, list[dict[str, Any]]]:
    """Where the holes of packages stand that were worked on, by package."""
    found = status.packages(shelf, repository, patches)
    return {p.package: [_row(hole) for hole in p.holes] for p in found}


def _row(hole: ElsHole) -> dict[str, Any]:
    row: Mapping[str, Any] = plain(hole)
    return {k: row[k] for k in ("cves", "patches", "state", "made", "live", "reasons")}


if __name__ == "__main__":
    raise SystemExit(main())
