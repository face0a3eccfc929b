"""The whole way on the archive's own kernel: made here, applied and reverted by Suture inside the guest."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from suture.error import ExitCode
from suture.machine.vm import Guest
from suture.make_kernel.make import KernelMaking, make
from suture.make_kernel.request import KernelRequest, ready
from suture.make_kernel.target import find
from suture.patch.seal import seal

pytestmark = [pytest.mark.archive, pytest.mark.slow]
VERSION = "6.1.176-1"
_FIXES = Path(__file__).resolve().parents[1] / "kernel" / "fixes"
_PROBE = Path(__file__).resolve().parents[2] / "bench" / "kernel_probes" / "vt_meta.py"


def made(*fixes: str, replace: bool = False, callbacks: str = "") -> KernelMaking:
    texts = tuple((n, (_FIXES / n).read_text()) for n in fixes)
    return make(ready(KernelRequest(f"linux={VERSION}", texts, replace=replace, callbacks=callbacks)))


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with Guest(find(VERSION)) as machine:
        (machine.share / "probe.py").write_bytes(_PROBE.read_bytes())
        yield machine


def put(guest: Guest, patch: KernelMaking) -> str:
    name = f"{patch.manifest.module}.ko"
    (guest.share / name).write_bytes(patch.data)
    return f"/mnt/{name}"


def probe(guest: Guest) -> str:
    return guest.python("/mnt/probe.py").output.strip()


def clean(guest: Guest) -> None:
    said = guest.run("dmesg").output
    assert not [x for x in said.splitlines() if "BUG:" in x or "WARNING:" in x or "Oops" in x]


_FROM_ELSEWHERE = """
import suture
from suture.make_kernel.target import find
from suture.machine.vm import Guest
with Guest(find({version!r})) as guest:
    answer = guest.suture("--version")
print(suture.__file__, answer.status, answer.output)
"""


def test_a_checkout_may_lie_in_a_folder_that_the_guest_has_of_its_own(tmp_path: Path) -> None:
    """/tmp, as everyone's clone for a quick look: the guest's own /tmp hides the host's."""
    assert tmp_path.is_relative_to("/tmp")
    checkout = Path(__file__).resolve().parents[2]
    shutil.copytree(checkout / "src", tmp_path / "src")
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    words = [sys.executable, "-c", _FROM_ELSEWHERE.format(version=VERSION)]
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    where, status, said = done.stdout.split(maxsplit=2)
    assert where.startswith(str(tmp_path)) and (status, said[:7]) == ("0", "suture "), done.stdout


def test_a_fix_changes_behaviour_while_it_is_applied_and_not_after(guest: Guest) -> None:
    patch = made("kdskbmeta.patch")
    path, name = put(guest, patch), patch.manifest.module
    assert probe(guest) == "allowed"
    applied = guest.suture(f"apply {path} --timeout 90 --json")
    assert applied.status == 0, applied.output
    assert probe(guest) == "Operation not permitted"
    status = json.loads(guest.suture("status --kernel --json").output)
    assert [(p["name"], p["enabled"], p["functions"]) for p in status["kernel"]["patches"]] == [
        (name, True, [{"object": "vmlinux", "name": "vt_ioctl", "position": 1}])
    ]
    assert guest.suture(f"revert {name} --timeout 90").status == 0
    assert probe(guest) == "allowed"
    assert name not in guest.run("cat /proc/modules").output
    clean(guest)


def test_kallsyms_of_the_image_are_those_of_the_running_kernel(guest: Guest) -> None:
    from suture.make_kernel.image import read_vmlinux

    rows = guest.run("grep -v '\\[' /proc/kallsyms").output.splitlines()
    running = [(int(a, 16), n) for a, _, n in (x.split() for x in rows)]
    image = read_vmlinux(find(VERSION).vmlinuz)
    shift = next(a for a, n in running if n == "_text") - image.names["_text"][0]
    order: dict[str, list[int]] = {}
    for address, name in running:
        order.setdefault(name, []).append(address)
    percpu = image.names["__per_cpu_end"][0]
    wrong = [
        n
        for n, found in image.names.items()
        if [a if a <= percpu else a + shift for a in found] != order.get(n) and not n.startswith("bpf_prog_")
    ]
    assert len(image.names) > 80000 and wrong == []


def test_a_task_that_sleeps_in_the_function_holds_the_transition_up_and_is_named(guest: Guest) -> None:
    patch = made("pipe_read.patch")
    path = put(guest, patch)
    # a writer keeps the pipe open, so that the reader sleeps inside pipe_read()
    guest.run(
        "mkfifo /tmp/held; (sleep 600 >/tmp/held & echo $! >/tmp/held.pid); (dd if=/tmp/held of=/dev/null bs=1 "
        "count=1 & echo $! >>/tmp/held.pid); sleep 1"
    )
    answer = guest.suture(f"apply {path} --timeout 3")
    assert answer.status == 4, answer.output
    assert re.search(r"dd \(pid \d+, task \d+, S\): .*\bpipe_read\b", answer.output) and "taken back" in answer.output
    assert guest.run("ls /sys/kernel/livepatch").output.strip() == ""
    guest.run("kill $(cat /tmp/held.pid)")
    clean(guest)


def test_a_cumulative_patch_takes_the_place_of_the_one_before_in_one_step(guest: Guest) -> None:
    one, both = made("kdskbmeta.patch"), made("kdskbmeta.patch", "pipe_read.patch", replace=True)
    first, second = put(guest, one), put(guest, both)
    assert guest.suture(f"apply {first} --timeout 90").status == 0
    again = made("kdskbmeta.patch", "pipe_read.patch")
    refused = guest.suture(f"apply {put(guest, again)}")
    assert refused.status == 3 and "vmlinux:vt_ioctl" in refused.output
    answer = guest.suture(f"apply {second} --timeout 120 --json")
    assert answer.status == 0, answer.output
    assert json.loads(answer.output)["kernel"]["replaced"] == [one.manifest.module]
    assert probe(guest) == "Operation not permitted"
    assert guest.suture(f"revert {both.manifest.module} --timeout 120").status == 0
    assert probe(guest) == "allowed"
    clean(guest)


def test_callbacks_run_around_the_transition(guest: Guest) -> None:
    text = (
        "// SPDX-License-Identifier: GPL-2.0\n#include <linux/kernel.h>\n#include <linux/livepatch.h>\n"
        'int suture_pre_patch(struct klp_object *obj)\n{\n\tpr_info("callback: before\\n");\n\treturn 0;\n}\n'
        'void suture_post_unpatch(struct klp_object *obj)\n{\n\tpr_info("callback: after\\n");\n}\n'
    )
    patch = made("kdskbmeta.patch", callbacks=text)
    assert guest.suture(f"apply {put(guest, patch)} --timeout 90 --accept-partial").status == 0
    assert "callback: before" in guest.run("dmesg").output
    assert guest.suture(f"revert {patch.manifest.module} --timeout 90").status == 0
    assert "callback: after" in guest.run("dmesg").output


def test_the_patch_of_another_kernel_is_the_wrong_target(guest: Guest) -> None:
    data = made("kdskbmeta.patch").data
    altered = data.replace(b"6.1.0-50-amd64", b"6.1.0-51-amd64")
    (guest.share / "altered.ko").write_bytes(altered)
    (guest.share / "other.ko").write_bytes(seal(altered[: -len(seal(b""))]))
    assert guest.suture("apply /mnt/altered.ko").status == ExitCode.BAD_PATCH
    refused = guest.suture("apply /mnt/other.ko")
    assert refused.status == ExitCode.WRONG_TARGET and "6.1.0-51-amd64" in refused.output, refused.output


def test_new_code_of_a_module_calls_other_modules_where_they_are(guest: Guest) -> None:
    """Code of fou calls udp_tunnel: the kernel fills that in when it patches fou, or not at all."""
    bench = _PROBE.parents[1]
    fix = next(f for f in tomllib.loads((bench / "kernel_behaviour.toml").read_text())["fix"] if "fou" in f["name"])
    patch = make(ready(KernelRequest(f"linux={VERSION}", to="6.1.192-2", only=tuple(fix["only"]))))
    assert any(".klp.sym.udp_tunnel." in s.name for s in patch.manifest.symbols)
    loaded = [guest.target.module(n) for n in ("ip_tunnel", "udp_tunnel", "ip6_udp_tunnel", "fou")]
    for place in loaded:
        assert place is not None and guest.run(f"insmod /host{place}").status == 0
    (guest.share / "fou.py").write_bytes((bench / "kernel_probes" / fix["probe"]).read_bytes())
    assert guest.python("/mnt/fou.py").output.strip() == "accepted"
    assert guest.suture(f"apply {put(guest, patch)} --timeout 90 --accept-partial").status == 0
    assert guest.python("/mnt/fou.py").output.strip() == "errno 22"
    assert guest.suture(f"revert {patch.manifest.module} --timeout 90").status == 0
    assert guest.python("/mnt/fou.py").output.strip() == "accepted"
    clean(guest)


_ASK = """
import fcntl, os, sys, termios
pipes = [os.pipe() for _ in range(2)]
def ask(end):
    try:
        return fcntl.ioctl(end, termios.FIONREAD, b"\\0" * 4).hex()
    except OSError as problem:
        return os.strerror(problem.errno)
print([[ask(pipe[0]) for _ in range(3)] for pipe in pipes])
"""


def test_new_state_of_old_objects_is_kept_in_shadow_variables(guest: Guest) -> None:
    """The fix counts for each pipe how often it was asked: the layout of pipes stays, and the count goes with them."""
    patch = made("pipe_asked.patch", callbacks=(_FIXES / "pipe_asked.c").read_text())
    (guest.share / "ask.py").write_text(_ASK)
    busy, zero = "Device or resource busy", "00000000"
    assert guest.python("/mnt/ask.py").output.strip() == str([[zero] * 3] * 2)
    assert guest.suture(f"apply {put(guest, patch)} --timeout 90 --accept-partial").status == 0
    for _ in range(20):  # pipes are born and go: a new pipe at an old one's address begins anew
        assert guest.python("/mnt/ask.py").output.strip() == str([[zero, zero, busy]] * 2)
    assert guest.suture(f"revert {patch.manifest.module} --timeout 90").status == 0
    assert guest.python("/mnt/ask.py").output.strip() == str([[zero] * 3] * 2)
    clean(guest)


_SPECIAL = """
import ctypes, errno, json, mmap, os, signal
libc = ctypes.CDLL(None, use_errno=True)
os.makedirs("/tmp/seen", exist_ok=True)
open("/tmp/seen/suture-hidden", "w").close(); open("/tmp/seen/plain", "w").close()
folder = os.open("/tmp/seen", os.O_RDONLY)
fault = errno.errorcode.get(ctypes.get_errno()) if libc.syscall(217,
    folder, ctypes.c_void_p(4096), 4096) == -1 else "written"
mode = errno.errorcode.get(ctypes.get_errno()) if libc.prctl(26, 77, 0, 0, 0) else "set"
child = os.fork()
if not child:
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("0f31c3"))  # rdtsc; ret
    read = ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    libc.prctl(26, 1, 0, 0, 0)
    read()
    libc.prctl(26, 2, 0, 0, 0)
    read()
    os._exit(7)
print(json.dumps([sorted(os.listdir("/tmp/seen")), fault, mode, -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]))
"""


def test_special_sections_work_in_new_code(guest: Guest) -> None:
    """Exceptions in filldir64(), a warning, CPU features and tracepoints (jump labels, static calls) in fpu_clone(),
    paravirtualisation in set_tsc_mode(); .orc_unwind for the transitions of all of them.
    """
    patch = made("special.patch")
    (guest.share / "special.py").write_text(_SPECIAL)
    trace = "/sys/kernel/tracing"
    guest.run(f"mount -t tracefs tracefs {trace}")
    before = [["plain", "suture-hidden"], "EFAULT", "EINVAL", 11]
    assert json.loads(guest.python("/mnt/special.py").output) == before
    assert guest.suture(f"apply {put(guest, patch)} --timeout 90 --accept-partial").status == 0
    after = [["plain"], "EFAULT", "EPERM", 11]
    assert json.loads(guest.python("/mnt/special.py").output) == after
    assert guest.run("dmesg | grep -c 'a task is copied by new code'").output.strip() == "1"
    assert guest.run(f"grep -c x86_fpu_copy_dst {trace}/trace").output.strip() == "0"
    guest.run(f"echo 1 >{trace}/events/x86_fpu/x86_fpu_copy_dst/enable; (true); (true)")
    guest.run(f"echo 0 >{trace}/events/x86_fpu/x86_fpu_copy_dst/enable")
    assert int(guest.run(f"grep -c x86_fpu_copy_dst: {trace}/trace").output) > 1
    assert json.loads(guest.python("/mnt/special.py").output) == after
    assert guest.suture(f"revert {patch.manifest.module} --timeout 90").status == 0
    assert json.loads(guest.python("/mnt/special.py").output) == before
    warned = [x for x in guest.run("dmesg -c").output.splitlines() if "WARNING:" in x or "BUG:" in x or "Oops" in x]
    assert len(warned) == 1 and "arch/x86/kernel/fpu/core.c:643" in warned[0]
    clean(guest)


# RTM_NEWLINK with IFLA_BR_MULTI_BOOLOPT, which the archive's ip does not know yet (linux/if_link.h, if_bridge.h)
_TREES = """
import os, socket, struct, sys
def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)
MST = 1 << 2
option = attribute(46, struct.pack("=II", MST * int(sys.argv[1]), MST))
info = attribute(18, attribute(1, b"bridge\\0") + attribute(2, option))
body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex("bridge0"), 0, 0) + info
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
netlink.send(struct.pack("=IHHII", 16 + len(body), 16, 5, 1, 0) + body)
error = struct.unpack_from("=i", netlink.recv(8192), 16)[0]
if error:
    sys.exit(os.strerror(-error))
"""


def test_new_code_of_a_module_sees_its_static_keys_as_they_are_now(guest: Guest) -> None:
    """A jump label of a module can't be in a patch, so new code reads the key: it follows when bridge switches it."""
    patch = made("bridge_trees.patch")
    assert any("br_mst_used" in n for n in patch.manifest.notes)
    for name in ("veth", "llc", "stp", "bridge"):
        place = guest.target.module(name)
        assert place is not None and guest.run(f"insmod /host{place}").status == 0
    link = "chroot /host /usr/bin/env PATH=/usr/sbin:/usr/bin:/sbin:/bin ip link"

    def links() -> None:
        for words in (
            "add bridge0 type bridge vlan_default_pvid 0", "add one type veth peer name two", "set one master bridge0",
            "set bridge0 up", "set one up", "set two up",
        ):  # fmt: skip
            assert guest.run(f"{link} {words}").status == 0

    links()
    send = (
        "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('two', 0)); s.send(b'\\xff' * "
        "6 + b'\\x02' * 6 + bytes(60))"
    )
    (guest.share / "send.py").write_text(send)
    (guest.share / "trees.py").write_text(_TREES)

    def said() -> str:
        guest.run("dmesg -c >/dev/null")
        assert guest.python("/mnt/send.py").status == 0
        lines = guest.run("dmesg").output.splitlines()
        return next((x.partition("suture: ")[2] for x in lines if "suture: " in x), "")

    assert said() == ""
    applied = guest.suture(f"apply {put(guest, patch)} --timeout 90 --accept-partial")
    assert applied.status == 0, applied.output
    assert said() == "one tree"
    assert guest.python("/mnt/trees.py 1").output == ""
    assert said() == "many trees"
    assert guest.python("/mnt/trees.py 0").output == ""
    assert said() == "one tree"
    assert guest.suture(f"revert {patch.manifest.module} --timeout 90").status == 0
    assert said() == ""

    # and a module that comes after the patch is patched as it comes
    assert guest.run(f"{link} del one; {link} del bridge0; rmmod bridge").status == 0
    assert guest.suture(f"apply {put(guest, patch)} --timeout 90 --accept-partial").status == 0
    assert guest.run(f"insmod /host{guest.target.module('bridge')}").status == 0
    links()
    assert said() == "one tree"
    assert guest.suture(f"revert {patch.manifest.module} --timeout 90").status == 0
    assert said() == ""
    clean(guest)
