"""What shows that a feed's keys have signed a statement: the metadata from the root down to it, checked once more as
root.

The unprivileged part has fetched it with python-tuf. This is the part of The Update Framework's client workflow (its
specification, section 5) that needs no network: signatures and thresholds, versions that only rise, expiry, digests.
It takes this project's feeds alone: ed25519 keys, one product below the targets role, bins below that. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from suture.agent.ed25519 import is_signed
from suture.error import ExitCode, SutureError
from suture.patch import statement, strict_json
from suture.patch.statement import BadStatement, Statement
from suture.report.feed import Product
from suture.report.reason import Reason

_MOST_BYTES, _MOST_VALUES, _MOST_FILES = 16 << 20, 1 << 20, 300
_REMEDY = "look at the log of the agent's other part; suture feed fetch by hand tells more"


class Doubtful(SutureError):
    """What was handed over does not show that the feed has said so."""

    exit_code = ExitCode.UNTRUSTED

    def __init__(self, why: str, reason: Reason = Reason.FEED_ALTERED) -> None:
        super().__init__(f"evidence of a patch: {why}", _REMEDY, reason=reason)


@dataclass(frozen=True)
class Evidence:
    """`roots` that follow one another, oldest first; `chain` the metadata from timestamp to the role that names the
    statement; `said` the statement. Texts as they were downloaded."""

    product: Product
    build_id: str
    roots: tuple[str, ...]
    chain: tuple[str, ...]
    said: str


@dataclass(frozen=True)
class TrustedState:
    """What root has seen of a feed: its newest root.json, and the version of each role, which may not fall."""

    root: str
    versions: Mapping[str, int] = field(default_factory=dict)


def encode(evidence: Evidence) -> bytes:
    """As a file of the spool."""
    return json.dumps(vars(evidence) | {"product": evidence.product.value}).encode()


def decode(data: bytes) -> Evidence:
    """Raises `Doubtful`."""
    read = _json(data)
    texts = [read.get("roots"), read.get("chain")]
    lists = all(isinstance(t, list) and len(t) <= _MOST_FILES and all(isinstance(x, str) for x in t) for t in texts)
    names = isinstance(read.get("build_id"), str) and isinstance(read.get("said"), str)
    if not lists or not names or read.get("product") not in {p.value for p in Product}:
        raise Doubtful("it is not in its form")
    return Evidence(
        Product(read["product"]), read["build_id"], tuple(read["roots"]), tuple(read["chain"]), read["said"]
    )


def believe(evidence: Evidence, trusted: TrustedState, now: datetime) -> tuple[Statement, TrustedState]:
    """The statement, and what is trusted from now on. Raises `Doubtful`."""
    root, versions = _newest_root(evidence, trusted, now)
    timestamp, snapshot, targets, product, *bins = _chain(evidence)
    versions = dict(versions)
    _check(timestamp, "timestamp", _authority(root, root["roles"]["timestamp"]), now)
    _rising(versions, "timestamp", timestamp)
    _check(snapshot, "snapshot", _authority(root, root["roles"]["snapshot"]), now)
    _version(snapshot, _meta(timestamp, "snapshot"), "snapshot")
    for name, row in _signed(snapshot)["meta"].items():
        role = name.removesuffix(".json")
        if row["version"] < versions.get(role, 0):
            raise Doubtful(f"{role} is older than what was seen before", Reason.FEED_ROLLED_BACK)
        versions[role] = row["version"]
    versions["snapshot"] = _signed(snapshot)["version"]
    _check(targets, "targets", _authority(root, root["roles"]["targets"]), now)
    _version(targets, _meta(snapshot, "targets"), "targets")
    holder = _delegated(targets, product, evidence.product.value, snapshot, now)
    path = statement.statement_path(evidence.product, evidence.build_id)
    if bins:
        holder = _bin(holder, bins[0], path, snapshot, now)
    return _statement(holder, path, evidence), TrustedState(json.dumps(root_file(root, evidence, trusted)), versions)


def root_file(root: dict[str, Any], evidence: Evidence, trusted: TrustedState) -> Any:
    """The newest root with its signatures, as it was handed over."""
    for text in (trusted.root, *evidence.roots):
        read = _json(text.encode())
        if read["signed"] == root:
            return read
    raise AssertionError("a root that nobody handed over")


def _chain(evidence: Evidence) -> list[dict[str, Any]]:
    if len(evidence.chain) not in (4, 5):
        raise Doubtful("it is not timestamp, snapshot, targets, product and bin")
    return [_json(text.encode()) for text in evidence.chain]


def _newest_root(evidence: Evidence, trusted: TrustedState, now: datetime) -> tuple[dict[str, Any], Mapping[str, int]]:
    """The newest root that the trusted one leads to, each signed by the one before and by itself."""
    current, versions = _signed(_json(trusted.root.encode())), trusted.versions
    for text in evidence.roots:
        following = _json(text.encode())
        signed = _signed(following)
        if signed["version"] != current["version"] + 1:
            continue
        for by in (current, signed):
            _verify(following, "root", _authority(by, by["roles"]["root"]))
        if any(signed["roles"][r] != current["roles"][r] for r in ("timestamp", "snapshot")):
            versions = {}  # fast-forward recovery (section 5.3.11): what stolen keys have signed is forgotten
        current = signed
    _fresh(current, "root", now)
    return current, versions


def _authority(owner: dict[str, Any], role: dict[str, Any]) -> tuple[int, dict[str, bytes]]:
    """(threshold, keys by id)."""
    keys = {i: owner["keys"][i] for i in role["keyids"] if i in owner["keys"]}
    known = {i: bytes.fromhex(k["keyval"]["public"]) for i, k in keys.items() if k["scheme"] == "ed25519"}
    if not 0 < role["threshold"] <= len(known):
        raise Doubtful("a role has fewer keys than have to sign it", Reason.FEED_SIGNATURE)
    return role["threshold"], known


def _verify(file: dict[str, Any], name: str, authority: tuple[int, dict[str, bytes]]) -> None:
    threshold, keys = authority
    message = canonical(file["signed"]).encode()
    good = {
        keys[row["keyid"]]
        for row in file["signatures"]
        if row["keyid"] in keys and is_signed(keys[row["keyid"]], message, bytes.fromhex(row["sig"]))
    }
    if len(good) < threshold:
        raise Doubtful(f"{name} is not signed by enough keys", Reason.FEED_SIGNATURE)


def _check(file: dict[str, Any], name: str, authority: tuple[int, dict[str, bytes]], now: datetime) -> None:
    kind = name if name in ("root", "timestamp", "snapshot", "targets") else "targets"
    if _signed(file).get("_type") != kind:
        raise Doubtful(f"{name} is not of its kind")
    _verify(file, name, authority)
    _fresh(_signed(file), name, now)


def _fresh(signed: dict[str, Any], name: str, now: datetime) -> None:
    if statement.moment(signed["expires"]) <= now:
        raise Doubtful(f"{name} has expired ({signed['expires']})", Reason.FEED_EXPIRED)


def _rising(versions: dict[str, int], name: str, file: dict[str, Any]) -> None:
    if _signed(file)["version"] < versions.get(name, 0):
        raise Doubtful(f"{name} is older than what was seen before", Reason.FEED_ROLLED_BACK)
    versions[name] = _signed(file)["version"]


def _meta(file: dict[str, Any], role: str) -> int:
    row = _signed(file)["meta"].get(f"{role}.json")
    if row is None:
        raise Doubtful(f"{role} is not in the state of the feed")
    return int(row["version"])


def _version(file: dict[str, Any], version: int, name: str) -> None:
    if _signed(file)["version"] != version:
        raise Doubtful(f"{name} is not of the version that belongs to the state")


def _delegated(
    parent: dict[str, Any], file: dict[str, Any], name: str, snapshot: dict[str, Any], now: datetime
) -> dict[str, Any]:
    owner = _signed(parent).get("delegations") or {}
    row = next((r for r in owner.get("roles", []) if r["name"] == name), None)
    if row is None:
        raise Doubtful(f"the feed has no product {name}")
    _check(file, name, _authority(owner, row), now)
    _version(file, _meta(snapshot, name), name)
    return file


def _bin(
    parent: dict[str, Any], file: dict[str, Any], path: str, snapshot: dict[str, Any], now: datetime
) -> dict[str, Any]:
    owner = _signed(parent).get("delegations") or {}
    row = owner.get("succinct_roles")
    if row is None:
        raise Doubtful("a bin of a product that has none")
    bits = row["bit_length"]
    if not 0 < bits <= 32:
        raise Doubtful("a product with an impossible number of bins")
    number = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big") >> 32 - bits
    name = f"{row['name_prefix']}-{number:0{len(f'{2**bits - 1:x}')}x}"
    _check(file, name, _authority(owner, row), now)
    _version(file, _meta(snapshot, name), name)
    return file


def _statement(holder: dict[str, Any], path: str, evidence: Evidence) -> Statement:
    entry, data = _signed(holder)["targets"].get(path), evidence.said.encode()
    if entry is None or (entry["length"], entry["hashes"]["sha256"]) != (len(data), hashlib.sha256(data).hexdigest()):
        raise Doubtful("the statement is not what was signed")
    try:
        return statement.decode(data, evidence.product, evidence.build_id)
    except BadStatement as problem:
        raise Doubtful(str(problem)) from problem


def _signed(file: dict[str, Any]) -> dict[str, Any]:
    found = file.get("signed")
    if not isinstance(found, dict):
        raise Doubtful("a file without anything signed")
    return found


def _json(data: bytes) -> dict[str, Any]:
    try:
        found = strict_json.loads(data, _MOST_BYTES, _MOST_VALUES)
    except (ValueError, UnicodeDecodeError) as problem:
        raise Doubtful(str(problem)[:200]) from problem
    if not isinstance(found, dict):
        raise Doubtful("it is no object")
    return found


def canonical(value: Any) -> str:
    """The text that is signed (OLPC canonical JSON, as securesystemslib writes it)."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(k)}:{canonical(v)}" for k, v in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(v) for v in value) + "]"
    return json.dumps(value)
