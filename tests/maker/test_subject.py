"""What a process was built from, as the files of its own root tell."""

from __future__ import annotations

import subprocess
from pathlib import Path

from suture.maker.subject import Mapped, NamedSource, find, place
from suture.number import BuildId
from suture.progress import silent
from suture.source.origin import codename

PROGRAM = '#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts("up"); fflush(stdout); pause(); return 0; }\n'


def root_with(folder: Path, package: str, version: str, path: str) -> Path:
    """A root folder whose dpkg has installed one package with one file."""
    database = folder / "var/lib/dpkg"
    (database / "info").mkdir(parents=True)
    (database / "updates").mkdir()
    fields = {"Package": package, "Status": "install ok installed", "Version": version, "Architecture": "amd64"}
    fields |= {"Maintainer": "a <a@b>", "Description": "x", "Source": "server-source"}
    (database / "status").write_text("".join(f"{k}: {v}\n" for k, v in fields.items()) + "\n")
    (database / "info/format").write_text("1\n")
    (database / f"info/{package}.list").write_text(f"/.\n{path}\n")
    return folder


def test_a_process_in_a_chroot_is_told_by_the_records_inside(tmp_path: Path) -> None:
    root = root_with(tmp_path / "root", "server", "9.9-1", "/usr/bin/server")
    (root / "usr/bin").mkdir(parents=True)
    (tmp_path / "s.c").write_text(PROGRAM)
    build: list[str | Path] = ["gcc", "-static", "-Wl,--build-id", "-o", root / "usr/bin/server", tmp_path / "s.c"]
    subprocess.run(build, check=True)
    process = subprocess.Popen(["chroot", root, "/usr/bin/server"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        assert str(root / "usr/bin/server") in Path(f"/proc/{process.pid}/maps").read_text()
        assert find(f"pid:{process.pid}", [], [], silent) == NamedSource("server-source=9.9-1", "server")
    finally:
        process.kill()
        process.communicate()


def test_a_file_lies_in_the_root_of_the_process_or_in_that_which_it_left() -> None:
    inside = Mapped(Path("/proc/7/root"), Path("/usr/lib/libz.so.1"), BuildId("ab"))
    assert place("/srv/jail/usr/lib/libz.so.1 (deleted)", BuildId("ab"), 7, "/srv/jail", True) == inside
    assert place("/usr/lib/libz.so.1", BuildId("ab"), 7, "/", True) == inside
    # mapped before the chroot: sshd's children
    assert place("/usr/lib/libz.so.1", BuildId("ab"), 7, "/run/sshd", True) == Mapped(
        Path("/"), Path("/usr/lib/libz.so.1"), BuildId("ab")
    )
    assert place("/usr/lib/libz.so.1", BuildId("ab"), 7, "/jail", False) is None
    assert place("/srv/jail-2/x", BuildId("ab"), 7, "/srv/jail", False) is None


def test_the_release_of_a_root_is_read_from_a_file_and_nothing_else(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    assert codename(tmp_path) is None
    (etc / "os-release").write_text('NAME="Debian"\nVERSION_CODENAME=trixie\n')
    assert codename(tmp_path) == "trixie"
    (etc / "os-release").write_text("VERSION_CODENAME=jammy\n")
    assert codename(tmp_path) is None
    (etc / "os-release").unlink()
    subprocess.run(["mkfifo", etc / "os-release"], check=True)
    assert codename(tmp_path) is None
