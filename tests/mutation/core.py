"""The pure core: the modules that decide, taking values and returning values, and the tests that are theirs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "suture"


@dataclass(frozen=True)
class Part:
    """A module of the core. `functions`: the pure ones of a module that also does things; empty: the whole module.
    `arguments` for pytest leave out what is slow and decides nothing. `beside`: tests of several modules that are this
    one's too."""

    module: str
    functions: frozenset[str] = frozenset()
    arguments: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return SOURCE / (self.module.replace(".", "/") + ".py")

    @property
    def tests(self) -> tuple[str, ...]:
        """The mirrored test and the others, as far as they are there, relative to the root of the repository."""
        return tuple(t for t in (mirror(self.module), *self.beside) if (ROOT / t).is_file())


def mirror(module: str) -> str:
    room, _, name = module.rpartition(".")
    return f"tests/{room.replace('.', '/')}/test_{name}.py"


def _room(name: str, *without: str) -> list[Part]:
    return [
        Part(f"{name}.{p.stem}") for p in sorted((SOURCE / name).glob("*.py")) if p.stem not in (*without, "__init__")
    ]


def _of(room: str, names: str) -> list[Part]:
    return [Part(f"{room}.{name}") for name in names.split()]


def _facts() -> list[Part]:
    """Facts that documents are made of; to write each document and read it back takes minutes."""
    beside = ("tests/report/test_encoding.py",)
    return [Part(f"report.{name}", arguments=("-k", "not read_back"), beside=beside) for name in _REPORTED.split()]


_REPORTED = "agent attempt change deadline document els feed fleet host kernel patch process restart row scan start"

CORE = [
    *_of("process.change", "transition replacement old_frame result"),
    Part("process.change.switch", frozenset({"_by_owner", "_Doubts", "_changed", "describe"})),
    Part("process.change.fitting", frozenset()),
    *_of("process.stack", "stack frame unwind instruction switching"),
    *_of("process.see", "comparison"),
    *_room("report", "check_in", *_REPORTED.split()),
    Part("report.check_in", beside=("tests/fleet/test_check_in.py",)),
    *_facts(),
    *_of("process.stop", "seccomp interrupted"),
    *_of("make", "entry indirect lead place resolve caller endless eh_frame thread_local relaxed"),
    *_room("match", "linker_edit", "proof"),
    Part("match.proof", beside=("tests/patch/test_manifest.py",)),
    Part("match.linker_edit", arguments=("-k", "not symbols_of_the_link and not compiled_for_a_program")),
    *_room("delta", "form"),
    Part("delta.form", beside=("tests/delta/test_abbreviation.py",)),
    *_room("elf"),
    *_of("patch", "manifest record link seal strict_json file finder admission consistency x86_64"),
    *_of("make_kernel", "kallsyms change resolve"),
    Part("make_kernel.select", beside=("tests/make_kernel/test_special_section.py", "tests/make_kernel/test_early.py")),
    Part("make_kernel.special_section", beside=("tests/make_kernel/test_select.py",)),
]  # fmt: skip
