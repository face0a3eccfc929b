"""A patch of the kernel in the agent's hands: under the crash guard, and held when the machine has died with it. That a
kernel takes it is tested in tests/live/test_agent_kernel.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from suture.agent import register
from suture.agent.journal import Journal
from suture.agent.kernel_load import KernelLoad
from suture.agent.register import Register
from suture.error import NotFound, Refused
from suture.host.recipient import ApplyOptions, Recipient
from suture.kernel import mark
from suture.report.agent import PatchInForce
from suture.report.feed import Offer, OfferState, Product
from suture.report.moment import now
from suture.report.patch import PatchKind
from suture.report.reason import Reason

PATCH = "0123456789abcdef"


@dataclass
class Kernel:
    """What stands in for the running kernel. `file` is marked while it loads, or it loads nothing."""

    file: Path
    problem: Exception | None = None
    asked: list[ApplyOptions] = field(default_factory=list)

    def apply(self, pids: Sequence[int], options: ApplyOptions) -> str:
        assert mark.is_loading(self.file)
        self.asked.append(options)
        if self.problem is not None:
            raise self.problem
        return "applied"

    def revert(self, pids: Sequence[int], to: str, options: ApplyOptions) -> str:
        if self.problem is not None:
            raise self.problem
        return "reverted"


@dataclass
class Bench:
    """A register with one patch for the kernel."""

    folder: Path
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.begin()
        self.register.put(PatchInForce(offer(), now(), 0, 0, False, None))
        self.kernel = Kernel(self.file)

    def begin(self) -> None:
        """As after a start of the agent."""
        self.register = Register(self.folder)
        self.load = KernelLoad(self.register, Journal(), lambda: self.seconds)
        self.load.begin()

    @property
    def file(self) -> Path:
        return self.register.file(offer())

    def apply(self) -> Any:
        return self.load.apply(cast(Recipient, self.kernel), offer(), ApplyOptions(replace=True))

    def revert(self) -> int:
        return self.load.revert(cast(Recipient, self.kernel), offer(), ApplyOptions())


def offer() -> Offer:
    return Offer(
        patch=PATCH, name="linux", kind=PatchKind.KERNEL, product=Product.KERNEL, build_id="ab" * 20, binary="6.1.0-1",
        source="linux", version="6.1.1-1", cves=(), fixes=("one.patch",), grade="safe", trial="passed", review=(),
        sha256="00" * 32, bytes=1, replaces=(), channels={}, state=OfferState.OFFERED, reason="", since="",
    )  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def reboot(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "boot_id").write_text("another\n")
    monkeypatch.setattr(mark, "_BOOT_ID", tmp_path / "boot_id")
    bench.begin()


def row(bench: Bench) -> PatchInForce:
    (found,) = bench.register.content.in_force
    return found


def test_a_machine_that_dies_with_a_patch_holds_it_until_an_administrator_allows_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register.allow(tmp_path, PATCH)
    assert bench.apply() == "applied"
    bench.seconds = mark.SETTLED_MINUTES * 60 - 1
    bench.load.settle()
    reboot(bench, tmp_path, monkeypatch)
    why = row(bench).why
    assert row(bench).held and why is not None and why.reason is Reason.AGENT_CRASHED
    assert "the machine died while loading it" in why.text and why.remedy.endswith(f"suture agent allow {PATCH}")
    assert PATCH not in bench.register.allowed  # the word that let it in was given before


@pytest.mark.parametrize("ended", ["settled", "in good order", "not loaded", "reverted"])
def test_a_patch_that_the_machine_ran_well_with_is_not_suspected_after_a_boot(
    ended: str, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ended == "not loaded":
        bench.kernel.problem = Refused("the kernel says no", "none", reason=Reason.BUSY_TASKS)
        with pytest.raises(Refused):
            bench.apply()
    else:
        bench.apply()
    if ended == "settled":
        bench.seconds = mark.SETTLED_MINUTES * 60
        bench.load.settle()
    elif ended == "in good order":
        bench.load.close()
    elif ended == "reverted":
        assert bench.revert() == 1
    reboot(bench, tmp_path, monkeypatch)
    assert not row(bench).held


def test_an_agent_that_was_killed_counts_the_minutes_anew(bench: Bench) -> None:
    bench.apply()
    bench.seconds = 1000.0
    bench.begin()
    bench.load.settle()
    assert mark.is_loading(bench.file)
    bench.seconds += mark.SETTLED_MINUTES * 60
    bench.load.settle()
    assert not mark.is_loading(bench.file)


def test_a_kernel_is_asked_for_no_replacement_which_the_module_itself_does(bench: Bench) -> None:
    bench.apply()
    assert [o.replace for o in bench.kernel.asked] == [False]


def test_a_patch_that_the_kernel_does_not_have_is_out_already(bench: Bench) -> None:
    bench.kernel.problem = NotFound("no patch", "none", reason=Reason.NO_KERNEL_PATCH)
    assert bench.revert() == 0
    bench.kernel.problem = Refused("a task sleeps in it", "none", reason=Reason.BUSY_TASKS)
    with pytest.raises(Refused):
        bench.revert()
