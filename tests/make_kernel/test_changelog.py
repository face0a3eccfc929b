"""The kernel's changelog as titles of commits with their CVEs, and the files that a title may mean. The text is from
linux 6.1.192-1 of bookworm-security."""

from __future__ import annotations

import pytest

from suture.make_kernel.changelog import StableCommit, commits_between, meant

TEXT = """\
linux (6.1.192-2) bookworm-security; urgency=high

  * ext4: fix NULL folio dereference in mballoc (Closes: #1154101)

 -- Salvatore Bonaccorso <carnil@debian.org>  Mon, 16 Nov 2026 11:17:40 +0100

linux (6.1.192-1) bookworm-security; urgency=high

  * New upstream stable update:
    https://www.kernel.org/pub/linux/kernel/v6.x/ChangeLog-6.1.191
    - io_uring/io-wq: don't lose the signal that ends work (CVE-2026-99228)
    - apparmor: fix out-of-bounds write when null terminating a label vec
      (CVE-2026-89761)
    - [x86] KVM: nVMX: Put vmcs12 pages if nested VM-Enter fails (CVE-2026-1001)
    - [arm64,armhf] spi: lpspi: Avoid use-after-free in probe() (CVE-2026-1002)

  [ Salvatore Bonaccorso ]
  * xen-netback: Zero out sring pointers on unmap (CVE-2026-99287)

 -- Salvatore Bonaccorso <carnil@debian.org>  Sat, 14 Nov 2026 11:29:00 +0100

linux (6.1.190-1) bookworm-security; urgency=high

    - old: this was fixed before (CVE-2026-1003)

 -- Salvatore Bonaccorso <carnil@debian.org>  Sat, 7 Nov 2026 11:29:00 +0100
"""


def test_a_title_has_its_cve_though_it_is_wrapped_and_no_other() -> None:
    found = {c.title: c for c in commits_between(TEXT, "6.1.190-1", "6.1.192-2")}
    assert found["apparmor: fix out-of-bounds write when null terminating a label vec"].cves == ("CVE-2026-89761",)
    assert found["ext4: fix NULL folio dereference in mballoc"].cves == ()
    assert found["xen-netback: Zero out sring pointers on unmap"].cves == ("CVE-2026-99287",)
    assert not any("CVE-2026-1003" in c.cves for c in found.values()), "the older version has it"


def test_entries_after_the_newer_version_are_not_read() -> None:
    assert not any(c.title.startswith("ext4") for c in commits_between(TEXT, "6.1.190-1", "6.1.192-1"))


def test_a_change_for_other_architectures_is_told_and_one_for_this_is_not() -> None:
    found = commits_between(TEXT, "6.1.190-1", "6.1.192-1")
    assert [c.subsystem for c in found if c.is_elsewhere] == [("spi", "lpspi")]
    assert [c.subsystem for c in found if c.title.startswith("KVM")] == [("kvm", "nvmx")]


DIFFERENCES = {
    "security/apparmor/label.c": "+	vec[n] = NULL;\n",
    "fs/smb/server/smb2pdu.c": "+	smb2_open_checked();\n",
    "fs/smb/server/ksmbd_work.c": "+	free(work);\n",
    "io_uring/io-wq.c": "+	lost();\n",
}
MODULES = {"fs/smb/server/smb2pdu.c": "ksmbd", "fs/smb/server/ksmbd_work.c": "ksmbd"}


@pytest.mark.parametrize(
    ("title", "files"),
    [
        ("apparmor: fix a write", {"security/apparmor/label.c"}),
        ("io_uring/io-wq: don't lose the signal", {"io_uring/io-wq.c"}),
        ("ksmbd: fix maximum allowed access", {"fs/smb/server/smb2pdu.c", "fs/smb/server/ksmbd_work.c"}),
        ("ksmbd: check smb2_open_checked() twice", {"fs/smb/server/smb2pdu.c"}),
        ("tracing: save the event file", set()),
        ("fix a race", set()),
    ],
)
def test_a_title_means_the_files_whose_path_or_module_has_all_of_its_words(title: str, files: set[str]) -> None:
    assert meant(StableCommit(title), DIFFERENCES, MODULES) == files
