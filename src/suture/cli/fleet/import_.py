"""`suture fleet import`: data from elsewhere, as files or fetched."""

from __future__ import annotations

import argparse
import ipaddress
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.fleet import option
from suture.error import BadOption, ExitCode, NotFound

if TYPE_CHECKING:
    from suture.comply.fact import HoleFacts

SUMMARY = "take in what others know of holes: KEV, CVE records, EPSS, Debian"
HELP = """\
Take in CISA's catalogue of known exploited vulnerabilities (--kev), CVE records with CISA's enrichment (--cve, as in
the repository vulnrichment), FIRST's EPSS scores (--epss) and the data of Debian's security tracker (--debian).

Each is a file, so that a server without a way out can have it too, or an address that begins with https://. --cve is a
record, a folder of them, or the address of such a folder: then the records of holes that hosts have are fetched.
--fetch stands for the addresses of their publishers, for all that is not given otherwise.

Newer data replaces older: what CISA has taken back counts no more, and the page of the hole says so. Scores and
Debian's word are kept for the holes that hosts have or had by now, so run this each day. What is not known of a hole
counts for the worse in deadlines."""
EXAMPLES = (
    "suture fleet import --fetch",
    "suture fleet import --kev known_exploited_vulnerabilities.json --cve vulnrichment/2026",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)
PUBLISHED = {
    "kev": "https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json",
    "cve": "https://raw.githubusercontent.com/cisagov/vulnrichment/develop",
    "epss": "https://epss.empiricalsecurity.com/epss_scores-current.csv.gz",
    "debian": "https://security-tracker.debian.org/tracker/data/json",
}
_MOST_BYTES = 512 << 20
_SECONDS = 60.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kev", metavar="FILE|URL", help="CISA's catalogue")
    parser.add_argument("--cve", metavar="PATH|URL", help="a CVE record, or a folder of them")
    parser.add_argument("--epss", metavar="FILE|URL", help="EPSS scores, packed (.gz) or not")
    parser.add_argument("--debian", metavar="FILE|URL", help="the data of Debian's security tracker")
    parser.add_argument("--fetch", action="store_true", help="from their publishers")
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from suture.comply import catalogue
    from suture.fleet import audit, hole

    wanted = {name: getattr(args, name) or (PUBLISHED[name] if args.fetch else "") for name in PUBLISHED}
    if not any(wanted.values()):
        raise BadOption("there is nothing to take in", "give --fetch, or a file with --kev, --cve, --epss or --debian")
    at, database = datetime.now(UTC), option.database(args)
    kev = catalogue.read_kev(_read(wanted["kev"]), wanted["kev"]) if wanted["kev"] else None
    epss = catalogue.read_epss(_read(wanted["epss"]), wanted["epss"]) if wanted["epss"] else None
    debian = catalogue.read_debian(_read(wanted["debian"]), wanted["debian"]) if wanted["debian"] else None
    with database.reading() as session:
        named = hole.on_hosts(session)
    records = list(_records(wanted["cve"], named)) if wanted["cve"] else None
    with database.writing() as session:
        if records is not None:
            hole.fill_facts(session, records, at)
        if kev is not None:
            hole.fill_kev(session, kev, at)
        if epss is not None:
            hole.fill_epss(session, epss, at)
        if debian is not None:
            hole.fill_debian(session, debian, at)
        sources = hole.sources(session)
        for source in (s for s in sources if datetime.fromisoformat(s.read) >= at.replace(microsecond=0)):
            audit.note(session, option.who(), "data taken in", source.name, f"version {source.version}")
    notes = [f"{s.name}: version {s.version}, {s.rows} rows" for s in sources]
    return option.tell(args, "import", *notes, sources=sources)


def _records(where: str, named: Sequence[str]) -> Iterator[HoleFacts]:
    from suture.comply import catalogue

    if _is_address(where):
        for cve in named:
            _, year, number = [*cve.split("-"), "", ""][:3]
            if not (year.isdigit() and number.isdigit()):  # a host's word, and no number of a CVE
                continue
            address = f"{where.rstrip('/')}/{year}/{number[:-3]}xxx/{cve}.json"
            data = _fetched(address, is_optional=True)
            if data:
                yield catalogue.read_cve(data, address)
        return
    path = Path(where)
    for file in sorted(path.rglob("CVE-*.json")) if path.is_dir() else [path]:
        yield catalogue.read_cve(_read(str(file)), str(file))


def _read(where: str) -> bytes:
    if _is_address(where):
        return _fetched(where)
    try:
        return Path(where).read_bytes()
    except OSError as problem:
        raise NotFound(f"{where}: {problem.strerror}", "give a file that can be read") from problem


def _is_address(where: str) -> bool:
    return where.startswith(("https://", "http://"))


def _fetched(address: str, is_optional: bool = False) -> bytes:
    """What is at an address; nothing where it is not there and may be missing."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        raise BadOption(f"{address}: anybody on the way could change it", "give an address that begins with https://")
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
            data: bytes = answer.read(_MOST_BYTES + 1)
    except urllib.error.HTTPError as problem:
        if is_optional and problem.code == 404:
            return b""
        raise NotFound(f"{address}: it answers {problem.code}", "get the file in another way, and give it") from problem
    except (OSError, ValueError) as problem:
        raise NotFound(f"{address}: {problem}", "get the file in another way, and give it") from problem
    if len(data) > _MOST_BYTES:
        raise NotFound(f"{address}: it is longer than it may be", "get the file in another way, and give it")
    return data


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
