"""Trying the mutants of one module: each is written into a copy of the source tree, and the
module's tests run in a fork.

A program of its own that takes its job as JSON and writes a line of JSON for each mutant. What the module imports is
loaded before the forks.
"""

from __future__ import annotations

import ast
import gc
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
_MOST_BYTES = 4 << 30
_NO_TESTS = 5


def main() -> None:
    job = json.load(sys.stdin)
    with tempfile.TemporaryDirectory(prefix="suture-mutation-") as folder:
        tree = Path(folder) / "src"
        shutil.copytree(SOURCE, tree)
        os.environ["PYTHONPATH"] = str(tree)
        os.environ["SUTURE_KEPT_OBJECTS"] = str(Path(folder) / "objects")
        sys.path[:] = [
            str(tree),
            str(ROOT),
            *(p for p in sys.path if p not in (str(SOURCE), str(Path(__file__).parent))),
        ]
        trial = Trial(tree, job["module"], job["tests"], job["arguments"], Path(folder))
        trial.load()
        code, seconds = trial.run(None, 600, 600)
        if code != 0:
            print(json.dumps({"broken": code}), flush=True)
            return
        for number, (operator, occurrence, place) in enumerate(job["mutants"]):
            code, took = trial.run((operator, occurrence, tuple(place)), 3 + int(4 * seconds), 60 + 20 * seconds)
            print(json.dumps({"number": number, "code": code, "seconds": round(took, 2)}), flush=True)


class Trial:
    """The tests of one module, run on one mutant after the other."""

    def __init__(self, tree: Path, module: str, tests: list[str], arguments: list[str], folder: Path) -> None:
        self.path = tree / "suture" / (module.replace(".", "/") + ".py")
        self.source = self.path.read_text()
        self.name = f"suture.{module}"
        self.tests, self.arguments, self.folder = tests, arguments, folder
        self._modules = {n: p for p in tree.rglob("*.py") if (n := _dotted(p, tree))}
        self._modules |= {_dotted(p, ROOT): p for p in (ROOT / "tests").rglob("*.py")}
        self._count = 0
        self._config: pytest.Config | None = None

    def load(self) -> None:
        """Import now what every run would import, but for the module and what stands on it."""
        import hypothesis
        from _pytest.config import default_plugins

        hypothesis.settings.register_profile(
            "mutation",
            derandomize=True,
            database=None,
            deadline=None,
            max_examples=25,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        )
        hypothesis.settings.load_profile("mutation")
        for plugin in default_plugins:
            importlib.import_module(f"_pytest.{plugin}")
        files = [ROOT / t for t in self.tests]
        files += [c for f in files for p in f.parents if ROOT in p.parents and (c := p / "conftest.py").exists()]
        for name in sorted({m for f in files for i in _imports(f) for m in self._closure(i)}):
            if name.startswith("suture") and self.name not in self._closure(name):
                importlib.import_module(name)
        for name in {n for f in files for n in _imports(f) if not n.startswith(("suture", "tests"))}:
            try:
                importlib.import_module(name)
            except ImportError:  # an attribute of a module, not a module
                continue
        conftests = [f for f in files if f.name == "conftest.py"]
        if not any(self.name in self._closure(i) for f in conftests for i in _imports(f)):
            self._config = self._prepare()
        assert self.name not in sys.modules
        gc.freeze()

    def _closure(self, name: str) -> set[str]:
        found: set[str] = set()
        waiting = [name]
        while waiting:
            here = waiting.pop()
            if here not in self._modules:
                here = here.rpartition(".")[0]
            if here in self._modules and here not in found:
                found.add(here)
                waiting += _imports(self._modules[here])
        return found

    def run(self, mutant: tuple[str, int, tuple[int, int]] | None, cpu: int, wall: float) -> tuple[int, float]:
        """Exit code (negative for a signal) and seconds of processor time."""
        from tests.mutation.mutant import Mutant

        self._count += 1
        self.path.write_text(self.source if mutant is None else Mutant(*mutant).code(self.source))
        os.utime(self.path, (10**9 + self._count,) * 2)  # no stale byte code
        child = os.fork()
        if child == 0:
            self._child(cpu)
        deadline = time.monotonic() + wall
        while True:
            pid, status, usage = os.wait4(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.killpg(child, signal.SIGKILL)
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime

    def _prepare(self) -> pytest.Config:
        from _pytest.config import _prepareconfig

        where = [f"--basetemp={self.folder}/tests", f"--rootdir={ROOT}", "-c", f"{ROOT}/pyproject.toml"]
        # the last two collect garbage after every run, which costs a third of a short one
        without = ["-p", "no:cacheprovider", "-p", "no:unraisableexception", "-p", "no:threadexception"]
        return _prepareconfig([*where, *without, "--capture=no", "-x", "-q", "--tb=no", *self.arguments, *self.tests])

    def _child(self, cpu: int) -> None:
        os.setsid()
        log = os.open(self.folder / "log", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        for fd in (1, 2):
            os.dup2(log, fd)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
        code = 99
        try:
            config = self._config if self._config is not None else self._prepare()
            code = int(config.hook.pytest_cmdline_main(config=config))
        finally:
            os._exit(code)


def _dotted(path: Path, tree: Path) -> str:
    return path.relative_to(tree).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


def _imports(path: Path) -> Iterable[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            yield from (f"{node.module}.{a.name}" for a in node.names)


if __name__ == "__main__":
    main()
