"""`suture feed fetch`: the patches of a feed that concern a host, verified."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.feed import option
from suture.cli.feed.told import print_causes, print_offers
from suture.cli.output import print_document, progress
from suture.cli.unread import unread_lines
from suture.error import BadOption, ExitCode
from suture.report.document import FetchReport
from suture.report.feed import FetchedPatch, OfferState
from suture.report.moment import now
from suture.report.process import UnreadProcess

if TYPE_CHECKING:
    from suture.feed.client import Client, FeedAnswer, FeedVersion
    from suture.patch.statement import Statement

SUMMARY = "fetch what concerns this host, verified"
HELP = """\
Fetch the patches of a feed that are for the binaries that run here (--host, as root) or for some build-ids, into a
folder that `suture scan --patches` and `suture apply` take. No more is downloaded than that needs.

What is not signed by the feed's keys, expired, older than what was seen before, or not what was signed is refused, and
nothing of it is taken. What was seen before is kept in --state.

A patch that was withdrawn, replaced, or not yet in the channel is not fetched. If it is in the folder it is moved to
set-aside."""
EXAMPLES = (
    "# the first time with the feed's root.json, got in a way that is trusted",
    "suture feed fetch --url https://feed.example/ --root root.json --host --into /var/lib/suture/patches",
    "suture feed fetch --url https://feed.example/ --host --channel early --into /var/lib/suture/patches",
    "# a mirror on a stick, one binary",
    "suture feed fetch --url file:///mnt/feed/public --build-id 3fa1c0de --into patches",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.USAGE,
    ExitCode.PARTIAL,
    ExitCode.NOT_FOUND,
    ExitCode.UNTRUSTED,
    ExitCode.REFUSED,
    ExitCode.BAD_PATCH,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", required=True, metavar="URL", help="the feed: http://, https:// or file:///")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="where patches are put")
    parser.add_argument("--root", type=Path, metavar="FILE", help="the feed's root.json, needed the first time")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="where it is kept what the feed has said (default: .feed in the --into folder)",
    )
    parser.add_argument("--channel", default="stable", metavar="NAME", help="the channel (default: stable)")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--host", action="store_true", help="all binaries that processes of this host have mapped, and its kernel"
    )
    which.add_argument("--build-id", action="append", default=[], metavar="ID", help="a binary; may be repeated")


def run(args: argparse.Namespace) -> int:
    from suture.feed.client import Client

    start = time.monotonic()
    build_ids, unread = _wanted(args)
    with progress(args) as step:
        client = Client(args.url, args.state or args.into / ".feed", option.root(args))
        with client.alone():
            step("fetching metadata")
            seen = client.refresh()
            step(f"asking for {len(build_ids)} build-ids")
            answer = client.ask(build_ids)
            _check_channel(args.channel, answer.statements)
            step("fetching patches")
            found = _report(args, client, answer, seen, unread, start)
    return _tell(args, found)


def _wanted(args: argparse.Namespace) -> tuple[Sequence[str], tuple[UnreadProcess, ...]]:
    if not args.host:
        from suture.patch.statement import is_build_id

        wrong = [b for b in args.build_id if not is_build_id(b)]
        if wrong:
            raise BadOption(f"{wrong[0]} is no build-id", "give the hex digits that `file` prints")
        return args.build_id, ()
    from suture.host.inventory import inventory

    found = inventory()
    return found.build_ids, found.unread


def _check_channel(channel: str, said: Sequence[Statement]) -> None:
    from suture.patch.statement import channels

    known = channels(said)
    if known and channel not in known:
        raise BadOption(f"the feed has no channel {channel}", f"give --channel with one of {', '.join(known)}")


def _report(
    args: argparse.Namespace,
    client: Client,
    answer: FeedAnswer,
    seen: FeedVersion,
    unread: tuple[UnreadProcess, ...],
    start: float,
) -> FetchReport:
    from suture.feed.error import Untrusted
    from suture.feed.settings import stamp
    from suture.patch import statement

    said, problems = answer.statements, [p.cause for p in answer.problems]
    at = option.time()
    wanted = [o for s in said for o in statement.current(s, args.channel, at)]
    got = []
    for offer in wanted:
        try:
            path, new = client.download(offer, args.into)
            got.append(FetchedPatch(offer, str(path), new))
        except Untrusted as problem:
            problems.append(problem.cause)
    names = {statement.file_name(o) for o in wanted}
    others = [statement.file_name(o) for s in said for o in s.offers if statement.file_name(o) not in names]
    code = ExitCode.UNTRUSTED if problems else ExitCode.PARTIAL if unread else ExitCode.OK
    return FetchReport(
        now(),
        int(code),
        args.url,
        seen.version,
        stamp(seen.expires),
        args.channel,
        tuple(got),
        tuple(o for s in said for o in statement.waiting(s, args.channel, at)),
        statement.withdrawn(said),
        tuple(problems),
        _set_aside(args.into, others),
        unread,
        client.fetcher.files,
        client.fetcher.bytes,
        round(time.monotonic() - start, 3),
    )


def _set_aside(folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Move these files out of sight of who applies all of the folder; the paths that they have now."""
    moved = []
    for name in names:
        if (folder / name).is_file():
            (folder / "set-aside").mkdir(exist_ok=True)
            (folder / name).replace(folder / "set-aside" / name)
            moved.append(str(folder / "set-aside" / name))
    return tuple(moved)


def _tell(args: argparse.Namespace, found: FetchReport) -> int:
    if args.json:
        print_document(found)
        return found.exit_code
    print(f"{found.url}: version {found.version}, to be believed until {found.expires}")
    print_offers([f.offer for f in found.patches])
    for one in found.patches:
        print(f"{'fetched' if one.new else 'there already'}: {one.path}")
    for offer in found.waiting:
        print(
            f"waits: {offer.patch} {offer.binary}: in {found.channel} from {offer.channels.get(found.channel, 'never')}"
        )
    for offer in found.withdrawn:
        what = "take it out" if offer.state is OfferState.REVERT else "put it into no further process"
        print(f"withdrawn: {offer.patch} {offer.binary}: {what} ({offer.reason})")
    print_causes("problem", found.problems)
    for path in found.set_aside:
        print(f"set aside: {path}")
    for line in unread_lines(found.unread):
        print(line)
    print(f"{found.files} files, {found.bytes} bytes, {found.seconds:.2f} s")
    return found.exit_code
