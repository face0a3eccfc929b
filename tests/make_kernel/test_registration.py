"""What a fix changes in tables that the kernel reads once is named: parameters, exports, initialisation calls, entries
of other sections."""

from __future__ import annotations

from pathlib import Path

from suture.delta.ledger import Fate
from suture.make_kernel import registration
from suture.make_kernel.account import UnitResult, ledger
from suture.make_kernel.affected import Readers
from suture.make_kernel.registration import UnregisteredEntry
from suture.source.fix import parse
from tests.make_kernel.test_select import BASE, change, selected

_PARAMETER = """
struct kernel_param { const char *name; int perm; void *arg; };
static int most = 3;
__attribute__((used, section("__param"))) static const struct kernel_param __param_most = { "most", 0600, &most };
"""
_EXPORT = 'asm(".section \\"___ksymtab+entry\\",\\"a\\"\\n__ksymtab_entry: .long entry - .\\n.previous");\n'


def named(tmp_path: Path, new: str, old: str = BASE) -> list[str]:
    one = change(tmp_path, new, old=old)
    included = {a.atom for a in selected(one).atoms}
    return [r.what for r in registration.missing(one, included)]


def test_a_new_module_parameter_is_named(tmp_path: Path) -> None:
    new = (
        (BASE + _PARAMETER)
        .replace("static int state", "static int most;\nstatic int state")
        .replace("a > 100", "a > most")
    )
    (what,) = named(tmp_path, new)
    assert what.startswith("the module parameter most")


def test_what_a_table_holds_already_is_not_named(tmp_path: Path) -> None:
    assert named(tmp_path, (BASE + _PARAMETER).replace("a > 100", "a > 90"), BASE + _PARAMETER) == []


def test_a_changed_entry_is_named(tmp_path: Path) -> None:
    (what,) = named(tmp_path, (BASE + _PARAMETER).replace("0600", "0400"), BASE + _PARAMETER)
    assert what.startswith("the module parameter most")


def test_a_new_initialisation_call_and_an_entry_of_an_unknown_section_are_named(tmp_path: Path) -> None:
    call = '__attribute__((used, section(".initcall6.init"))) static void *__initcall__kmod_x__1_2_entry6 = entry;\n'
    table = '__attribute__((used, section("_kprobe_blacklist"))) static void *_kbl_addr_entry = entry;\n'
    found = named(tmp_path, BASE + call + table)
    assert any("an initialisation call" in w for w in found) and any(
        "an entry of _kprobe_blacklist" in w for w in found
    )
    moved = call.replace("1_2", "7_9")
    assert named(tmp_path, BASE + moved, BASE + call) == [], "numbers that the preprocessor counts say nothing"


def test_a_variable_that_becomes_read_only_after_initialisation_stays_writable(tmp_path: Path) -> None:
    new = BASE.replace("static int state", '__attribute__((section(".data..ro_after_init"))) static int state')
    one = change(tmp_path, new)
    assert [r.what for r in registration.missing(one, set())] == ["state stays writable in the running kernel"]
    assert registration.differ(one.pre, one.post)


def test_a_new_export_is_told(tmp_path: Path) -> None:
    one = change(tmp_path, BASE + _EXPORT)
    assert registration.exported(one) == ("entry",) and registration.differ(one.pre, one.post)
    assert not registration.differ(one.pre, one.pre)


FIX = """--- a/net/x.c
+++ b/net/x.c
@@ -1,2 +1,5 @@
 int a;
+static int most = 3;
+module_param(most, int, 0600);
+int changed(void) { return most; }
 int b;
--- a/MAINTAINERS
+++ b/MAINTAINERS
@@ -4 +4 @@
-M:\tone
+M:\ttwo
"""


def test_every_line_of_a_fix_is_in_its_ledger() -> None:
    fix = parse(FIX, "x.patch")
    who = {"net/x.c": Readers(("net/x.c",)), "MAINTAINERS": Readers(reason="no unit reads it")}
    row = UnregisteredEntry("the module parameter most", "restart", ("most",))
    found = ledger(fix, who, {"net/x.c": UnitResult(("vmlinux:changed",), (row,), same=False)}, True)
    accounts = {(f.path, a.fate): a for f in found.files for a in f.accounts}
    assert set(accounts) == {("net/x.c", Fate.MISSING), ("net/x.c", Fate.PATCHED), ("MAINTAINERS", Fate.NO_CODE)}
    missing, patched = (accounts["net/x.c", f] for f in (Fate.MISSING, Fate.PATCHED))
    assert [tuple(r) for r in missing.added] == [(3, 3)] and not found.is_complete
    assert [tuple(r) for r in patched.added] == [(2, 2), (4, 4)] and patched.functions == ("vmlinux:changed",)
    assert sum(a.lines for a in found.accounts) == 5


def test_a_fix_whose_units_are_the_same_is_proved_to_change_nothing() -> None:
    fix = parse(FIX, "x.patch")
    who = {"net/x.c": Readers(("net/x.c", "net/y.c")), "MAINTAINERS": Readers(reason="no unit reads it")}
    found = ledger(fix, who, {"net/x.c": UnitResult(), "net/y.c": UnitResult()}, True)
    assert found.is_complete and [(a.fate, a.units) for a in found.files[0].accounts] == [(Fate.SAME, 2)]


def test_what_never_runs_is_named_in_the_ledger_and_misses_nowhere() -> None:
    fix = parse(FIX, "x.patch")
    who = {"net/x.c": Readers(("net/x.c",)), "MAINTAINERS": Readers(reason="no unit reads it")}
    for functions, fate in (((), Fate.SAME), (("vmlinux:changed",), Fate.PATCHED)):
        found = ledger(fix, who, {"net/x.c": UnitResult(functions, idle=("x_exit",), same=False)}, True)
        (account,) = found.files[0].accounts
        assert found.is_complete and account.fate is fate
        assert account.reason == "x_exit never runs, since it would remove what is built in"


def test_a_copy_outside_the_kernels_text_is_missing_and_so_are_other_build_rules() -> None:
    fix = parse(FIX.replace("MAINTAINERS", "net/Makefile"), "x.patch")
    who = {"net/x.c": Readers((), ("arch/x86/entry/vdso/x.o",)), "net/Makefile": Readers(is_rule=True)}
    for same, fate in ((True, Fate.SAME), (False, Fate.MISSING)):
        found = ledger(fix, who, {}, same)
        assert [a.fate for a in found.accounts] == [Fate.MISSING, fate] and not found.is_complete


def test_what_only_leaves_out_is_missing() -> None:
    fix = parse(FIX, "x.patch").only(["MAINTAINERS"])
    who = {
        "net/x.c": Readers(reason="left out with --only", left_out=True),
        "MAINTAINERS": Readers(reason="no unit reads it"),
    }
    found = ledger(fix, who, {}, True)
    assert not found.is_complete and {f.path: f.accounts[0].fate for f in found.files} == {
        "MAINTAINERS": Fate.NO_CODE, "net/x.c": Fate.MISSING,
    }  # fmt: skip


def test_a_change_of_a_mode_is_accounted_for_as_no_code() -> None:
    fix = parse("diff --git a/Makefile b/Makefile\nold mode 100644\nnew mode 100755\n", "fix")
    (file,) = ledger(fix, {"Makefile": Readers(is_rule=True)}, {}, rules_same=False).files
    assert [(a.fate, a.reason) for a in file.accounts] == [(Fate.NO_CODE, "only its mode changes")]
