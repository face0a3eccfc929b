"""For all tests: a skipped test is a failed test, because a run that passes must mean that everything was tried.

Tests of the archive come last: what they download is made ready meanwhile (tests/rooms.py). Which tests may run side by
side is told in tests/group.py.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from tests.scheduler import GroupScheduling  # where pytest-xdist runs tests side by side

    return GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("archive") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped, and a skip is a failure here: {call.excinfo and call.excinfo.value}"
        )
    return report
