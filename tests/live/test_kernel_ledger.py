"""Fixes for the archive's kernel whose lines are easily lost: each is compiled wherever its files are read, and
accounted for."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import pytest

from suture.compile.job import CompileFailed
from suture.delta.ledger import Fate
from suture.error import Refused
from suture.make_kernel.make import KernelMaking, make
from suture.make_kernel.prepare import prepare
from suture.make_kernel.request import KernelRequest, ready
from suture.make_kernel.target import find

pytestmark = [pytest.mark.archive, pytest.mark.slow]
_VERSION = "6.1.176-1"


def made(changes: Mapping[str, tuple[str, str]]) -> KernelMaking:
    """A patch of a fix that puts other text into files: for each path what there is, once, and what takes its place."""
    tree = prepare(find(_VERSION))
    text = ""
    for path, (old, new) in changes.items():
        before = (tree.files / path).read_text()
        assert before.count(old) == 1, f"{path} has {before.count(old)} times {old!r}"
        one, two = (x.splitlines(keepends=True) for x in (before, before.replace(old, new)))
        text += "".join(difflib.unified_diff(one, two, f"a/{path}", f"b/{path}"))
    return make(ready(KernelRequest(f"linux={_VERSION}", (("x.patch", text),))))


def fates(patch: KernelMaking) -> dict[str, set[Fate]]:
    return {f.path: {a.fate for a in f.accounts} for f in patch.manifest.fixes[0].ledger.files}


_EM = (
    "net/sched/em_text.c",
    ("conf->from_layer > conf->to_layer)", "conf->from_layer > conf->to_layer || conf->to_layer > 8)"),
)


def test_a_c_file_is_patched_in_the_unit_that_includes_it_and_in_each_of_two() -> None:
    patch = made({
        "kernel/sched/rt.c": ("if (task->nr_cpus_allowed == 1)", "if (task->nr_cpus_allowed <= 1)"),
        "fs/binfmt_elf.c": ("\tif (elf_ex->e_type != ET_EXEC && elf_ex->e_type != ET_DYN)\n\t\tgoto out;\n\tif "
            "(!elf_check_arch(elf_ex))", "\tif (elf_ex->e_phnum > 4096)\n\t\tgoto out;\n"
                "\tif (elf_ex->e_type != ET_EXEC && elf_ex->e_type != ET_DYN)\n"
                "\t\tgoto out;\n\tif (!elf_check_arch(elf_ex))"),
    })  # fmt: skip
    sources = {f.source for f in patch.manifest.functions}
    assert {"kernel/sched/build_policy.c", "fs/binfmt_elf.c", "fs/compat_binfmt_elf.c"} <= sources
    assert patch.manifest.is_complete and set.union(*fates(patch).values()) == {Fate.PATCHED}


def test_all_users_of_an_anonymous_enum_are_patched() -> None:
    patch = made({"net/bridge/br_private.h": ("BR_GROUPFWD_LACP\t= BIT(2),", "BR_GROUPFWD_LACP\t= BIT(2) | BIT(3),")})
    assert {f.source for f in patch.manifest.functions} == {"net/bridge/br_netlink.c", "net/bridge/br_sysfs_br.c"}


def test_users_of_a_header_in_another_folder_are_found_and_named_when_they_cannot_be_patched() -> None:
    """A trace event of another folder reads the macro; the tracer does not enter it."""
    old = "#define ITEM_TYPE(i)\t(*(unsigned short *)(i)->ri_buf[0].i_addr)"
    new = old.replace("(*(", "((i)->ri_buf ? *(").replace("i_addr)", "i_addr : 0)")
    with pytest.raises(Refused) as raised:
        made({"fs/xfs/libxfs/xfs_log_recover.h": (old, new)})
    said = raised.value.what
    assert "perf_trace_xfs_log_recover_item_class" in said and "notrace" in said


def test_a_new_module_parameter_is_missing_and_a_list_of_people_is_no_code() -> None:
    path, change = _EM
    patch = made({path: change, "MAINTAINERS": ("M:\tSteffen Klassert <klassert@kernel.org>", "M:\tNobody")})
    assert patch.manifest.is_complete and fates(patch)["MAINTAINERS"] == {Fate.NO_CODE}
    function = "static int em_text_change("
    new = f"static unsigned int most = 3;\nmodule_param(most, uint, 0600);\n{function}"
    tree = prepare(find(_VERSION))
    whole = (tree.files / path).read_text()
    start = whole[whole.index(function) : whole.index(change[0]) + len(change[0])]
    patch = made({path: (start, start.replace(function, new).replace(change[0], change[1].replace("8", "most")))})
    (missing,) = patch.manifest.fixes[0].ledger.missing
    assert "the module parameter most" in missing.reason and missing.lines == 1 and not patch.manifest.is_complete


def test_a_debug_message_behind_a_new_branch_stays_the_one_that_runs() -> None:
    old = '\tpr_debug("conntrack_ftp: match `%.*s\' (%u bytes at %u)\\n",'
    new = f"\tif (matchlen > 64) {{\n\t\tret = NF_ACCEPT;\n\t\tgoto out;\n\t}}\n{old}"
    patch = made({"net/netfilter/nf_conntrack_ftp.c": (old, new)})
    assert [f.name for f in patch.manifest.functions] == ["help"] and patch.manifest.is_complete


def test_a_function_of_vmlinux_that_nothing_exports_is_called() -> None:
    old = "void ext4_evict_inode(struct inode *inode)\n{\n"
    patch = made(
        {
            "fs/ext4/inode.c": (
                old,
                f"extern void __iget(struct inode *);\n{old}\tif (inode->i_ino == ~0UL)\n\t\t__iget(inode);\n",
            )
        }
    )
    assert ".klp.sym.vmlinux.__iget,0" in {s.name for s in patch.manifest.symbols}


def test_an_error_of_the_compiler_quotes_the_line_of_the_fix() -> None:
    path, (old, new) = _EM
    with pytest.raises(CompileFailed) as raised:
        made({path: (old, f"{new}\n\t\treturn -EPERM;\n\tif (no_such_variable)")})
    lines = raised.value.what.split("\n")
    (at,) = [n for n, x in enumerate(lines) if "error: " in x and "no_such_variable" in x]
    assert "if (no_such_variable)" in lines[at + 1]
