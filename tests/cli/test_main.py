from __future__ import annotations

import argparse
import json
import subprocess
import sys
import types
from collections.abc import Callable

import pytest

from suture.cli import main as cli
from suture.error import ExitCode, Refused
from suture.report.document import ErrorReport
from suture.report.encoding import decode
from suture.report.reason import Reason

InstallVerb = Callable[[Callable[[argparse.Namespace], int]], None]


@pytest.fixture
def install_verb(monkeypatch: pytest.MonkeyPatch) -> InstallVerb:
    """A function that makes `suture probe` run what it is given."""

    def install(run: Callable[[argparse.Namespace], int]) -> None:
        module = types.ModuleType("suture.cli.probe")
        module.__dict__.update(
            HELP="Probes.", EXAMPLES=["suture probe x"], arguments=lambda p: p.add_argument("word", nargs="*"), run=run
        )
        monkeypatch.setitem(sys.modules, "suture.cli.probe", module)
        monkeypatch.setattr(cli, "available", lambda: (cli.Verb("probe", "probe"),))

    return install


def refuse(args: argparse.Namespace) -> int:
    raise Refused("f() in a.c:12: its type changed", "restart the program")


def test_a_refusal_prints_error_and_remedy_and_ends_with_its_code(
    install_verb: InstallVerb, capsys: pytest.CaptureFixture[str]
) -> None:
    install_verb(refuse)
    assert cli.main(["probe"]) == ExitCode.REFUSED
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: f() in a.c:12: its type changed\nremedy: restart the program\n"


def test_an_error_that_quotes_a_hostile_name_does_not_reach_the_terminal_raw(
    install_verb: InstallVerb, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: argparse.Namespace) -> int:
        raise Refused("\x1b]0;owned\x07 (pid 812)", "kill 812")

    install_verb(fail)
    assert cli.main(["probe"]) == ExitCode.REFUSED
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--json", "probe"], ["probe", "--json"]])
def test_json_prints_a_refusal_as_one_document_wherever_the_option_stands(
    install_verb: InstallVerb, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    install_verb(refuse)
    assert cli.main(argv) == ExitCode.REFUSED
    out, err = capsys.readouterr()
    assert err == ""
    found = decode(json.loads(out))
    assert isinstance(found, ErrorReport) and found.exit_code == ExitCode.REFUSED and found.reason is Reason.REFUSED
    assert (found.error, found.remedy) == ("f() in a.c:12: its type changed", "restart the program")


def test_options_before_and_after_the_verb_are_both_seen(install_verb: InstallVerb) -> None:
    seen: list[tuple[bool, bool]] = []

    def verb(args: argparse.Namespace) -> int:
        seen.append((args.json, args.debug))
        return 0

    install_verb(verb)
    for argv in (["probe"], ["--json", "probe"], ["probe", "--json"], ["--debug", "probe", "--json"]):
        assert cli.main(argv) == 0
    assert seen == [(False, False), (True, False), (True, False), (True, True)]


def test_words_after_a_double_dash_are_not_our_options(
    install_verb: InstallVerb, capsys: pytest.CaptureFixture[str]
) -> None:
    install_verb(refuse)
    cli.main(["probe", "--", "--json"])
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("argv", [["nonsense"], ["--nonsense"], ["probe", "--nonsense"], []])
def test_a_wrong_command_line_ends_with_usage_and_names_the_help(
    install_verb: InstallVerb, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    install_verb(lambda args: 0)
    assert cli.main(argv) == ExitCode.USAGE
    assert "--help" in capsys.readouterr().err


def test_a_wrong_command_line_is_json_when_json_is_asked_for(
    install_verb: InstallVerb, capsys: pytest.CaptureFixture[str]
) -> None:
    install_verb(lambda args: 0)
    assert cli.main(["nonsense", "--json"]) == ExitCode.USAGE
    assert json.loads(capsys.readouterr().out)["exit_code"] == ExitCode.USAGE


def test_an_unforeseen_failure_is_one_line_with_the_way_to_a_traceback(
    install_verb: InstallVerb, capsys: pytest.CaptureFixture[str]
) -> None:
    install_verb(lambda args: 1 // 0)
    assert cli.main(["probe"]) == ExitCode.FAILED
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: ") and "ZeroDivisionError" in first
    assert "--debug" in second


def test_debug_prints_the_traceback(install_verb: InstallVerb, capsys: pytest.CaptureFixture[str]) -> None:
    install_verb(lambda args: 1 // 0)
    assert cli.main(["probe", "--debug"]) == ExitCode.FAILED
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_ends_with_130(install_verb: InstallVerb) -> None:
    def interrupt(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    install_verb(interrupt)
    assert cli.main(["probe"]) == 130


def test_a_reader_that_goes_away_causes_no_traceback() -> None:
    program = (
        "import sys, types\n"
        "from suture.cli import main as cli\n"
        "probe = types.ModuleType('suture.cli.probe')\n"
        "probe.HELP, probe.arguments = 'Probes.', lambda parser: None\n"
        "probe.run = lambda args: [print('x' * 1000) for _ in range(1000)] and 0\n"
        "sys.modules['suture.cli.probe'] = probe\n"
        "cli.available = lambda: (cli.Verb('probe', 'probe'),)\n"
        "sys.exit(cli.main(['probe']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=10) == 141


def test_every_verb_listed_is_there_and_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in cli.available():
        with pytest.raises(SystemExit) as end:
            cli.main([verb.name, "--help"])
        assert end.value.code == 0
        text = capsys.readouterr().out
        _, module = cli.build_parser(verb.name)
        assert module is not None
        assert module.HELP.strip() in text
        assert len(module.EXAMPLES) > 0, f"{verb.name} has no examples"
        assert "exit codes:" in text
        for name, action in getattr(module, "ACTIONS", {}).items():
            with pytest.raises(SystemExit) as end:
                cli.main([verb.name, name, "--help"])
            text = capsys.readouterr().out
            assert end.value.code == 0 and action.HELP.strip() in text and "exit codes:" in text and action.EXAMPLES


def test_every_example_names_options_that_exist() -> None:
    for verb in cli.available():
        parser, module = cli.build_parser(verb.name)
        assert module is not None
        own = _child(parser, verb.name)
        actions = getattr(module, "ACTIONS", {})
        known = {o for p in (own, *(_child(own, a) for a in actions)) for o in p._option_string_actions}
        examples = (*module.EXAMPLES, *(e for a in actions.values() for e in a.EXAMPLES))
        for line in (e for e in examples if e.split()[:2] == ["suture", verb.name]):
            used = {word.split("=")[0] for word in line.split("#")[0].split(" -- ")[0].split() if word.startswith("--")}
            assert used <= known, f"{verb.name}: {line}"


def _child(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found: argparse.ArgumentParser = action.choices[name]
            return found
    raise AssertionError("no verbs")
