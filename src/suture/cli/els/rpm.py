"""`suture els rpm`: a source rpm with fixes becomes packages in a signed dnf repository."""

from __future__ import annotations

import argparse
import getpass
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.els import option
from suture.cli.els.build import by_hand_option, print_build
from suture.cli.output import print_document, progress
from suture.error import ExitCode
from suture.report.document import ElsBuildReport
from suture.report.els import BuiltFile, BuiltFix, ElsGrade, TestsOutcome
from suture.report.moment import now

if TYPE_CHECKING:
    from suture.compile.room import Room
    from suture.els.rpm_package import RpmBuild
    from suture.els.shelf import BuiltShelf
    from suture.els.source_package import CarriedFix
    from suture.els.updateinfo import RpmUpdate
    from suture.progress import Progress

SUMMARY = "build a source rpm with fixes, and publish it to a dnf repository"
HELP = """\
Build a source rpm with patches of yours, and put it into a signed dnf repository.

Each patch gets a tag in the spec and is applied after the spec's own; the release gets `.suture1` at its end, and the
changelog an entry. rpmbuild runs in a clean room, without the patches and with them, and %check runs in both: what
fails without the patches too is compared, not demanded. Suture compares files, what code needs and offers, and each
function.

The room is a Debian release with rpm's tools: no archive of an rpm release was reachable where this was made. So a
package that needs libraries of its release is built on a machine of that release; name what Debian has of it with
--room-package.

A patch is a person's, so the grade is always review. With --repository the package is signed and published if you
accept it; dnf reads the CVEs from updateinfo.xml. Beside the packages lie CSAF for each (DIR/csaf), OVAL for scanners
(DIR/oval) and the news as RSS."""
EXAMPLES = (
    "# build it, and look at what comes of it",
    "suture els rpm cjson-1.7.15-1.src.rpm --patch CVE-2023-50471=fix.patch --output built",
    "# and publish it",
    "suture els rpm cjson-1.7.15-1.src.rpm --patch CVE-2023-50471=fix.patch --output built --accept "
    "--repository repository --key els@example.org",
)
EXIT_CODES = option.BUILD_EXIT_CODES


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("srpm", type=Path, metavar="FILE", help="a source rpm")
    parser.add_argument(
        "--patch", action="append", required=True, metavar="CVE=FILE", help="a patch for its sources; may be repeated"
    )
    parser.add_argument("--name", default="suture", metavar="NAME", help="of the repository (default: suture)")
    parser.add_argument("--room", default="bookworm", metavar="NAME", help="the room's release (default: bookworm)")
    parser.add_argument(
        "--room-package", action="append", default=[], metavar="NAME", help="install this there too; may be repeated"
    )
    parser.add_argument(
        "--maintainer", default="Suture backports <backports@suture.invalid>", metavar="NAME <EMAIL>",
        help="who signs the changelog entry (default: a name without a person)",
    )  # fmt: skip
    option.add_shelf(parser)
    parser.add_argument("--accept", action="store_true", help="publish it: you have looked")
    parser.add_argument("--repository", type=Path, metavar="DIR", help="the folder of the dnf repository")
    parser.add_argument("--key", metavar="KEY", help="gpg's name or fingerprint of the key that signs")
    parser.add_argument("--gnupg-home", type=Path, metavar="DIR", help="the folder that gpg keeps the key in")
    parser.add_argument(
        "--url", default="https://example.org/suture", metavar="URL", help="where hosts find it (default: an example)"
    )


def run(args: argparse.Namespace) -> int:
    from suture.cli.main import UsageError
    from suture.els.rpm_package import rpm_room
    from suture.els.shelf import BuiltShelf
    from suture.source.archive import Archive

    if args.accept and not (args.repository and args.key):
        raise UsageError("--accept publishes the package", "give --repository and --key too")
    os.umask(0o022)
    patches = dict(by_hand_option(word) for word in args.patch)
    shelf = BuiltShelf(args.output)
    with progress(args) as step:
        where = rpm_room(args.room_package, Archive(args.room, step), step)
        report = _build(args, patches, where, shelf, step)
        if args.accept:
            shelf.accept(f"{report.package}={report.made}", getpass.getuser())
            step(f"publishing {report.package} {report.made}")
            _publish(args, where, shelf)
    if args.json:
        print_document(report)
        return report.exit_code
    print_build(report, f"suture els rpm {args.srpm} ... --accept --repository DIR --key KEY")
    if args.accept:
        from suture.els.rpm_repository import RpmRepository

        print(f"published; on a host, as /etc/yum.repos.d/{args.name}.repo:")
        for line in RpmRepository(args.repository, args.name, where).sources(args.url).splitlines():
            print(f"  {line}")
    return report.exit_code


def _build(
    args: argparse.Namespace, patches: dict[str, str], where: Room, shelf: BuiltShelf, step: Progress
) -> ElsBuildReport:
    from suture.els import own_tests, rpm_package
    from suture.els.comparison import compared
    from suture.els.grade import doubts_of_build
    from suture.els.package import meant
    from suture.error import Refused
    from suture.source import cache

    with cache.scratch_folder(args.output) as scratch:
        source = rpm_package.unpacked_source(args.srpm, scratch / "source", where)
        fixes = rpm_package.taken(source, patches)
        step("building it as it is, to compare with")
        plain = rpm_package.build(args.srpm, scratch / "plain", where)
        name, old = _names(plain)
        texts = {file: patches[cve] for (file, _), cve in zip(fixes, patches, strict=True)}
        step(f"building {name} with {len(fixes)} patches")
        made = rpm_package.build(args.srpm, scratch / "made", where, texts, _entry(args.maintainer, list(patches)))
        _, new = _names(made)
        tests = own_tests.judged(plain.build, made.build)
        if tests.outcome is TestsOutcome.WORSE:
            raise Refused(
                f"{name} {new}: its tests pass without the patches, and not with them: {tests.detail}",
                "mend the patch; what fails without it too is not demanded",
            )
        before = rpm_package.unpacked_rpms(plain, scratch / "before", where)
        after = rpm_package.unpacked_rpms(made, scratch / "after", where)
        differences = compared(before, after, meant([fix for _, fix in fixes]))
        place = shelf.place(name, new)
        cache.discard(place)
        place.mkdir(parents=True)
        for path in made.rpms:
            (place / path.name).write_bytes(path.read_bytes())
        for file, text in texts.items():
            (place / "patches").mkdir(exist_ok=True)
            (place / "patches" / file).write_bytes(text.encode(errors="surrogateescape"))
    report = ElsBuildReport(
        now(), ExitCode.OK, name, args.name, old, "", "", new, ElsGrade.REVIEW,
        doubts_of_build(tests, differences), tuple(_fix(f, file) for file, f in fixes), (), tests, differences, (),
        None, (), str(place.absolute()), _files(place), {},
    )  # fmt: skip
    shelf.keep(report)
    return report


def _names(made: RpmBuild) -> tuple[str, str]:
    """Name and version-release of the source rpm."""
    name, _, version, release, _ = next(facts for path, facts in made.rpms.items() if path.parent.name == "SRPMS")
    return name, f"{version}-{release}"


def _entry(maintainer: str, cves: list[str]) -> str:
    when = datetime.now(UTC).strftime("%a %b %d %Y")
    return "\n".join([f"* {when} {maintainer}", *(f"- fix {cve}" for cve in cves)])


def _fix(fix: CarriedFix, file: str) -> BuiltFix:
    from suture.els.grade import doubts, worst

    found = doubts(fix.found)
    ways = tuple(f"{c.path} by {c.way.value}" for c in fix.found.carried)
    return BuiltFix(fix.need.cves, file, "a patch that was given", ways, worst(found), found)


def _files(place: Path) -> tuple[BuiltFile, ...]:
    import hashlib

    paths = sorted(p for p in place.glob("*.rpm"))
    return tuple(BuiltFile(p.name, p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for p in paths)


def _publish(args: argparse.Namespace, where: Room, shelf: BuiltShelf) -> None:
    """Publish all rpms of the shelf that a person has accepted."""
    from suture import __version__
    from suture.els.announcement import Announcement, announce
    from suture.els.oval_definitions import of_rpm
    from suture.els.rpm_repository import RpmRepository
    from suture.els.signature import SigningKey

    key = SigningKey(args.key, args.gnupg_home)
    args.repository.mkdir(parents=True, exist_ok=True)
    repository = RpmRepository(args.repository.absolute(), args.name, where)
    published = []
    for build in shelf.builds():
        if build.release == args.name and shelf.is_accepted(build):
            repository.add(build.package, [Path(build.folder) / f.name for f in build.files], key)
            published.append((build, _update(build, repository.where)))
    platform = f"hosts of the repository {args.name}"
    said = [Announcement(build, of_rpm(update, platform)) for build, update in published]
    announce(repository.folder, args.name, args.url, said, __version__)
    repository.publish(key, [update for _, update in published])


def _update(build: ElsBuildReport, where: Room) -> RpmUpdate:
    from suture.els.advisory import cves_of
    from suture.els.rpm_package import queried
    from suture.els.updateinfo import RpmFile, RpmUpdate

    files = [
        RpmFile(name, epoch, version, release, arch, path.name)
        for path, (name, epoch, version, release, arch) in queried(Path(build.folder), where).items()
        if not path.name.endswith(".src.rpm")
    ]
    return RpmUpdate(build.package, build.made, build.time, cves_of(build), tuple(files))
