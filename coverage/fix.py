"""The fixes of this folder as facts: fixes/NAME.toml, one each, and packages.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TRIGGERS = HERE / "triggers"


@dataclass(frozen=True)
class Package:
    """A source package, the shipped version and the one that has the fixes; see packages.toml for the fields."""

    source: str
    version: str
    fixed: str
    binaries: tuple[str, ...]
    headers: tuple[str, ...]
    libraries: tuple[str, ...]
    link: tuple[str, ...]
    loader: bool


@dataclass(frozen=True)
class Trigger:
    """A C program in triggers/, and its outcome while the hole is open and once it is closed."""

    program: str
    open: str
    closed: str


@dataclass(frozen=True)
class Fix:
    """One fix: patches of the fixed version's quilt series, or its difference narrowed to paths; and the hole."""

    name: str
    package: Package
    patches: tuple[str, ...]
    only: tuple[str, ...]
    cves: tuple[str, ...]
    hole: str
    trigger: Trigger | None

    @property
    def make_arguments(self) -> tuple[str, ...]:
        """What `suture make` is called with, but for where the patches go."""
        package = self.package
        given = [f"--fix-from={package.source}={package.fixed}:{name}" for name in self.patches]
        if self.only:
            given += [f"--to={package.fixed}", *(f"--only={path}" for path in self.only)]
        given += [f"--cve={cve}" for cve in self.cves]
        return (f"--source={package.source}={package.version}", *given)

    @property
    def program(self) -> str:
        """The program that is run for this fix."""
        return self.trigger.program if self.trigger else "loaded"


def load_packages() -> dict[str, Package]:
    """All packages by source name."""
    table = tomllib.loads((HERE / "packages.toml").read_text())
    return {
        source: Package(
            source,
            row["version"],
            row["fixed"],
            tuple(row["binaries"]),
            tuple(row["headers"]),
            tuple(row["libraries"]),
            tuple(row["link"]),
            row["loader"],
        )
        for source, row in table.items()
    }


def load_fixes() -> tuple[Fix, ...]:
    """All fixes, by name."""
    packages = load_packages()
    return tuple(_load(path, packages) for path in sorted((HERE / "fixes").glob("*.toml")))


def _load(path: Path, packages: dict[str, Package]) -> Fix:
    row = tomllib.loads(path.read_text())
    trigger = Trigger(row["trigger"], row["open"], row["closed"]) if "trigger" in row else None
    return Fix(
        path.stem,
        packages[row["source"]],
        tuple(row.get("patches", ())),
        tuple(row.get("only", ())),
        tuple(row["cves"]),
        row["hole"],
        trigger,
    )
