"""What the kernel itself refuses, and what is loaded again after a reboot: the archive's kernel, started with other
options or anew."""

from __future__ import annotations

import shutil
import ssl
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from suture.machine.vm import Guest, GuestAnswer, GuestFailed
from suture.make_kernel.make import KernelMaking, make
from suture.make_kernel.request import KernelRequest, ready
from suture.make_kernel.signature import sign
from suture.make_kernel.target import find

pytestmark = [pytest.mark.archive, pytest.mark.slow]
VERSION = "6.1.176-1"
_FIX = Path(__file__).resolve().parents[1] / "kernel/fixes/kdskbmeta.patch"
_PANIC = (
    "// SPDX-License-Identifier: GPL-2.0\n#include <linux/kernel.h>\n#include <linux/livepatch.h>\n"
    'int suture_pre_patch(struct klp_object *obj)\n{\n\tpanic("the patch ends the machine");\n}\n'
)
_COMMAND = """
import os, runpy, sys
os.environ["SUTURE_STATE"] = "/mnt/state"
module, *sys.argv[1:] = sys.argv[1:]
runpy.run_module(module, run_name="__main__")
"""


def made(callbacks: str = "") -> KernelMaking:
    return make(ready(KernelRequest(f"linux={VERSION}", ((_FIX.name, _FIX.read_text()),), callbacks=callbacks)))


def put(guest: Guest, patch: KernelMaking, name: str = "") -> str:
    (guest.share / f"{name or patch.manifest.module}.ko").write_bytes(patch.data)
    return f"/mnt/{name or patch.manifest.module}.ko"


@pytest.mark.parametrize(
    ("option", "words"),
    [("module.sig_enforce=1", "enforces module signatures"), ("lockdown=integrity", "is locked down (integrity)")],
)
def test_a_kernel_that_wants_signatures_is_told_of_before_anything_is_loaded(option: str, words: str) -> None:
    patch = made()
    with Guest(find(VERSION), append=option) as guest:
        answer = guest.suture(f"apply {put(guest, patch)}")
        assert answer.status == 3 and words in answer.output and "--sign-key" in answer.output, answer.output
        assert guest.run("ls /sys/kernel/livepatch").output.strip() == ""
        assert "livepatch" not in guest.run("dmesg").output


def variables_with_key(path: Path, certificate: bytes) -> None:
    """UEFI's variables with one certificate (DER) in db, the keys that what is started may be signed with. Formats:
    UEFI 2.10, 32.4.1 (EFI_SIGNATURE_LIST); edk2, MdeModulePkg/Include/Guid/VariableFormat.h
    (AUTHENTICATED_VARIABLE_HEADER).
    """
    x509, owner = UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072"), UUID("77fa9abd-0359-4d32-bd60-28f4e78f784b")
    database = UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
    name = "db\0".encode("utf-16le")
    data = owner.bytes_le + certificate
    data = x509.bytes_le + struct.pack("<III", 28 + len(data), 0, len(data)) + data
    added, attributes = (
        0x3F,
        0x27,
    )  # NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS, TIME_BASED_AUTHENTICATED_WRITE_ACCESS
    head = struct.pack("<HBBIQ16xIII", 0x55AA, added, 0, attributes, 0, 0, len(name), len(data)) + database.bytes_le
    store = bytearray(Path("/usr/share/OVMF/OVMF_VARS_4M.fd").read_bytes())
    first = 0x64  # behind the headers of the volume and of the store; 0xff is free
    assert set(store[first : first + 4096]) == {0xFF}
    store[first : first + len(head + name + data)] = head + name + data
    path.write_bytes(store)


def test_a_kernel_that_wants_signatures_takes_a_patch_signed_with_a_key_that_it_trusts(tmp_path: Path) -> None:
    patch = made()
    keys = []
    for name in ("known", "unknown"):
        key, certificate = tmp_path / f"{name}.key", tmp_path / f"{name}.pem"
        words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "30"]
        subprocess.run([*words, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
        keys.append((key, certificate))
    variables_with_key(tmp_path / "variables", ssl.PEM_cert_to_DER_cert(keys[0][1].read_text()))
    firmware = (Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), tmp_path / "variables")
    with Guest(find(VERSION), append="module.sig_enforce=1", firmware=firmware) as guest:
        assert "Loaded X.509 cert 'known" in guest.run("dmesg").output
        good, other = (replace(patch, data=sign(patch.data, *pair)) for pair in keys)
        answer = guest.suture(f"apply {put(guest, other, 'other')} --timeout 90")
        assert answer.status == 3 and "its signature is not accepted" in answer.output, answer.output
        assert guest.run("ls /sys/kernel/livepatch").output.strip() == ""
        answer = guest.suture(f"apply {put(guest, good)} --timeout 90")
        assert answer.status == 0, answer.output
        assert guest.run("ls /sys/kernel/livepatch").output.strip() == patch.manifest.module
        assert guest.suture(f"revert {patch.manifest.module} --timeout 90").status == 0


def command(guest: Guest, words: str) -> GuestAnswer:
    """A Suture command whose state outlives the guest."""
    (guest.share / "command.py").write_text(_COMMAND)
    return guest.python(f"/mnt/command.py {words}")


def boot(state: Path | None) -> Guest:
    """The next start of the machine, with the disk of the one before."""
    guest = Guest(find(VERSION))
    guest.__enter__()
    if state is not None:
        shutil.copytree(state, guest.share / "state")
    return guest


def kept(guest: Guest, tmp_path: Path, name: str) -> Path:
    """The machine ends; its disk stays."""
    place = tmp_path / name
    shutil.copytree(guest.share / "state", place)
    guest.__exit__(None, None, None)
    return place


def test_a_kept_patch_is_in_force_after_a_reboot_and_one_that_ends_the_machine_is_not_tried_again(
    tmp_path: Path,
) -> None:
    patch, deadly = made(), made(_PANIC)
    first = boot(None)
    applied = command(first, f"suture.cli apply {put(first, patch)} --at-boot --timeout 90")
    assert applied.status == 0, applied.output
    assert command(first, "suture.kernel.boot settled").status == 0
    second = boot(kept(first, tmp_path, "first"))
    assert patch.manifest.module not in second.run("cat /proc/modules").output
    loaded = command(second, "suture.kernel.boot load")
    assert (loaded.status, loaded.output.strip()) == (0, f"{patch.manifest.module}: applied")
    assert f"at boot: {patch.manifest.module}: loaded at boot" in command(second, "suture.cli status --kernel").output
    assert command(second, "suture.kernel.boot settled").status == 0
    # what would end the machine takes its place, as an update might
    (place,) = (second.share / "state/kernel").glob("*/*.ko")
    place.write_bytes(deadly.data)
    third = boot(kept(second, tmp_path, "second"))
    with pytest.raises(GuestFailed):
        command(third, "suture.kernel.boot load")
    assert "the patch ends the machine" in third.console
    fourth = boot(kept(third, tmp_path, "third"))
    try:
        held = command(fourth, "suture.kernel.boot load")
        assert held.status == 3 and "not tried again, the machine died while loading it" in held.output
        assert "held back: the machine died" in command(fourth, "suture.cli status --kernel").output
        assert fourth.run("ls /sys/kernel/livepatch").output.strip() == ""
    finally:
        fourth.__exit__(None, None, None)
