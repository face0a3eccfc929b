"""What a package's own tests said, read from the log of its build."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from suture.els.package_build import PackageBuild
from suture.report.els import PackageTests, TestsOutcome

# The command that debhelper prints behind a tab, the shell of rpmbuild behind a plus, or that make says it runs; a step
# without one tests nothing.
_RUN = re.compile(
    r"^(?:\t|\+ )?(?:cd \S+ && )?(?:make\b.*\s(?:check|test|tests)\b|.*\b(?:ctest|meson test|pytest)\b)", re.M
)
_NOTHING = re.compile(r"^make(?:\[\d+\])?: Nothing to be done for '(?:check|test)'\.$", re.M)
# Automake ("# PASS:  5"), rsync ("      28 passed"), CTest ("tests passed, 1 tests failed out of 9"), Meson
# ("Ok:   12"), curl ("TESTDONE: 900 tests out of 950 reported OK").
_COUNTS = (
    re.compile(r"^# (?P<word>TOTAL|PASS|FAIL|ERROR|XPASS):\s+(?P<count>\d+)", re.M),
    re.compile(r"^(?P<word>Ok|Fail|Expected Fail|Timeout):\s+(?P<count>\d+)\s*$", re.M),
    re.compile(r"(?P<count>\d+) tests (?P<word>failed) out of", re.M),
    re.compile(r"tests failed out of (?P<count>\d+)(?P<word>)", re.M),
    re.compile(r"^\s+(?P<count>\d+) (?P<word>passed|failed|missing|skipped)\s*$", re.M),
    re.compile(r"^TESTDONE: (?P<count>\d+) tests out of \d+ (?P<word>reported OK)", re.M),
)
# The tests that failed: Automake ("FAIL: name"), CTest ("  5 - name (Failed)"), Meson (" 3/12 name  FAIL  0.1s"), curl
# ("TESTFAIL: These test cases failed: 12 15").
_FAILING = (
    re.compile(r"^(?:FAIL:?|ERROR:|XPASS:) +(\S.*?)\s*$", re.M),
    re.compile(
        r"^\s+\d+ - (\S+) \((?:Failed|Timeout|SEGFAULT|Subprocess aborted|Not Run|[^()]*Exception[^()]*)\)", re.M
    ),
    re.compile(r"^\s*\d+/\d+ (\S.*?)\s+(?:FAIL|ERROR|TIMEOUT|UNEXPECTEDPASS)\b", re.M),
)
_FAILING_NUMBERS = re.compile(r"^TESTFAIL: These test cases failed: ([\d ]+)", re.M)

GOOD = frozenset({"PASS", "Ok", "passed", "reported OK"})
"""Words that suites count tests in that passed."""


def counted(log: str) -> Mapping[str, int]:
    """What the tests counted, by the words that they count in; all suites of a build together."""
    found: Counter[str] = Counter()
    for pattern in _COUNTS:
        for match in pattern.finditer(log):
            found[match["word"].strip() or "total"] += int(match["count"])
    return dict(found)


def failing(log: str) -> tuple[str, ...]:
    """The names of tests that failed, sorted; empty where the log names none."""
    found = {name for pattern in _FAILING for name in pattern.findall(log)}
    return tuple(sorted({*found, *(n for row in _FAILING_NUMBERS.findall(log) for n in row.split())}))


def has_run(log: str) -> bool:
    """Whether the build came to a step that tests."""
    return bool(counted(log)) or (_RUN.search(log) is not None and _NOTHING.search(log) is None)


def judged(before: PackageBuild, after: PackageBuild) -> PackageTests:
    """The tests of a build with the fixes beside those of one without. Where neither build ended well, what they
    counted decides, and which failed."""
    old, new = counted(before.log), counted(after.log)
    was, now = failing(before.log), failing(after.log)
    if not has_run(after.log):
        return PackageTests(TestsOutcome.NONE, old, new, "no step of the build tests anything")
    if new and not any(new.values()):
        return PackageTests(TestsOutcome.NONE, old, new, f"the build looks for tests and finds none ({_said(new)})")
    if after.succeeded and new == old:
        return PackageTests(TestsOutcome.PASSED, old, new, _said(new) or "they count nothing; the build ended well")
    no_more_fail = all(new.get(k, 0) <= old.get(k, 0) for k in new if _is_bad(k))
    if after.succeeded and no_more_fail and all(new.get(k, 0) >= old[k] for k in GOOD.intersection(old)):
        return PackageTests(TestsOutcome.PASSED, old, new, f"{_said(new)}; without the fixes: {_said(old)}")
    if not (before.succeeded or after.succeeded or old or new):
        said = "they fail without the fixes too, and count nothing that tells which"
        return PackageTests(TestsOutcome.AS_BEFORE, old, new, said)
    if not before.succeeded and old and new == old and was == now:
        return PackageTests(TestsOutcome.AS_BEFORE, old, new, _said(new), now)
    fresh = ", ".join(n for n in now if n not in was)
    said = f"{_said(new) or 'the build ends'}; without: {_said(old) or '-'}"
    return PackageTests(TestsOutcome.WORSE, old, new, f"{said}; failing now: {fresh}" if fresh else said, now)


def _is_bad(word: str) -> bool:
    return word.lower() in {"fail", "failed", "error", "timeout", "xpass"}


def _said(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{word} {count}" for word, count in counts.items())
