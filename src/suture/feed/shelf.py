"""The patches of one product in the metadata: its role, the bins of that role, its index.

Few statements stand in the role itself. From 65 on they are spread over bins by the hash of their names (succinct
roles of TAP 15), so that who looks for one reads a bin and not all. A feed that grows gets 16, 256, then 4,096 bins;
old bins stay in the snapshot, as clients insist on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tuf.api.metadata import Delegations, SuccinctRoles, TargetFile, Targets

from suture.feed import index
from suture.feed.error import BadFeed
from suture.feed.repository import Authority, hashed
from suture.patch import statement
from suture.patch.statement import BadStatement, Statement
from suture.report.feed import Product

# up to so many statements, so many bits of the name's hash choose the bin
_BITS = ((64, 0), (1024, 4), (16384, 8), (1 << 62, 12))
_COUNT = "statements"

Load = Callable[[str, Targets], Targets | None]
Read = Callable[[TargetFile], bytes]


def bits_for(count: int) -> int:
    """How many bits choose a bin."""
    return next(bits for most, bits in _BITS if count <= most)


class Shelf:
    """One product's part of a publication. `touched` are the roles to be signed, `files` what has to lie below
    public/targets."""

    def __init__(
        self, product: Product, owner: Authority, load: Load | None, parent: Targets | None, read: Read
    ) -> None:
        self.product = product
        self.owner = owner
        self.touched: dict[str, Targets] = {}
        self.files: dict[str, bytes] = {}
        self._read = read
        self._load = load
        found = load(product.value, parent) if load and parent else None
        self.role = found or Targets()
        self._fresh = found is None
        entry = self.role.targets.get(statement.index_path(product))
        self._index = set(index.unpack(read(entry))) if entry else set()
        self._count = int((entry.custom or {}).get(_COUNT, 0)) if entry else 0

    @property
    def _bins(self) -> SuccinctRoles | None:
        return self.role.delegations.succinct_roles if self.role.delegations else None

    def statement(self, build_id: str) -> Statement:
        """What is said of a build-id so far. Raises `BadFeed`."""
        entry = self._holder(build_id).targets.get(statement.statement_path(self.product, build_id))
        if entry is None:
            return Statement(self.product, build_id, ())
        try:
            return statement.decode(self._read(entry), self.product, build_id)
        except BadStatement as problem:
            raise BadFeed(f"{entry.path}: {problem}", "suture feed check tells what else is wrong") from problem

    def put(self, said: Statement) -> None:
        """Say this of a build-id from now on."""
        holder = self._holder(said.build_id)
        entry = self._file(statement.statement_path(self.product, said.build_id), statement.encode(said))
        self._count += entry.path not in holder.targets
        holder.targets[entry.path] = entry
        self._index.add(index.fingerprint(said.build_id))

    def settle(self) -> None:
        """Bring bins and index in line, once everything was put."""
        bits = bits_for(self._count)
        present = self._bins.bit_length if self._bins else 0
        if bits > present:
            self._spread(bits)
        elif self._bins and (set(self._bins.keyids), self._bins.threshold) != (
            set(self.owner.keys),
            self.owner.threshold,
        ):
            for name in self.bins():  # before the delegation changes, by which they are checked
                self._bin(name)
            self._delegate(present)
        entry = self._file(statement.index_path(self.product), index.pack(self._index), {_COUNT: self._count})
        if self._fresh or self.role.targets.get(entry.path) != entry:
            self.role.targets[entry.path] = entry
            self.touched[self.product.value] = self.role

    def bins(self) -> Iterator[str]:
        """Names of the bins."""
        return self._bins.get_roles() if self._bins else iter(())

    def touch(self, name: str) -> None:
        """Have a role signed again although nothing in it changes."""
        if name == self.product.value:
            self.touched[name] = self.role
        else:
            self._bin(name)

    def _holder(self, build_id: str) -> Targets:
        """The role that has the statement of a build-id. It is about to be changed, or was."""
        path = statement.statement_path(self.product, build_id)
        if self._bins is None:
            self.touched[self.product.value] = self.role
            return self.role
        return self._bin(self._bins.get_role_for_target(path))

    def _bin(self, name: str) -> Targets:
        if name not in self.touched:
            found = self._load(name, self.role) if self._load else None
            self.touched[name] = found or Targets()
        return self.touched[name]

    def _spread(self, bits: int) -> None:
        """Move all statements into `2**bits` bins."""
        of_index = statement.index_path(self.product)
        entries = [
            e for holder in (self.role, *(self._bin(n) for n in list(self.bins()))) for e in holder.targets.values()
        ]
        for name in list(self.bins()):
            self.touched.pop(name)
        self.role.targets = {p: e for p, e in self.role.targets.items() if p == of_index}
        self._delegate(bits)
        assert self._bins is not None
        for name in self.bins():
            self.touched[name] = Targets()
        for entry in entries:
            if entry.path != of_index:
                self.touched[self._bins.get_role_for_target(entry.path)].targets[entry.path] = entry
        self.touched[self.product.value] = self.role

    def _delegate(self, bits: int) -> None:
        roles = SuccinctRoles(list(self.owner.keys), self.owner.threshold, bits, f"{self.product.value}-{bits}")
        self.role.delegations = Delegations(dict(self.owner.keys), succinct_roles=roles)
        self.touched[self.product.value] = self.role

    def _file(self, path: str, data: bytes, custom: dict[str, int] | None = None) -> TargetFile:
        entry = TargetFile.from_data(path, data, ["sha256"])
        if custom:
            entry.unrecognized_fields["custom"] = custom
        self.files[hashed(path, entry.hashes["sha256"])] = data
        return entry
