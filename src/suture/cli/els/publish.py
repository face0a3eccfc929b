"""`suture els publish`: built packages go into a signed apt repository."""

from __future__ import annotations

import argparse
import getpass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.els import option
from suture.cli.output import print_document, print_table
from suture.error import ExitCode
from suture.report.document import ElsPublishReport
from suture.report.els import ElsGrade, PublishedPackage, PublishState
from suture.report.moment import now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from suture.els.apt_repository import AptRepository
    from suture.els.shelf import BuiltShelf
    from suture.report.document import ElsBuildReport

SUMMARY = "put built packages into a signed apt repository"
HELP = """\
Put what `suture els build` has made into an apt repository, sign it, and put all of it in force at once.

A package goes in by itself if its grade is safe. One that needs a look goes in once you say so with --accept
PACKAGE=VERSION; your name and the time are kept beside it. What was published stays as it is: a version is never
published again with other bytes.

gpg signs with a key of yours. Hosts believe the repository for --days; run the command again before they are over, with
or without something new. Its index is InRelease, fetched with indexes by their hash. The command prints what a
host puts into its apt sources.

Beside the packages lie documents for scanners and readers: OSV and CSAF for each package (DIR/osv, DIR/csaf), OVAL for
the suite (DIR/oval), and its news as RSS (DIR/SUITE.rss).

The packages of the Debian installer (.udeb) are left out."""
EXAMPLES = (
    "# a key for it, once",
    "gpg --batch --passphrase '' --quick-generate-key els@example.org ed25519 sign never",
    "# publish what is graded safe",
    "suture els publish --output built --repository repository --key els@example.org",
    "# and one that you have looked at",
    "suture els publish --output built --repository repository --key els@example.org "
    "--accept curl=7.74.0-1.3+deb11u16+suture1",
)
EXIT_CODES = option.EXIT_CODES


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_shelf(parser)
    option.add_repository(parser)
    option.add_accept(parser)
    parser.add_argument("--release", default="bullseye", metavar="NAME", help="of which release (default: bullseye)")


def run(args: argparse.Namespace) -> int:
    from suture.els.shelf import BuiltShelf

    shelf = BuiltShelf(args.output)
    for word in args.accept:
        shelf.accept(word, getpass.getuser())
    report = publish(args, shelf)
    if args.json:
        print_document(report)
    else:
        _print(report)
    return report.exit_code


def publish(args: argparse.Namespace, shelf: BuiltShelf) -> ElsPublishReport:
    """Publish what may be published of a shelf, and sign. Raises `NotFound` without the key, and `OtherBytes`."""
    from suture.els.apt_repository import KEYRING, AptRepository
    from suture.els.signature import SigningKey
    from suture.els.source_package import SUITE

    key = SigningKey(args.key, args.gnupg_home)
    fingerprint = key.fingerprint()
    repository = AptRepository(args.repository.absolute(), f"{args.release}{SUITE}")
    repository.folder.mkdir(parents=True, exist_ok=True)
    when = datetime.now(UTC)
    rows = tuple(_packages(shelf, repository, args.release))
    _announce(shelf, repository, args.release, args.url)
    repository.publish(key, when, args.days)
    code = ExitCode.PARTIAL if any(r.state is PublishState.WAITING for r in rows) else ExitCode.OK
    expires = (when + timedelta(days=args.days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return ElsPublishReport(
        now(),
        code,
        str(repository.folder),
        repository.suite,
        fingerprint,
        str(repository.folder / KEYRING),
        expires,
        rows,
        repository.sources(args.url),
    )


def _packages(shelf: BuiltShelf, repository: AptRepository, release: str) -> Iterator[PublishedPackage]:
    for report in shelf.builds():
        if report.release == release:
            yield _package(report, shelf, repository)


def _package(report: ElsBuildReport, shelf: BuiltShelf, repository: AptRepository) -> PublishedPackage:
    from suture.els.advisory import cves_of

    if report.grade is not ElsGrade.SAFE and not shelf.is_accepted(report):
        why = (*report.doubts, *(d for f in report.fixes for d in f.doubts))
        state, files = PublishState.WAITING, tuple[str, ...]()
    else:
        files, why = repository.add(report.package, _files(report)), ()
        state = PublishState.PUBLISHED if files else PublishState.THERE
    return PublishedPackage(report.package, report.made, cves_of(report), report.grade, state, files, why)


def _files(report: ElsBuildReport) -> list[Path]:
    """What hosts fetch: binary packages and the source package."""
    wanted = (".deb", ".dsc", ".tar.xz", ".tar.gz", ".tar.bz2", ".asc")
    return [Path(report.folder) / f.name for f in report.files if f.name.endswith(wanted)]


def _announce(shelf: BuiltShelf, repository: AptRepository, release: str, address: str) -> None:
    """What the packages close that are in the repository."""
    from suture import __version__
    from suture.els.announcement import Announcement, announce
    from suture.els.oval_definitions import of_debian

    published = [
        Announcement(report, of_debian(report))
        for report in shelf.builds()
        if report.release == release and (report.grade is ElsGrade.SAFE or shelf.is_accepted(report))
    ]
    announce(repository.folder, repository.suite, address, published, __version__)


def _print(report: ElsPublishReport) -> None:
    rows = []
    for one in report.packages:
        said = "; ".join(one.why) or f"{len(one.files)} files added"
        rows.append((one.package, one.version, one.grade.value, one.state.value, " ".join(one.cves), said))
    print_table(("package", "version", "grade", "state", "CVEs", "what"), rows)
    print(f"{report.suite} in {report.folder}: signed by {report.fingerprint}, to be believed until {report.expires}")
    for one in report.packages:
        if one.state is PublishState.WAITING:
            print(f"to publish {one.package}, say so yourself: --accept {one.package}={one.version}")
    print(f"on a host, with {report.keyring} in /etc/apt/keyrings, as /etc/apt/sources.list.d/suture-els.sources:")
    for line in report.sources.splitlines():
        print(f"  {line}")
