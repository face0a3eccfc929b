"""Each module has a test of its own at the same place, or stands here with what tests it instead."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "suture"

FACTS = "facts alone: it decides nothing"
COMMAND = "run as a command: "
PROCESS = "on processes: "

INSTEAD = {
    "cli/__main__.py": COMMAND + "tests/cli/test_main.py",
    "cli/apply.py": COMMAND + "tests/host/test_verbs.py",
    "agent/journal.py": PROCESS + "tests/agent/test_whole.py",
    "agent/loop.py": PROCESS + "tests/agent/test_whole.py",
    "agent/register.py": PROCESS + "tests/agent/test_service.py",
    "agent/standing.py": PROCESS + "tests/agent/test_whole.py",
    "cli/agent/allow.py": COMMAND + "tests/agent/test_whole.py",
    "cli/agent/apply_service.py": COMMAND + "tests/agent/test_whole.py",
    "cli/agent/check.py": COMMAND + "tests/cli/test_agent.py",
    "cli/agent/option.py": COMMAND + "tests/agent/test_whole.py",
    "cli/agent/run.py": COMMAND + "tests/agent/test_whole.py",
    "cli/agent/status.py": COMMAND + "tests/agent/test_whole.py",
    "cli/feed/add.py": COMMAND + "tests/cli/test_feed.py",
    "cli/feed/check.py": COMMAND + "tests/cli/test_feed.py",
    "cli/feed/export.py": COMMAND + "tests/cli/test_feed.py",
    "cli/feed/fetch.py": COMMAND + "tests/cli/test_feed.py",
    "cli/feed/import_.py": COMMAND + "tests/cli/test_feed.py",
    "cli/feed/init.py": COMMAND + "tests/cli/test_feed.py",
    "cli/feed/keys.py": COMMAND + "tests/cli/test_feed.py",
    "cli/feed/option.py": COMMAND + "tests/cli/test_feed.py",
    "cli/feed/publish.py": COMMAND + "tests/cli/test_feed.py",
    "cli/feed/serve.py": COMMAND + "tests/cli/test_feed.py",
    "cli/feed/told.py": COMMAND + "tests/cli/test_feed.py",
    "cli/feed/withdraw.py": COMMAND + "tests/cli/test_feed.py",
    "cli/kernel_patch.py": COMMAND + "tests/kernel/test_cli.py",
    "cli/scan.py": COMMAND + "tests/process/see/test_scan.py",
    "cli/schema.py": COMMAND + "tests/report/test_page.py",
    "cli/show.py": COMMAND + "tests/cli/test_ledger.py",
    "cli/status.py": COMMAND + "tests/cli/test_hostile_names.py",
    "cli/uname.py": COMMAND + "tests/kernel/test_cli.py",
    "cli/unread.py": COMMAND + "tests/process/see/test_scan.py",
    "cli/verify.py": COMMAND + "tests/cli/test_ledger.py",
    "compile/archive.py": "tests/compile/test_archive_objects.py",
    "compile/database.py": "tests/compile/test_host.py",
    "compile/job.py": "tests/compile/test_host.py",
    "convert/store.py": "tests/convert/test_conversion.py",
    "convert/worker.py": COMMAND + "tests/live/test_watch.py",
    "delta/form.py": "tests/delta/test_abbreviation.py",
    "error.py": "tests/cli/test_exit_code.py",
    "feed/change.py": "tests/feed/test_publication.py",
    "feed/error.py": FACTS,
    "feed/fetcher.py": "tests/feed/test_attack.py",
    "feed/founding.py": COMMAND + "tests/cli/test_feed.py",
    "feed/inspection.py": "tests/feed/test_publication.py",
    "feed/pruning.py": "tests/feed/test_publication.py",
    "feed/repository.py": "tests/feed/test_publication.py",
    "feed/rotation.py": "tests/feed/test_attack.py",
    "feed/server.py": "tests/feed/test_client.py",
    "feed/shelf.py": "tests/feed/test_publication.py",
    "host/described.py": "tests/host/test_verbs.py",
    "host/inventory.py": PROCESS + "tests/cli/test_feed.py",
    "host/kernel.py": COMMAND + "tests/kernel/test_cli.py",
    "host/processes.py": PROCESS + "tests/host/test_verbs.py",
    "host/scan.py": PROCESS + "tests/host/test_verbs.py",
    "report/start.py": "tests/report/test_page.py",
    "host/starts.py": PROCESS + "tests/cli/test_guard.py",
    "host/status.py": PROCESS + "tests/host/test_verbs.py",
    "host/told.py": PROCESS + "tests/host/test_verbs.py",
    "machine/initrd.py": "tests/machine/test_vm.py",
    "machine/userland.py": "tests/machine/test_vm.py",
    "maker/binary.py": COMMAND + "tests/cli/test_make.py",
    "maker/kernel.py": COMMAND + "tests/kernel/test_cli.py",
    "make/account.py": COMMAND + "tests/cli/test_ledger.py",
    "make/check.py": "tests/make/test_build.py",
    "make/make.py": COMMAND + "tests/cli/test_make.py",
    "make/old_code.py": "tests/making/test_copies.py",
    "make/refusal.py": "tests/making/test_signature.py",
    "make/request.py": COMMAND + "tests/cli/test_make.py",
    "make/statement.py": "tests/make/test_build.py",
    "make_kernel/account.py": "tests/make_kernel/test_registration.py",
    "make_kernel/emit.py": "tests/make_kernel/test_select.py",
    "make_kernel/make.py": "tests/make_kernel/test_select.py",
    "make_kernel/prepare.py": "tests/make_kernel/test_overlay.py",
    "make_kernel/refusal.py": FACTS,
    "make_kernel/request.py": COMMAND + "tests/kernel/test_cli.py",
    "make_kernel/signature.py": "tests/kernel/test_check.py",
    "make_kernel/vmlinux.py": "on the archive's kernels: tests/live/test_kernel_releases.py",
    "match/proof.py": FACTS,
    "match/reading.py": "tests/match/test_correlate.py",
    "patch/consistency.py": FACTS,
    "process/start/follow.py": PROCESS + "tests/process/start/test_guard.py",
    "process/change/held.py": PROCESS + "tests/process/test_killed.py",
    "process/change/prepared.py": PROCESS + "tests/process/change/test_apply.py",
    "process/change/revert.py": PROCESS + "tests/process/test_several.py",
    "process/change/unwind_table.py": PROCESS + "tests/making/test_cxx_exceptions.py",
    "process/error.py": FACTS,
    "process/everywhere.py": PROCESS + "tests/process/test_every_process.py",
    "process/memory/chosen.py": PROCESS + "tests/making/test_binding.py",
    "process/memory/gadget.py": PROCESS + "tests/process/stop/test_borrow.py",
    "process/memory/image.py": PROCESS + "tests/process/see/test_scan.py",
    "process/memory/loaded.py": PROCESS + "tests/making/test_binding.py",
    "process/memory/loader.py": PROCESS + "tests/making/test_binding.py",
    "process/memory/memory.py": PROCESS + "tests/process/see/test_aside.py",
    "process/proc.py": PROCESS + "tests/process/see/test_scan.py",
    "process/see/disk.py": PROCESS + "tests/process/see/test_scan.py",
    "process/see/find.py": PROCESS + "tests/process/see/test_scan.py",
    "process/see/population.py": PROCESS + "tests/process/test_every_process.py",
    "process/see/reexec.py": PROCESS + "tests/process/see/test_scan.py",
    "process/see/status.py": PROCESS + "tests/process/test_several.py",
    "process/stack/patch_frame.py": PROCESS + "tests/making/test_cxx_exceptions.py",
    "process/stack/resident.py": PROCESS + "tests/process/stack/test_room.py",
    "process/stack/resting.py": PROCESS + "tests/process/stack/test_coroutine.py",
    "process/stop/detach.py": PROCESS + "tests/process/stop/test_borrow.py",
    "process/stop/reaper.py": PROCESS + "tests/process/test_interrupted.py",
    "process/stop/registers.py": PROCESS + "tests/process/test_interrupted.py",
    "process/stop/stop.py": PROCESS + "tests/process/test_interrupted.py",
    "process/x86_64.py": PROCESS + "tests/process/test_interrupted.py",
    "progress.py": COMMAND + "tests/cli/test_output.py",
    "refusal.py": FACTS,
    "report/agent.py": FACTS,
    "report/document.py": "tests/report/test_encoding.py",
    "report/feed.py": FACTS,
    "report/kernel.py": FACTS,
    "report/meaning.py": "tests/report/test_page.py",
    "report/process.py": FACTS,
    "report/attempt.py": FACTS,
    "host/attempts.py": COMMAND + "tests/cli/test_watch_attempts.py",
    "patch/tripwire.py": FACTS,
    "process/see/tripwires.py": COMMAND + "tests/cli/test_watch_attempts.py",
    "tripwire/syntax.py": "tests/tripwire/test_search.py",
    "cli/watch.py": COMMAND + "tests/live/test_watch.py",
    "source/packages.py": "tests/make/test_pairing.py",
}


def modules() -> list[str]:
    return [p.relative_to(SOURCE).as_posix() for p in sorted(SOURCE.rglob("*.py")) if p.name != "__init__.py"]


def mirror(module: str) -> Path:
    path = Path(module)
    return ROOT / "tests" / path.parent / f"test_{path.name}"


@pytest.mark.parametrize("module", modules())
def test_a_module_has_a_test_at_its_place_or_says_what_tests_it(module: str) -> None:
    if module in INSTEAD:
        assert not mirror(module).exists(), f"it has a test of its own by now: take {module} out of the list"
        reason = INSTEAD[module]
        assert reason == FACTS or (ROOT / reason.rpartition(" ")[2]).is_file()
    else:
        assert mirror(module).exists(), f"write {mirror(module).relative_to(ROOT)}, or say in this list what tests it"


def test_the_list_names_no_module_that_is_gone() -> None:
    assert sorted(INSTEAD.keys() - set(modules())) == []
