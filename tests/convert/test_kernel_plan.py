"""Which changes of a kernel may be for which CVE, and in which order they are tried."""

from __future__ import annotations

from suture.convert.kernel_plan import claims, in_order
from suture.make_kernel.changelog import StableCommit
from suture.source.fix import FilePatch, Fix, parse


def fix(name: str, path: str) -> Fix:
    return parse(f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-a\n+{name}\n", name)


def files(*fixes: Fix) -> list[FilePatch]:
    return [p for f in fixes for p in f.files]


EXT4, EXT4_TOO, SKGE = fix("a", "fs/ext4/inode.c"), fix("b", "fs/ext4/super.c"), fix("c", "drivers/net/skge.c")
TOOL = fix("d", "tools/perf/perf.c")


def test_all_changes_of_the_files_that_a_title_means_stand_for_its_cve() -> None:
    candidates, elsewhere = claims(
        [StableCommit("ext4: fix it", ("CVE-2026-1111",)), StableCommit("ext4: inode: fix it", ("CVE-2026-2222",))],
        [EXT4, EXT4_TOO], files(EXT4, EXT4_TOO), {},
    )  # fmt: skip
    assert candidates == {"CVE-2026-1111": ("a", "b"), "CVE-2026-2222": ("a",)} and not elsewhere


def test_a_title_that_means_no_changed_file_leaves_its_cve_without_candidates() -> None:
    candidates, elsewhere = claims([StableCommit("perf: fix it", ("CVE-2026-1111",))], [EXT4], files(EXT4, TOOL), {})
    assert candidates == {"CVE-2026-1111": ()} and not elsewhere, "what tools/ has of that name is not the kernel"


def test_other_architectures_and_drivers_that_the_kernel_lacks_are_elsewhere() -> None:
    commits = [
        StableCommit("arm: fix it", ("CVE-2026-1111",), is_elsewhere=True),
        StableCommit("net: skge: fix it", ("CVE-2026-2222",)),
    ]
    candidates, elsewhere = claims(commits, [EXT4], files(EXT4, SKGE), {})
    assert candidates == {} and elsewhere == {"CVE-2026-1111", "CVE-2026-2222"}
    candidates, elsewhere = claims(commits, [EXT4, SKGE], files(EXT4, SKGE), {})
    assert candidates == {"CVE-2026-2222": ("c",)} and elsewhere == {"CVE-2026-1111"}


def test_what_closes_a_cve_with_the_fewest_others_is_tried_first() -> None:
    assert in_order([EXT4, EXT4_TOO, SKGE], {"X": ("a", "b"), "Y": ("c",), "Z": ()}) == [SKGE, EXT4, EXT4_TOO]
