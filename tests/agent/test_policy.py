"""The policy file: what it may say, and that each error names its place."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from suture.agent.policy import BadPolicy, Freeze, Mode, OnFailure, ProcessFacts, WeeklyFreeze, load, parse
from suture.report.mitigation import Mitigation

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/agent-policy.md"
PATH = Path("/etc/suture/agent.toml")
LEAST = '[feed]\nurl = "https://f/"\nroot = "/r.json"\n'
WEB = ProcessFacts("/usr/sbin/nginx", "www-data", 33, "nginx.service", "")


def example() -> str:
    found = re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.S)
    assert found
    return found[1]


def test_the_example_of_the_page_is_a_policy_and_has_every_key() -> None:
    found = parse(example().encode(), PATH)
    assert (found.mode, found.delay, found.on_failure) == (Mode.AUTOMATIC, timedelta(days=1), OnFailure.HOLD)
    assert [type(f) for f in found.freezes] == [WeeklyFreeze, Freeze]
    assert found.mitigations == (
        Mitigation("CVE-2026-12345", "the proxy in front drops such requests", date(2026, 12, 31)),
    )
    for key in ("channel", "every_minutes", "grades", "untried", "consistency", "timeout_seconds", "every_seconds"):
        assert f"{key} = " in example()


def test_what_is_left_out_is_the_careful_choice() -> None:
    found = parse(LEAST.encode(), PATH)
    assert (found.grades, found.untried, found.relaxed, found.channel) == (("safe",), False, False, "stable")
    assert found.takes_process(WEB) and found.takes_package("openssl") and not found.chooses_processes


@pytest.mark.parametrize(
    ("more", "line", "says"),
    [
        ("[apply]\nmod = 'ask'", 5, "apply.mod: is not known"),
        ("[apply]\n\nmode = 'never'", 6, "apply.mode: 'never' is not known"),
        ("[apply]\ngrades = ['refused']", 5, "apply.grades: 'refused' is no grade"),
        ("[apply]\ngrades = []", 5, "apply.grades: is empty"),
        ("[apply]\ndelay_hours = -1", 5, "apply.delay_hours: is no number from 0"),
        ("[apply]\nuntried = 1", 5, "apply.untried: is neither true nor false"),
        ("[apply]\ntimeout_seconds = true", 5, "apply.timeout_seconds: is no number"),
        ("[aply]", 4, "aply: is not known"),
        ("apply = 3", 4, "feed.apply: is not known"),
        ("[[freeze]]\nfrom = '25:00'\nto = '06:00'", 5, "freeze.from: is no time of day"),
        ("[[freeze]]\nfrom = '05:00'\nto = '05:00'", 6, "freeze.to: is the same as from"),
        ("[[freeze]]\ndays = ['funday']\nfrom = '05:00'\nto = '06:00'", 5, "freeze.days: 'funday' is no day"),
        ("[[freeze]]\nbegin = 2026-01-01T00:00:00\nend = 2026-01-02T00:00:00Z", 5, "freeze.begin: is no moment"),
        ("[[freeze]]\nbegin = 2026-01-02T00:00:00Z\nend = 2026-01-01T00:00:00Z", 6, "freeze.end: is not after begin"),
        ("[include]\nusers = 'root'", 5, "include.users: is no list of texts"),
        ("[fleet]\nserver = 'ab'", 5, "fleet.server: is no public key"),
    ],
)
def test_an_error_names_the_file_the_line_and_the_key(more: str, line: int, says: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        parse((LEAST + more).encode(), PATH)
    assert caught.value.what.startswith(f"{PATH}, line {line}: {says}") and caught.value.remedy


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "feed.url: is missing"),
        ("[feed]\nurl = 'ftp://x/'\nroot = '/r'", "feed.url: is no address"),
        ("[feed]\nurl = 'https://x/'", "feed.root: is missing"),
        ("[feed]\nurl = 'https://x/'\nroot = 'r'", "feed.root: is no absolute path"),
        ("[feed\n", "no TOML"),
        ("\ud800", "no TOML"),
    ],
)
def test_what_is_needed_has_to_be_there(text: str, says: str) -> None:
    with pytest.raises(BadPolicy, match=re.escape(says)):
        parse(text.encode(errors="surrogatepass"), PATH)


def test_a_close_name_is_offered() -> None:
    with pytest.raises(BadPolicy) as caught:
        parse((LEAST + "[apply]\ngrade = ['safe']").encode(), PATH)
    assert caught.value.remedy == "write grades"


def test_a_process_has_to_fit_every_list_of_include_and_none_of_exclude() -> None:
    def takes(more: str) -> bool:
        return parse((LEAST + more).encode(), PATH).takes_process(WEB)

    assert takes("[include]\nusers = ['www-data']\npaths = ['/usr/sbin/*']")
    assert takes("[include]\nusers = ['33']")
    assert not takes("[include]\nusers = ['www-data']\npaths = ['/opt/*']")
    assert not takes("[exclude]\nunits = ['nginx.*']")
    assert takes("[exclude]\ncontainers = ['*']"), "it is in no container"
    assert not takes("[include]\ncontainers = ['*']")


def test_packages_are_chosen_by_their_source() -> None:
    found = parse((LEAST + "[include]\npackages = ['lib*']\n[exclude]\npackages = ['libc*']").encode(), PATH)
    assert [found.takes_package(p) for p in ("libxml2", "libc6", "openssl")] == [True, False, False]
    assert not found.chooses_processes


def test_a_freeze_over_midnight_belongs_to_the_day_on_which_it_began() -> None:
    found = parse((LEAST + "[[freeze]]\ndays = ['fri']\nfrom = '18:00'\nto = '06:00'").encode(), PATH)
    friday = datetime(2026, 11, 27, tzinfo=UTC)
    hours = [friday + timedelta(hours=h) for h in (5, 17.99, 18, 29.99, 30, 42)]
    assert [found.is_frozen(h) for h in hours] == [False, False, True, True, False, False]


def test_a_freeze_between_two_moments() -> None:
    more = "[[freeze]]\nbegin = 2026-12-20T00:00:00+01:00\nend = 2027-01-04T06:00:00+01:00"
    found = parse((LEAST + more).encode(), PATH)
    at = [datetime(2026, 12, 19, 22, 59, tzinfo=UTC), datetime(2026, 12, 19, 23, tzinfo=UTC)]
    assert [found.is_frozen(t) for t in at] == [False, True]


def test_root_takes_only_a_file_that_nobody_else_may_write(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    with pytest.raises(BadPolicy, match="No such file"):
        load(path)
    path.write_text(LEAST)
    path.chmod(0o666)
    load(path)
    with pytest.raises(BadPolicy, match="others than root may write it"):
        load(path, owned=True)
    path.chmod(0o644)
    assert load(path, owned=True).url == "https://f/"


def test_a_wrong_mitigation_is_a_wrong_policy() -> None:
    with pytest.raises(BadPolicy, match=r"agent.toml: mitigation 1: until: is no day"):
        parse((LEAST + '[[mitigation]]\ncve = "CVE-2099-0001"\nreason = "r"\nuntil = "soon"\n').encode(), PATH)
