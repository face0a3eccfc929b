"""The host that a report is about."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kernel:
    """The running kernel. `version` is the source's; `effective` a version all of whose fixes are in, by live patches
    too; `fixes` and `cves` are what live patches bring on top. `build_id` is vmlinux's, "" where sysfs does not show
    it."""

    release: str
    version: str
    effective: str
    build_id: str
    fixes: tuple[str, ...] = ()
    cves: tuple[str, ...] = ()

    def line(self) -> str:
        """One line, as `uname` has it."""
        more = f"+{len(self.fixes)} fixes" if self.fixes and self.effective == self.version else ""
        return f"Linux {self.release} {self.effective}{more}"


@dataclass(frozen=True)
class Host:
    """`id` stays the same until the system is installed anew, and tells nothing of /etc/machine-id, which it is made
    from; "" where there is none. `boot_id` is another one after each boot."""

    id: str
    name: str
    boot_id: str
    architecture: str
    kernel: Kernel
