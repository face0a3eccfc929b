"""Clean rooms: which versions apt is told to leave out."""

from __future__ import annotations

from suture.compile.room import _not_arriving


def test_versions_that_the_archive_has_no_more_are_read_from_what_apt_says() -> None:
    said = (
        "Err:1 http://archive/security bullseye-security/main amd64 librbd-dev amd64 14.2.21-1+deb11u3\n  404  Not Found\n"
        "E: Failed to fetch http://archive/pool/c/ceph/librbd-dev_14.2.21-1%2bdeb11u3_amd64.deb  404  Not Found [IP: 1.2.3.4 80]\n"
        "E: Failed to fetch http://archive/pool/c/ceph/librados-dev_14.2.21-1%2bdeb11u3_amd64.deb  404  Not Found [IP: 1.2.3.4 80]\n"
        "E: Failed to fetch http://archive/pool/x/x_1-1_all.deb  503  Service Unavailable\n"
    )
    assert _not_arriving(said) == ["14.2.21-1+deb11u3"]
