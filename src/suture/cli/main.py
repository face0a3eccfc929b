"""`suture VERB`: finds the verb, imports its module and no other, and turns errors into text and exit codes.

A verb is one module of this package that has

- `HELP`: what the verb does, in whole sentences (the description in its --help);
- `EXAMPLES`: lines that can be pasted into a shell; a `#` line before one says what it is for;
- `EXIT_CODES`: the `ExitCode`s that it may end with (left out: all), or `OWN_CODES`: what its codes mean where another
  program sets them;
- `arguments(parser)`: adds its options;
- `run(args) -> int`: does the work and returns an exit code. `args.json` and `args.debug` are always there.

A verb with several actions has `ACTIONS` too, by name: modules of the same kind, each with a `SUMMARY` for the list.

`run` prints its result to stdout through `suture.cli.output` and lets every `SutureError` pass: it is caught here.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NoReturn, Protocol, TextIO, cast

from suture import __version__
from suture.cli import exit_code, extra
from suture.error import ExitCode, SutureError
from suture.visible import Visible, beneath

DESCRIPTION = """\
Suture closes security holes in programs while they run: it makes a live patch from the source of a fix, proves that
the code it compiled is the code that runs, and puts the fixed functions into running processes."""


@dataclass(frozen=True)
class Verb:
    """A verb, the module that does it, and its line in `suture --help`."""

    name: str
    summary: str

    @property
    def module(self) -> str:
        return f"suture.cli.{self.name.replace('-', '_')}"


VERBS = (
    Verb("scan", "list processes: what they run, what is fixed in memory, on disk, or neither"),
    Verb("watch", "turn updates of the archive into live patches by themselves"),
    Verb("els", "carry fixes back to releases past their end of life"),
    Verb("feed", "publish live patches, signed, and fetch them"),
    Verb("agent", "keep this host patched from a feed"),
    Verb("fleet", "serve a fleet: what is open where, rollouts, deadlines"),
    Verb("comply", "show deadlines by rules, and check evidence"),
    Verb("make", "make live patches from the source of a fix"),
    Verb("show", "print what a live patch replaces, its verdict and its proof"),
    Verb("verify", "make a live patch again and compare"),
    Verb("apply", "put a live patch into running processes"),
    Verb("guard", "patch processes as they start, before their first instruction"),
    Verb("revert", "take a live patch out of running processes"),
    Verb("status", "list the live patches that running processes carry"),
    Verb("watch-attempts", "tell when somebody tries a hole that a live patch has closed"),
    Verb("export", "tell scanners and monitoring how this host stands"),
    Verb("uname", "print which kernel runs in effect"),
    Verb("schema", "print the JSON schema of what --json prints"),
    Verb("record", "run a build and record its compile commands for `make --tree`"),
)


class VerbModule(Protocol):
    """What a verb's module holds (see this module's docstring)."""

    HELP: str
    EXAMPLES: Sequence[str]

    def arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


class UsageError(SutureError):
    """The command line is wrong."""

    exit_code = ExitCode.USAGE


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are ours, so that --json covers them too."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"see {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(message, beneath(file or sys.stderr))


def available() -> tuple[Verb, ...]:
    """The verbs that this installation has."""
    return tuple(verb for verb in VERBS if find_spec(verb.module) is not None)


def _common_options(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS: the verb's parser must not overwrite what was given before the verb.
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON document, errors included"
    )
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="print the Python traceback of an error"
    )


def _epilog(module: VerbModule) -> str:
    codes: Sequence[ExitCode] = getattr(module, "EXIT_CODES", tuple(ExitCode))
    examples = "\n".join(f"  {line}" for line in getattr(module, "EXAMPLES", ()))
    own: Mapping[int, str] = getattr(module, "OWN_CODES", {})
    lines = exit_code.own_lines(own) if own else exit_code.help_lines(codes)
    return f"examples:\n{examples}\n\nexit codes:\n{lines}"


def build_parser(chosen: str | None) -> tuple[argparse.ArgumentParser, VerbModule | None]:
    """The parser for all verbs, with only the chosen one's module imported and its options added."""
    parser = Parser(
        prog="suture",
        description=DESCRIPTION,
        epilog="`suture VERB --help` has the options, examples and exit codes of a verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"suture {__version__}")
    _common_options(parser)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs", parser_class=Parser)
    module: VerbModule | None = None
    for verb in available():
        child = verbs.add_parser(verb.name, help=verb.summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        if verb.name != chosen:
            continue
        # __import__ rather than importlib.import_module: the same, without importing more at start-up.
        __import__(verb.module)
        module = cast(VerbModule, sys.modules[verb.module])
        _describe(child, module)
    return parser, module


def _describe(parser: argparse.ArgumentParser, module: VerbModule) -> None:
    """Give a parser what a module says: of a verb, and of each of its actions."""
    parser.description = module.HELP.strip()
    parser.epilog = _epilog(module)
    _common_options(parser)
    module.arguments(parser)
    actions: Mapping[str, Any] = getattr(module, "ACTIONS", {})
    if not actions:
        return
    children = parser.add_subparsers(
        dest="action", metavar="ACTION", title="actions", required=True, parser_class=Parser
    )
    for name, action in actions.items():
        child = children.add_parser(name, help=action.SUMMARY, formatter_class=argparse.RawDescriptionHelpFormatter)
        _describe(child, action)


def _print_error(error: SutureError, as_json: bool) -> int:
    if as_json:
        from suture.cli.output import print_document
        from suture.report.document import ErrorReport
        from suture.report.moment import now

        print_document(ErrorReport(now(), int(error.exit_code), error.what, error.remedy, error.reason))
        sys.stdout.flush()
    else:
        _print_lines(f"error: {error.what}")
        _print_lines(f"remedy: {error.remedy}")
    return int(error.exit_code)


def _print_lines(text: str) -> None:
    """On stderr; lines after the first are set in, so that what another program said cannot pass for ours."""
    for n, line in enumerate(text.expandtabs().split("\n")):
        print(f"  {line}" if n else line, file=sys.stderr)


def _unforeseen(error: Exception) -> SutureError:
    detail = " ".join(str(error).split())
    return SutureError(
        f"unforeseen {type(error).__name__}: {detail}" if detail else f"unforeseen {type(error).__name__}",
        "this is a defect in Suture: run the same command with --debug and report what it prints",
    )


def _dispatch(argv: Sequence[str]) -> int:
    # The options before the verb take no values, so the first word that is no option is the verb.
    chosen = next((word for word in argv if not word.startswith("-")), None)
    parser, module = build_parser(chosen)
    args = parser.parse_args(argv)
    args.json = getattr(args, "json", False)
    args.debug = getattr(args, "debug", False)
    if module is None:
        parser.error("no verb given")
    return int(module.run(args))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (docs/reference/exit-codes.md).

    Nothing but SystemExit of --help leaves it.
    """
    with redirect_stdout(cast(TextIO, Visible(sys.stdout))), redirect_stderr(cast(TextIO, Visible(sys.stderr))):
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(words: list[str]) -> int:
    # Known before parsing, because the parser's own errors need it; words after "--" belong to another program.
    options = words[: words.index("--")] if "--" in words else words
    as_json, debug = "--json" in options, "--debug" in options
    try:
        status = _dispatch(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return exit_code.INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at exit; give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_code.BROKEN_PIPE
    except SutureError as error:
        return _report(error, as_json, debug)
    except ModuleNotFoundError as error:
        return _report(extra.missing(error) or _unforeseen(error), as_json, debug)
    except Exception as error:
        return _report(_unforeseen(error), as_json, debug)
    return status


def _report(error: SutureError, as_json: bool, debug: bool) -> int:
    """Print an error that is being handled."""
    if debug:
        import traceback

        for line in traceback.format_exc().splitlines():
            print(f"  {line}", file=sys.stderr)
    return _print_error(error, as_json)


if __name__ == "__main__":
    sys.exit(main())
