"""What came of the trials, and the page that tells it."""

from __future__ import annotations

import datetime
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LEAST = 8
"""So many places of each module are tried, or all of a smaller one."""
UNMEASURED = "not measured"


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test noticed: line number, operator, the line before and after."""

    line: int
    operator: str
    before: str
    after: str


@dataclass(frozen=True)
class Outcome:
    """Of one module: `places` that can be changed, mutants tried (one at a place) and killed."""

    module: str
    places: int
    tried: int
    killed: int
    survivors: tuple[Survivor, ...]
    note: str = ""


def reasons() -> dict[tuple[str, str], str]:
    """Why a survivor may survive, by module and changed line."""
    table = tomllib.loads(Path(__file__).with_name("reasons.toml").read_text())
    return {(module, line): why for module, rows in table.items() for line, why in rows.items()}


_INTRODUCTION = """A mutant is a copy of a module in which one operator, number or condition is wrong. A test kills it
when it fails. A mutant that survives shows a line that the tests do not check, or a change that makes no difference."""
_RULES = (
    """The operators are those of cosmic-ray. Each mutant runs against the tests of its own module alone
    (`tests/delta/test_atom.py` for `delta/atom.py`, and for some modules what `tests/mutation/core.py` names beside
    it), in a fork, with a limit of processor time. A mutant that exceeds it counts as killed.""",
    """Each place that can be changed gives at most one mutant. A hash of the seed, the line's text and the operator
    chooses it, so that a change elsewhere does not change the choice.""",
    """A mutant that was killed is not tried again while its function stays the same; a survivor is, when the tests
    change. `--anew` tries all.""",
    """Left out: comparison by identity in place of by value, which differs by chance of the interpreter, and by value
    in place of by identity, which enums, types and None do not notice; annotations, which Python never evaluates here,
    and the arguments of `@dataclass`, which mypy checks. Of modules that also do things, only the functions that
    `tests/mutation/core.py` names are changed.""",
    """All survivors are listed. `tests/mutation/reasons.toml` holds the reasons.""",
)


def _filled(text: str, mark: str = "") -> str:
    return textwrap.fill(" ".join(text.split()), 120, initial_indent=mark, subsequent_indent=" " * len(mark))


def write_page(
    path: Path, outcomes: Sequence[Outcome], known: Mapping[tuple[str, str], str], seed: int, one_in: int
) -> None:
    """The page with the table of modules and all survivors."""
    left_out = [f"`{o.module}`" for o in outcomes if o.note == UNMEASURED]
    outcomes = [o for o in outcomes if o.note != UNMEASURED and o.places]
    tried, killed = sum(o.tried for o in outcomes), sum(o.killed for o in outcomes)
    whole = sum(o.places for o in outcomes)
    lines = ["# Mutation testing of the pure core", "", _filled(_INTRODUCTION), ""]
    lines += [
        (
            f"Measured on {datetime.date.today().isoformat()}: `tests/mutation/run --seed {seed} --one-in {one_in} "
            f"--page {path}`"
        ),
        "",
        (
            f"**{killed} of {tried} mutants killed ({100 * killed / tried:.1f} %)**, in {len(outcomes)} modules. "
            f"{whole} places in"
        ),
        f"them can be changed; the seed chooses one in {one_in}, at least {LEAST} of each module.",
        "",
        *((_filled(f"Not measured yet: {', '.join(left_out)}."), "") if left_out else ()),
        *(_filled(row, "- ") for row in _RULES),
        "",
        "| module | places | mutants | killed | % |",
        "|---|---:|---:|---:|---:|",
    ]
    for o in outcomes:
        share = f"{100 * o.killed / o.tried:.0f}" if o.tried else "-"
        lines.append(f"| {o.module} | {o.places} | {o.tried} | {o.killed} | {share} |")
    lines += ["", "## Survivors", ""]
    for o in outcomes:
        if not o.survivors:
            continue
        lines += [f"### {o.module}", ""]
        for s in o.survivors:
            why = known.get((o.module, s.after), "no test yet")
            lines += [f"- {why}", "  ```diff", f"  - {s.before}", f"  + {s.after}", "  ```"]
        lines.append("")
    path.write_text("\n".join(lines).rstrip() + "\n")
