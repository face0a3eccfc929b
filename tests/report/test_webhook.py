"""Messages to a web address are signed; openssl(1) is the judge."""

from __future__ import annotations

import subprocess

import pytest

from suture.report.webhook import is_signed, signature

SECRET, BODY, NOW = b"the secret", b'{"count":1}', 1764316800


def test_a_signature_is_the_hmac_of_time_and_body_as_openssl_computes_it() -> None:
    argv = ["openssl", "dgst", "-sha256", "-hmac", SECRET.decode(), "-r"]
    told = subprocess.run(argv, input=f"{NOW}.".encode() + BODY, capture_output=True, check=True).stdout
    assert signature(SECRET, NOW, BODY) == f"t={NOW},v1={told.split()[0].decode()}"


@pytest.mark.parametrize("late", [0, 300, -300])
def test_what_was_signed_within_five_minutes_is_believed(late: int) -> None:
    assert is_signed(SECRET, BODY, signature(SECRET, NOW, BODY), NOW + late)


@pytest.mark.parametrize("late", [301, -301, 1 << 40])
def test_what_was_signed_at_another_time_is_not(late: int) -> None:
    assert not is_signed(SECRET, BODY, signature(SECRET, NOW, BODY), NOW + late)


def test_another_secret_body_or_time_is_not_believed() -> None:
    good = signature(SECRET, NOW, BODY)
    assert not is_signed(b"other", BODY, good, NOW) and not is_signed(SECRET, BODY + b" ", good, NOW)
    assert not is_signed(SECRET, BODY, good.replace(f"t={NOW}", f"t={NOW + 1}"), NOW)


def test_the_time_of_a_header_has_at_most_twelve_digits() -> None:
    most = 999_999_999_999
    assert is_signed(SECRET, BODY, signature(SECRET, most, BODY), most)
    assert not is_signed(SECRET, BODY, signature(SECRET, most + 1, BODY), most + 1)


@pytest.mark.parametrize(
    "header", ["", "t=", "t=x,v1=00", "t=-5,v1=00", "v1=00", "t=\u0663,v1=00", "t=1e9,v1=", "\udcff"]
)
def test_a_header_of_another_form_is_not_believed_and_costs_no_error(header: str) -> None:
    assert not is_signed(SECRET, BODY, header, NOW)
