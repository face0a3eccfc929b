"""A policy in sentences."""

from __future__ import annotations

from pathlib import Path

from suture.agent.meaning import sentences
from suture.agent.policy import parse
from tests.agent.test_policy import LEAST, example


def test_each_setting_of_the_example_has_its_sentence() -> None:
    found = "\n".join(sentences(parse(example().encode(), Path("x"))))
    for part in (
        "https://feed.example/, channel stable", "every 15 min", "every 30 s", "without asking", "due 1 d after",
        "Grades taken: safe;", "no trial are not taken", "--relaxed are not taken", "no further process gets it",
        "from 18:00 until 06:00 of the next day: Friday, Saturday, Sunday.", "from 2026-12-20T00:00:00+01:00",
        "Only for the source packages openssl, linux, lib*.", "Only in processes of the users www-data, postgres.",
        "Never in programs at /opt/vendor/*.", "Never in the units legacy-*.service.",
        "CVE-2026-12345 counts as mitigated until 2026-12-31: the proxy in front drops such requests",
        "59da29 counts for nothing, since mode is not",
    ):  # fmt: skip
        assert part in found.replace("passed no trial", "no trial"), part


def test_asking_and_no_freeze_are_said() -> None:
    found = sentences(parse((LEAST + "[apply]\nmode = 'ask'").encode(), Path("x")))
    assert any("waits until an administrator allows it" in s for s in found)
    assert "There is no maintenance freeze." in found and not any(s.startswith(("Only", "Never")) for s in found)
