"""Who may import whom. The table is the rule: a room imports from the rooms in its row and from no other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.parsed import nodes

SOURCE = Path(__file__).resolve().parents[2] / "src" / "suture"

EVERYWHERE = {"error", "number", "refusal", "visible", "whole_file"}

MAY_IMPORT = {
    "report": set(),
    "error": {"report"},
    "number": set(),
    "refusal": set(),
    "visible": set(),
    "whole_file": set(),
    "command": set(),
    "progress": set(),
    "elf": set(),
    "source": {"command", "progress", "elf"},
    "compile": {"command", "progress", "elf", "source"},
    "match": {"elf"},
    "delta": {"elf", "compile", "match"},
    "patch": {"elf", "match", "delta", "report"},
    "tripwire": set(),
    "make": {"progress", "elf", "source", "compile", "match", "delta", "patch", "tripwire"},
    "trial": {
        "command", "progress", "elf", "compile", "make", "match", "kernel", "machine", "make_kernel", "patch",
        "process",
    },
    "convert": {"progress", "elf", "source", "compile", "delta", "make", "make_kernel", "patch", "trial"},
    "make_kernel": {
        "command", "progress", "elf", "source", "compile", "match", "delta", "patch", "make", "kernel",
    },
    "maker": {
        "progress", "source", "match", "patch", "make", "make_kernel", "trial", "process", "kernel", "host", "report",
    },
    "machine": {"command", "source", "make_kernel"},
    "process": {"elf", "match", "patch", "report"},
    "kernel": {"command", "elf", "match", "patch", "process", "report"},
    "els": {"command", "compile", "elf", "progress", "report", "source", "tripwire"},
    "feed": {"patch", "progress", "report"},
    "host": {"elf", "patch", "process", "kernel", "report"},
    "agent": {"feed", "host", "kernel", "patch", "process", "report"},
    "comply": {"report"},
    "export": {"report"},
    "fleet": {"comply", "patch", "report"},
    "cli": {"agent", "comply", "els", "export", "fleet", "feed", "convert", "command", "progress", "source", "compile",
    "delta", "patch", "make", "process", "kernel", "report", "host", "maker"},
}  # fmt: skip

# The folders of a running process, from the lowest: each imports from those before it.
PROCESS = ("", "memory", "stack", "stop", "change", "see", "start", "everywhere")

# What root runs on a host. It may import the standard library and ourselves, nothing else.
AS_ROOT = ("suture.process", "suture.kernel", "suture.patch", "suture.report", "suture.host", "suture.export")


def modules() -> dict[str, Path]:
    """Every module by its dotted name below `suture`."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", ".")
        found[name.removesuffix(".__init__").removesuffix("__init__")] = path
    return found


ALL = modules()


def imported(path: Path) -> set[str]:
    """The modules of ours that a file imports, by their dotted name below `suture`; those for annotations alone too."""
    found = set()
    for node in nodes(path):
        names = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("suture"):
            names = [f"{node.module}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.startswith("suture")]
        for name in (n.removeprefix("suture").removeprefix(".") for n in names):
            found.add(name if name in ALL else name.rpartition(".")[0])
    return found - {""}


def room(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("name", [n for n in ALL if n])
def test_a_module_imports_only_from_the_rooms_that_its_own_may_use(name: str) -> None:
    mine = room(name)
    assert mine in MAY_IMPORT, f"{mine} is a new room: give it a row"
    wrong = {other for other in imported(ALL[name]) if room(other) not in MAY_IMPORT[mine] | EVERYWHERE | {mine}}
    assert not wrong


def level(name: str) -> int:
    parts = name.split(".")
    below = parts[1] if len(parts) > 1 else ""
    return PROCESS.index(below) if below in PROCESS else 0


@pytest.mark.parametrize("name", [n for n in ALL if room(n) == "process"])
def test_within_process_the_arrows_point_one_way(name: str) -> None:
    wrong = {o for o in imported(ALL[name]) if room(o) == "process" and level(o) > level(name)}
    assert not wrong


def test_no_row_allows_what_nobody_uses() -> None:
    used: dict[str, set[str]] = {r: set() for r in MAY_IMPORT}
    for name, path in ALL.items():
        if name:
            used[room(name)] |= {room(o) for o in imported(path)}
    assert {r: MAY_IMPORT[r] - used[r] for r in MAY_IMPORT if MAY_IMPORT[r] - used[r]} == {}


@pytest.mark.parametrize("package", AS_ROOT)
def test_what_runs_as_root_imports_the_standard_library_alone(package: str) -> None:
    program = (
        f"import importlib, pkgutil, sys; import {package} as p\nbefore = set(sys.modules)\n"
        "for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.'): importlib.import_module(m.name)\n"
        "others = [m for m in set(sys.modules) - before if 'site-packages' in (getattr(sys.modules[m], '__file__', "
        "'') or '')]\nprint(sorted(others))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_runs_as_root_uses_ctypes_in_one_module() -> None:
    """Calls of C by hand are where a wrong type goes unseen: they stand together, each wrapper named after its call."""
    roots = [SOURCE / package.removeprefix("suture.") for package in AS_ROOT]
    users = {
        path.relative_to(SOURCE).as_posix()
        for root in roots
        for path in root.rglob("*.py")
        for node in nodes(path)
        if (isinstance(node, ast.Import) and any(a.name.partition(".")[0] == "ctypes" for a in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ctypes")
    }
    assert users == {"process/syscall.py"}


def test_what_the_agent_runs_as_root_loads_neither_network_nor_feed() -> None:
    """Its service, listener and command, with all that they come to load."""
    program = (
        "import importlib, sys\n"
        "before = set(sys.modules)\n"
        "for m in ('agent.service', 'agent.listener', 'agent.register', 'host.kernel', 'host.processes', "
        "'cli.agent.apply_service'): importlib.import_module('suture.' + m)\n"
        "print(*sys.modules)\n"
        "print(*[m for m in set(sys.modules) - before "
        "if 'site-packages' in (getattr(sys.modules[m], '__file__', '') or '')])\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    loaded, foreign = (set(line.split()) for line in done.stdout.split("\n")[:2])
    assert "suture.agent.service" in loaded and "suture.agent.loop" not in loaded
    assert not {
        m for m in loaded if m.startswith(("suture.feed", "urllib.request", "http", "ssl", "tuf", "cryptography"))
    }
    assert foreign == set()


MAKING = ("suture.make", "suture.make_kernel", "suture.maker", "suture.compile", "suture.source")


def test_a_host_that_only_applies_loads_nothing_that_makes() -> None:
    program = (
        "import importlib, pkgutil, sys; import suture.host as p\n"
        "for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.'): importlib.import_module(m.name)\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    loaded = {m for m in done.stdout.split() if m.startswith("suture.")}
    assert "suture.process.change.apply" in loaded and "suture.kernel.boot" in loaded
    assert not {m for m in loaded if m in MAKING or m.startswith(tuple(f"{x}." for x in MAKING))}
