"""`suture feed add`: patches for the next publication, from files or from what `suture watch` keeps."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.feed import option
from suture.cli.feed.told import count, report, tell
from suture.cli.output import progress
from suture.error import BadOption, ExitCode, NotFound, Refused, SutureError
from suture.patch.admission import read_bytes
from suture.report.feed import OfferState, Product
from suture.report.patch import PatchKind
from suture.report.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from suture.feed.change import AddedPatch
    from suture.feed.repository import Published, Repository
    from suture.feed.settings import Settings
    from suture.progress import Progress
    from suture.report.feed import Offer
    from suture.report.reason import Cause

SUMMARY = "stage patches for the next publication"
HELP = """\
Stage live patches for the next `suture feed publish`: files, or all that `suture watch` has made (--store). Only what
keeps to the format of patches is taken. The grade comes from the patch, the result of its trial from the store.

A patch that is not graded safe, or that no trial has passed, is left out unless you say --accept review; one with a
part of its fix missing needs --accept refused. Hosts are told the grade and the trial with the patch."""
EXAMPLES = (
    "# all that is new in what `suture watch` keeps; from cron together with publish",
    "suture feed add --feed feed --store /var/lib/suture/patches",
    "# a file, looked at by a person, to every channel at once",
    "suture feed add patches/openssl-libcrypto.suture.o --feed feed --accept review --channel delayed",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.REFUSED, ExitCode.PARTIAL, ExitCode.BAD_PATCH, ExitCode.NOT_FOUND)


_SAID = 100


@dataclass(frozen=True)
class _Given:
    """A patch file, and what its maker's records say of it."""

    path: Path
    trial: str = ""
    review: tuple[str, ...] = ()


@dataclass(frozen=True)
class AddWish:
    """How patches are offered: `product` None as feed.toml has it, `channel` "" each after its delay; `accept` is up to
    which grade a person takes them, None for those alone that need nobody."""

    product: Product | None = None
    channel: str = ""
    accept: str | None = None
    replaces: tuple[str, ...] = ()


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("patch", type=Path, nargs="*", metavar="PATCH", help="live patch files")
    option.add_feed(parser)
    parser.add_argument("--store", type=Path, metavar="DIR", help="the --output folder of suture watch")
    parser.add_argument("--product", choices=[p.value for p in Product], help="the product (default: by feed.toml)")
    parser.add_argument(
        "--channel",
        default="",
        metavar="NAME",
        help="the slowest channel that gets it at once (default: each after its delay)",
    )
    parser.add_argument(
        "--accept", choices=("review", "refused"), help="take patches that a person should look at, or partial ones too"
    )
    parser.add_argument(
        "--replaces", action="append", default=[], metavar="ID", help="the id of a patch whose place it takes"
    )


def run(args: argparse.Namespace) -> int:
    feed = option.repository(args)
    if not args.patch and not args.store:
        raise BadOption("no patch to add", "name patch files, or give --store DIR")
    wish = AddWish(Product(args.product) if args.product else None, args.channel, args.accept, tuple(args.replaces))
    with progress(args) as step:
        offers, left = _staged(feed, args.patch, [args.store] if args.store else [], wish, step)
    code = ExitCode.PARTIAL if left else ExitCode.OK
    return tell(args, report("add", args.feed, code, added=offers, left_out=left), said(offers))


def said(offers: Sequence[Offer]) -> str:
    """A line that tells what was staged."""
    return f"staged {count(len(offers), 'patch', 'es')}; they come into force with: suture feed publish"


def stage_kept(feed: Repository, folders: Sequence[Path], progress: Progress) -> tuple[tuple[Offer, ...], list[Cause]]:
    """Stage what is new in folders of a store of `suture watch`; the offers, and what was left out."""
    return _staged(feed, (), folders, AddWish(), progress)


def _staged(
    feed: Repository, files: Sequence[Path], stores: Sequence[Path], wish: AddWish, progress: Progress
) -> tuple[tuple[Offer, ...], list[Cause]]:
    """Raises `BadOption` for a channel that the feed has not, and without a store what is wrong with a file."""
    from suture.feed.change import stage_patch

    settings = feed.settings()
    if wish.channel and wish.channel not in settings.channels:
        raise BadOption(
            f"no channel {wish.channel}", f"give one of {', '.join(settings.channels)}, as feed.toml has them"
        )
    state = feed.published()
    taken: list[tuple[AddedPatch, Path]] = []
    left = []
    given = [_Given(p) for p in files] + [one for store in stores for one in _kept(store)]
    for n, one in enumerate(given):
        if n % _SAID == 0:
            progress(f"reading patches, {n} of {len(given)} done")
        try:
            added = _offer(wish, one, settings)
            if not (stores and _is_known(feed, state, added.offer)):
                _admit(wish, state, added.offer)
                taken.append((added, one.path))
        except SutureError as problem:
            if not stores:
                raise
            left.append(problem.cause)
    progress(f"staging {count(len(taken), 'patch', 'es')}")
    with feed.locked():
        for added, path in taken:
            stage_patch(feed, added, _again(path, added.offer))
    return tuple(a.offer for a, _ in taken), left


def _kept(store: Path) -> list[_Given]:
    """All patches of a store of `suture watch`."""
    from suture.convert import store as conversions

    found = []
    for folder in sorted(p.parent for p in store.rglob(conversions.FACTS)):
        try:
            facts = conversions.read(folder)
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise NotFound(
                f"{folder / conversions.FACTS}: no facts of a conversion that this Suture reads ({problem!r})",
                "convert the update again: suture watch --again",
            ) from problem
        for patch in facts.patches:
            path = folder / Path(patch.path).name
            if path.is_file():
                review = tuple(r for f in facts.fixes if patch.binary in f.functions for r in f.review)
                found.append(_Given(path, patch.trial, review))
    return found


def _offer(wish: AddWish, given: _Given, settings: Settings) -> AddedPatch:
    """Raises `BadPatch` and as reading a file does."""
    from suture.feed.change import AddedPatch
    from suture.feed.offer import offer_of
    from suture.host.described import described
    from suture.host.recipient import read
    from suture.kernel.manifest import KernelPatch

    patch = read(given.path)
    about = described(patch)
    if isinstance(patch, KernelPatch):
        data, alone = patch.data, patch.manifest.replace
        grade = "review" if patch.manifest.is_complete else "refused"  # nobody has graded it
    else:
        data, alone = patch.object.data, False
        grade = patch.manifest.grade.value
    product = wish.product or settings.product(about.kind, about.source, about.file)
    if (product is Product.KERNEL) != (about.kind is PatchKind.KERNEL):
        raise BadOption(
            f"{given.path}: --product {product.value} is not for a patch of a {about.kind.value}",
            "leave --product out, and the patch itself says it",
        )
    offer = offer_of(about, data, product, grade=grade, trial=given.trial, review=given.review, replaces=wish.replaces)
    return AddedPatch(offer, wish.channel, alone)


def _again(path: Path, offer: Offer) -> bytes:
    """The patch's bytes, as they were when it was read. Raises `Refused`: many patches at a time are more than memory
    has room for."""
    data = read_bytes(path, offer.bytes)
    if hashlib.sha256(data).hexdigest() != offer.sha256:
        raise Refused(f"{path}: was changed while it was read", "add it again", reason=Reason.PATCH_ALTERED)
    return data


def _is_known(feed: Repository, state: Published | None, offer: Offer) -> bool:
    """Whether the feed has it, whatever it says of it, or is about to have it."""
    from suture.feed.change import file_of

    return file_of(feed, offer.patch).exists() or _published(state, offer) is not None


def _published(state: Published | None, offer: Offer) -> Offer | None:
    from suture.feed.inspection import statement_of

    said = statement_of(state, offer.product, offer.build_id) if state else None
    return next((o for o in said.offers if o.patch == offer.patch), None) if said else None


def _admit(wish: AddWish, state: Published | None, offer: Offer) -> None:
    """Raises `Refused`."""
    from suture.feed.offer import doubt

    why = doubt(offer)
    needed = "refused" if offer.grade == "refused" else "review"
    if why and wish.accept not in (needed, "refused"):
        raise Refused(
            f"{offer.patch} {offer.name} ({offer.binary}): {why}",
            f"look at it with suture show; to publish it all the same, name its file and add --accept {needed}",
            reason=Reason.NOT_SAFE,
        )
    before = _published(state, offer)
    if before is not None and before.state is not OfferState.OFFERED:
        raise Refused(
            f"{offer.patch} {offer.name} ({offer.binary}): was withdrawn ({before.reason})",
            f"suture feed withdraw {offer.patch} --again --reason TEXT offers it again",
            reason=Reason.WITHDRAWN,
        )
