"""`suture els live` of packages that were converted before, into a feed and from there into a process."""

from __future__ import annotations

import shutil
from pathlib import Path

from suture.cli.els.live import update_of
from suture.convert import store
from suture.convert.result import Conversion, ConvertOutcome, FixResult, PatchResult
from suture.els.shelf import BuiltShelf
from suture.error import ExitCode
from suture.report.els import ElsGrade
from tests.cli.test_feed import AFTER, build_id, feed, patch, program, run, said
from tests.cli.test_make import ask, running
from tests.els.made_up import report

__all__ = ["feed", "patch", "program"]


def converted(folder: Path, patch: Path, trial: str) -> tuple[str, ...]:
    """A built package and its live patch; the options that name both."""
    built = report(folder / "built", ElsGrade.SAFE)
    BuiltShelf(folder / "built").keep(built)
    update = update_of(built)
    place = store.folder_of(update, folder / "patches")
    place.mkdir(parents=True)
    shutil.copy(patch, place / patch.name)
    result = PatchResult("0" * 16, "answer", str(place / patch.name), "answer", "", 1, "safe", trial)
    fix = FixResult("x.patch", ("CVE-2026-1111",), ConvertOutcome.LIVE, {"answer": ("answer",)}, (), ())
    found = Conversion(update.source, update.release, update.old, update.new, "", (fix,), (), (result,), {})
    store.keep(found, place)
    return "--output", str(folder / "built"), "--patches", str(folder / "patches")


def test_a_backported_fix_goes_through_the_feed_into_a_running_process(
    tmp_path: Path, feed: tuple[str | Path, ...], program: Path, patch: Path
) -> None:
    live = ("els", "live", "x", *converted(tmp_path, patch, "passed"), *feed[:2])
    found = run(*live)
    (added,) = found["added"]
    assert (found["kind"], added["trial"], found["left_out"]) == ("els-live", "passed", [])
    assert run(*live)["added"] == []
    run("feed", "publish", *feed)
    assert "staged 0 patches" in said(*live)
    fetch = ["feed", "fetch", "--url", f"file://{feed[1]}/public", "--root", Path(feed[1]) / "root.json"]
    more = ["--build-id", build_id(program), "--channel", "early", "--into", tmp_path / "into"]
    (one,) = run(*fetch, *more)["patches"]
    with running(program) as process:
        run("apply", one["path"], process.pid)
        assert ask(process, "a") == AFTER


def test_what_no_trial_has_passed_is_listed_and_not_staged(
    tmp_path: Path, feed: tuple[str | Path, ...], patch: Path
) -> None:
    live = ("els", "live", "x", *converted(tmp_path, patch, "not run"), *feed[:2])
    found = run(*live, code=ExitCode.PARTIAL)
    assert found["added"] == [] and found["left_out"][0]["reason"] == "refused.patch-not-safe"
    assert "left out: " in said(*live, code=ExitCode.PARTIAL)


def test_a_folder_that_is_no_feed_is_said_before_anything_is_converted(tmp_path: Path, patch: Path) -> None:
    live = ("els", "live", "x", *converted(tmp_path, patch, "passed"), "--feed", tmp_path)
    assert run(*live, code=ExitCode.NOT_FOUND)["kind"] == "error"
