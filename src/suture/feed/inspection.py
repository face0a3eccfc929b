"""All of a state that is served: each role, each statement, each patch, and whether it is there and as it was
signed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from tuf.api.metadata import TargetFile, Targets

from suture.error import SutureError
from suture.feed.error import BadFeed
from suture.feed.repository import Published, hashed
from suture.feed.settings import stamp
from suture.patch import statement
from suture.patch.statement import BadStatement, Statement
from suture.progress import Progress, silent
from suture.report.feed import Offer, Product
from suture.report.reason import Cause, Reason

_AGAIN = "take the file back from a copy, or publish the patch again"


@dataclass
class Inspection:
    """`statements` by the path of the file, below public/, that holds each; `files` all others that the state is made
    of; `problems` what is wrong."""

    statements: dict[str, Statement] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    problems: list[Cause] = field(default_factory=list)

    @property
    def offers(self) -> tuple[Offer, ...]:
        return tuple(o for s in self.statements.values() for o in s.offers)


def inspect(
    state: Published, *, patches: bool = True, partial: bool = False, progress: Progress = silent
) -> Inspection:
    """Look at everything; with `patches` at the patches too; with `partial` a statement may be missing, as in a bundle
    for some build-ids. A fault is a problem of the result and no error."""
    found = Inspection()
    top, snapshot = state.top.signed, state.snapshot.signed
    found.files |= {
        f"metadata/{snapshot.version}.snapshot.json", f"metadata/{top.version}.targets.json", "metadata/timestamp.json"
    }  # fmt: skip
    for product in Product:
        progress(f"looking at {product.value}")
        with _noted(found):
            for name, role in _roles(state, product):
                found.files.add(f"metadata/{role.version}.{name}.json")
                for entry in role.targets.values():
                    _look_at(found, state, product, entry, partial)
    if patches:
        progress(f"looking at {len(found.offers)} patches")
        for offer in found.offers:
            with _noted(found):
                state.read(TargetFile(offer.bytes, {"sha256": offer.sha256}, statement.patch_path(offer)))
    return found


def statements(state: Published) -> Iterator[Statement]:
    """All statements. Raises `BadFeed` at the first fault."""
    for product in Product:
        for _, role in _roles(state, product):
            for entry in role.targets.values():
                if entry.path != statement.index_path(product):
                    yield _statement(state, product, entry)


def expiring(state: Published, now: datetime) -> tuple[Cause, ...]:
    """Roles whose time is over."""
    top, snapshot, timestamp = state.top.signed, state.snapshot.signed, state.timestamp.signed
    rows = [("targets", top.expires), ("snapshot", snapshot.expires), ("timestamp", timestamp.expires)]
    for product in Product:
        role = state.role(product.value, top)
        rows += [(product.value, role.expires)] if role else []
    return tuple(
        Cause(
            Reason.FEED_EXPIRED,
            f"{name} expired at {stamp(expires)}",
            "publish with its private keys: suture feed publish",
        )
        for name, expires in rows
        if expires <= now
    )


def paths_of(said: Statement) -> Iterator[str]:
    """The files of its patches, below public/."""
    for offer in said.offers:
        yield f"targets/{hashed(statement.patch_path(offer), offer.sha256)}"


def _roles(state: Published, product: Product) -> Iterator[tuple[str, Targets]]:
    """The product's role and its bins."""
    role = state.role(product.value, state.top.signed)
    if role is None:
        return
    yield product.value, role
    bins = role.delegations.succinct_roles if role.delegations else None
    for name in bins.get_roles() if bins else ():
        found = state.role(name, role)
        if found is None:
            raise BadFeed(f"{state.metadata}: {name} is missing", _AGAIN)
        yield name, found


def _look_at(found: Inspection, state: Published, product: Product, entry: TargetFile, partial: bool) -> None:
    place = f"targets/{hashed(entry.path, entry.hashes['sha256'])}"
    with _noted(found):
        if entry.path == statement.index_path(product):
            state.read(entry)
            found.files.add(place)
        elif not partial or (state.targets / place.removeprefix("targets/")).exists():
            found.statements[place] = _statement(state, product, entry)


def _statement(state: Published, product: Product, entry: TargetFile) -> Statement:
    build_id = entry.path.removeprefix(f"{product.value}/").removesuffix(".json")
    try:
        return statement.decode(state.read(entry), product, build_id)
    except BadStatement as problem:
        raise BadFeed(f"{state.targets}/{entry.path}: {problem}", _AGAIN) from problem


@contextmanager
def _noted(found: Inspection) -> Iterator[None]:
    """An error becomes a problem."""
    try:
        yield
    except SutureError as problem:
        found.problems.append(Cause(Reason.FEED_ALTERED, problem.what, problem.remedy))


def statement_of(state: Published, product: Product, build_id: str) -> Statement | None:
    """What is said of one build-id. Raises `BadFeed`."""
    role = state.role(product.value, state.top.signed)
    path = statement.statement_path(product, build_id)
    bins = role.delegations.succinct_roles if role and role.delegations else None
    holder = state.role(bins.get_role_for_target(path), role) if role and bins else role
    entry = holder.targets.get(path) if holder else None
    return _statement(state, product, entry) if entry else None
