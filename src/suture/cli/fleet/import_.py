"""`suture fleet import`: data from elsewhere, as files."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from suture.cli.fleet import option
from suture.error import BadOption, ExitCode, NotFound

SUMMARY = "take in what others know of holes: KEV, CVE records"
HELP = """\
Take in data from files, so that a server without a way out can have them too: CISA's catalogue of known exploited
vulnerabilities (--kev, the JSON file), and CVE records with CISA's enrichment (--cve, a file or a folder of them, as
in the repository vulnrichment). A newer catalogue replaces the older one: what CISA took back counts no more.

What is not known of a hole counts for the worse in deadlines."""
EXAMPLES = ("suture fleet import --kev known_exploited_vulnerabilities.json --cve vulnrichment/2026",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kev", type=Path, metavar="FILE", help="CISA's catalogue")
    parser.add_argument("--cve", type=Path, metavar="PATH", help="a CVE record, or a folder of them")
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from suture.comply import catalogue
    from suture.fleet import audit, hole

    if not args.kev and not args.cve:
        raise BadOption("there is nothing to take in", "give --kev or --cve")
    at = datetime.now(UTC)
    kev = catalogue.read_kev(_read(args.kev), str(args.kev)) if args.kev else None
    files = sorted(args.cve.rglob("CVE-*.json")) if args.cve and args.cve.is_dir() else [args.cve] if args.cve else []
    with option.database(args).writing() as session:
        if files:
            count = hole.fill_facts(session, (catalogue.read_cve(_read(f), str(f)) for f in files), at)
            audit.note(session, option.who(), "data taken in", "CVE records", f"{count} from {args.cve}")
        if kev is not None:
            hole.fill_kev(session, kev, at)
            audit.note(session, option.who(), "data taken in", catalogue.KEV, f"version {kev.version}")
        sources = hole.sources(session)
    notes = [f"{s.name}: version {s.version}, {s.rows} rows" for s in sources]
    return option.tell(args, "import", *notes, sources=sources)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise NotFound(f"{path}: {problem.strerror}", "give a file that can be read") from problem
