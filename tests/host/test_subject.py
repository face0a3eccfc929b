"""A process as reports name it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from suture.host.subject import belongs_to, process
from suture.process.tracee import read_stat

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "unit", "container"),
    [
        ("0::/system.slice/nginx.service\n", "nginx.service", ""),
        ("0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n", "postgresql@15-main.service", ""),
        (f"0::/system.slice/docker-{ID}.scope\n", f"docker-{ID}.scope", ID),
        (f"0::/docker/{ID}\n", "", ID),
        (f"12:memory:/docker/{ID}\n1:name=systemd:/\n", "", ID),
        (
            f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope\n",
            f"cri-containerd-{ID}.scope",
            ID,
        ),
        (f"0::/machine.slice/libpod-{ID}.scope/container\n", f"libpod-{ID}.scope", ID),
        ("0::/lxc.payload.web/system.slice/apache2.service\n", "apache2.service", "web"),
        ("0::/machine.slice/machine-web.scope\n", "machine-web.scope", "web"),
        (r"0::/machine.slice/systemd-nspawn@we\x2db.service/payload" + "\n", "systemd-nspawn@we-b.service", "we-b"),
        ("0::/user.slice/user-0.slice/session-3.scope\n", "session-3.scope", ""),
        ("0::/\n", "", ""),
        ("", "", ""),
        ("nonsense\n", "", ""),
    ],
)
def test_unit_and_container_are_told_by_the_control_group(text: str, unit: str, container: str) -> None:
    assert belongs_to(text) == (unit, container)


def test_a_process_is_named_by_number_start_and_program() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            while os.readlink(f"/proc/{child.pid}/exe") == os.path.realpath(sys.executable):
                pass
            found = process(child.pid)
            assert (found.pid, found.start_time) == (child.pid, read_stat(child.pid).start_time)
            assert found.command == "sleep" and found.program == os.readlink(f"/proc/{child.pid}/exe")
        finally:
            child.kill()
    gone = process(child.pid)
    assert (gone.pid, gone.start_time, gone.program, gone.unit) == (child.pid, 0, "", "")
