"""`suture els page` as a process."""

from __future__ import annotations

import subprocess
import urllib.request
from pathlib import Path

from suture.error import ExitCode
from tests.cli.test_feed import run
from tests.command import SUTURE


def test_it_prints_an_address_with_a_key_and_serves_the_pages_there(tmp_path: Path) -> None:
    words = [str(SUTURE), "els", "page", "--output", str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("open ").strip()
        try:
            opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            with opener.open(address) as page:
                assert b"Nothing was looked at yet" in page.read()
        finally:
            process.terminate()


def test_a_port_that_is_none_is_said(tmp_path: Path) -> None:
    said = run("els", "page", "--output", tmp_path, "--port", "99999999", code=ExitCode.USAGE)
    assert "another --port" in said["remedy"]
