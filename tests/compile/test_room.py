"""Clean rooms: which versions apt is told to leave out, and what rooms share while they are filled."""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suture.compile.room import NotArriving, Room, not_arriving, without


def test_versions_that_the_archive_has_no_more_are_read_from_what_apt_says() -> None:
    said = (
        "Err:1 http://archive/security bullseye-security/main amd64 librbd-dev amd64 14.2.21-1+deb11u3\n"
        "  404  Not Found\nE: Failed to fetch http://archive/pool/c/ceph/librbd-dev_14.2.21-1%2bdeb11u3_amd64.deb  "
        "404  Not Found [IP: 1.2.3.4 80]\nE: Failed to fetch "
        "http://archive/pool/c/ceph/librados-dev_14.2.21-1%2bdeb11u3_amd64.deb  404  Not Found [IP: 1.2.3.4 80]\n"
        "E: Failed to fetch http://archive/pool/x/x_1-1_all.deb  503  Service Unavailable\n"
    )
    assert not_arriving(said) == [NotArriving("ceph", "14.2.21-1+deb11u3")]


def test_a_source_whose_newest_version_is_gone_may_go_back_as_a_whole() -> None:
    """Of several stanzas that match a version apt takes the first, so the version that is gone comes before."""
    text = without([NotArriving("perl", "5.32.1-4+deb11u5"), NotArriving("perl", "5.32.1-4+deb11u4")])
    stanzas = [dict(line.split(": ", 1) for line in x.splitlines()) for x in text.strip().split("\n\n")]
    assert [(s["Package"], s["Pin"], s["Pin-Priority"]) for s in stanzas] == [
        ("/./", "version *5.32.1-4+deb11u5", "-1"),
        ("/./", "version *5.32.1-4+deb11u4", "-1"),
        ("src:perl", "version *", "1001"),
    ]


def test_apt_goes_back_with_what_the_base_holds_of_a_source_whose_newest_version_is_gone(tmp_path: Path) -> None:
    """perl-base is in the base in the newest version; libperl-dev of that version is listed and gone. apt is the
    judge."""

    def block(name: str, version: str, depends: str, more: str) -> str:
        fields = {"Package": name, "Version": version, "Architecture": "amd64", "Maintainer": "x", "Source": "perl"}
        fields |= {"Depends": depends} if depends else {}
        return "".join(f"{k}: {v}\n" for k, v in fields.items()) + f"Description: x\n{more}\n"

    listed = ""
    for version in ("5.32-1", "5.32-2"):
        for name, depends in (("perl-base", ""), ("libperl-dev", f"perl-base (= {version})")):
            listed += block(name, version, depends, f"Filename: ./{name}_{version}.deb\nSize: 1\nSHA256: {'0' * 64}\n")
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/Packages").write_text(listed)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{tmp_path}/repo ./\n")
    (tmp_path / "status").write_text(block("perl-base", "5.32-2", "", "Status: install ok installed\n"))
    for folder in ("lists/partial", "cache/archives/partial", "parts"):
        (tmp_path / folder).mkdir(parents=True)
    places = {
        "Dir::State::status": "status", "Dir::State::lists": "lists", "Dir::Cache": "cache",
        "Dir::Etc::sourcelist": "sources.list", "Dir::Etc::sourceparts": "parts", "Dir::Etc::preferences": "pins",
        "Dir::Etc::preferencesparts": "parts",
    }  # fmt: skip
    own = [f"--option={k}={tmp_path}/{v}" for k, v in places.items()]
    own += ["--option=APT::Architecture=amd64", "--option=APT::Architectures=amd64", "--option=APT::Sandbox::User=root"]

    def apt(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["apt-get", *own, *words], capture_output=True, text=True, check=False)

    assert apt("update").returncode == 0
    told = apt("--simulate", "--allow-downgrades", "--yes", "install", "libperl-dev").stdout
    assert "Inst libperl-dev (5.32-2" in told, "apt takes the newest that is listed"
    gone = [NotArriving("perl", "5.32-2")]
    (tmp_path / "pins").write_text(without(gone).split("Package: src:")[0])
    assert apt("--simulate", "--allow-downgrades", "--yes", "install", "libperl-dev").returncode != 0
    (tmp_path / "pins").write_text(without(gone))
    told = apt("--simulate", "--allow-downgrades", "--yes", "install", "libperl-dev").stdout
    assert "Inst perl-base [5.32-2] (5.32-1" in told and "Inst libperl-dev (5.32-1" in told


def test_two_rooms_are_filled_at_a_time_and_take_turns_in_downloading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, scripts = threading.Barrier(2), []

    def enter(self: Room, script: str, **more: Any) -> str:
        both.wait(30)  # raises unless the other one is inside too
        scripts.append(script)
        return ""

    monkeypatch.setattr(Room, "enter", enter)
    archive: Any = SimpleNamespace(folder=tmp_path / "apt", lists=tmp_path, debs=tmp_path, sources_list=tmp_path)
    with ThreadPoolExecutor(2) as workers:
        fills = [workers.submit(Room(()).install, ["install", name], archive, tmp_path / name) for name in ("a", "b")]
        assert [f.result() for f in fills] == [None, None]
    for script in scripts:
        downloading, unpacking = (line for line in script.splitlines() if "apt-get" in line)
        assert downloading.startswith("flock ") and "--download-only" in downloading
        assert "--no-download" in unpacking and "flock" not in unpacking
