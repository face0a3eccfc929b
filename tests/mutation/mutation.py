"""Mutation testing of the pure core. See --help."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from tests.mutation.core import CORE, ROOT, Part  # noqa: E402
from tests.mutation.memory import Memory  # noqa: E402
from tests.mutation.mutant import Mutant, chosen, places  # noqa: E402
from tests.mutation.outcome import LEAST, UNMEASURED, Outcome, Survivor, reasons, write_page  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="only these, as process.stack.frame or process.stack (all)")
    parser.add_argument("--one-in", type=int, default=5, help="try one place in so many, at least 8 of each module (5)")
    parser.add_argument("--seed", type=int, default=1, help="which places and operators are chosen (1)")
    parser.add_argument("--jobs", type=int, default=2, help="modules at the same time (2)")
    parser.add_argument("--page", type=Path, help="write the outcome of the whole core to this page")
    parser.add_argument(
        "--anew", action="store_true", help="try also what was killed before and whose module is the same"
    )
    parser.add_argument(
        "--known",
        action="store_true",
        help="try nothing: tell what came of the trials so far, for a run that was ended",
    )
    parser.add_argument(
        "--folder", type=Path, default=Path.home() / ".cache/suture/mutation", help="what was tried is kept"
    )
    args = parser.parse_args()
    parts = [p for p in CORE if not args.modules or any(_below(p.module, m) for m in args.modules)]
    if args.page and args.modules:
        parser.error("a page is of the whole core: leave the modules out")
    known = reasons()
    memory = Memory(args.folder, args.anew)
    with ThreadPoolExecutor(args.jobs) as pool:
        outcomes = []
        for outcome in pool.map(lambda p: _try_all(p, args.seed, args.one_in, memory, args.known), parts):
            _report(outcome, known)
            outcomes.append(outcome)
    tried, killed = sum(o.tried for o in outcomes), sum(o.killed for o in outcomes)
    print(f"{killed} of {tried} killed ({100 * killed / max(tried, 1):.1f}%)")
    if args.page:
        write_page(args.page, outcomes, known, args.seed, args.one_in)
    return 0


def _below(module: str, wanted: str) -> bool:
    return module == wanted or module.startswith(wanted + ".")


def _try_all(part: Part, seed: int, one_in: int, memory: Memory, only_known: bool) -> Outcome:
    source = part.path.read_text()
    whole = len(places(source, part.functions))
    mutants = chosen(source, seed, max(LEAST, whole // one_in), part.functions)
    if not mutants:
        return Outcome(part.module, 0, 0, 0, ())
    if not part.tests:
        return Outcome(part.module, whole, len(mutants), 0, _survivors(source, mutants), "no test")
    tests = "".join((ROOT / t).read_text() for t in part.tests)
    if only_known:
        untried = [m for m in mutants if not memory.was_tried(part.module, source, m)]
        if untried:
            return Outcome(part.module, whole, 0, 0, (), UNMEASURED)
        alive = [m for m in mutants if not memory.is_killed(part.module, source, tests, m)]
        return Outcome(part.module, whole, len(mutants), len(mutants) - len(alive), _survivors(source, alive))
    left = [m for m in mutants if memory.is_killed(part.module, source, tests, m) is None]
    for mutant, code in _tried(part, left) if left else ():
        memory.note(part.module, source, tests, mutant, code != 0)
    alive = [m for m in mutants if not memory.is_killed(part.module, source, tests, m)]
    return Outcome(part.module, whole, len(mutants), len(mutants) - len(alive), _survivors(source, alive))


def _tried(part: Part, mutants: list[Mutant]) -> Iterator[tuple[Mutant, int]]:
    """Each mutant with the exit code of the module's tests."""
    job = {
        "module": part.module,
        "tests": list(part.tests),
        "arguments": list(part.arguments),
        "mutants": [(m.operator, m.occurrence, m.place) for m in mutants],
    }
    argv = [sys.executable, str(Path(__file__).with_name("trial.py"))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as trial:
        assert trial.stdin is not None and trial.stdout is not None
        trial.stdin.write(json.dumps(job))
        trial.stdin.close()
        rows = 0
        for line in trial.stdout:
            row = json.loads(line) if line.startswith('{"number"') else None
            if row is not None:
                rows += 1
                yield mutants[row["number"]], row["code"]
    if rows != len(mutants):
        raise SystemExit(f"{part.module}: its tests fail without a mutant: pytest {' '.join(part.tests)}")


def _survivors(source: str, mutants: Iterable[Mutant]) -> tuple[Survivor, ...]:
    return tuple(Survivor(m.place[0], m.operator, *m.lines(source)) for m in mutants)


def _report(outcome: Outcome, known: dict[tuple[str, str], str]) -> None:
    print(f"{outcome.module}: {outcome.killed} of {outcome.tried} killed {outcome.note}", flush=True)
    for s in outcome.survivors if not outcome.note else ():
        print(
            f"  {s.line}: {s.before}\n    -> {s.after}  # {known.get((outcome.module, s.after), '')}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
