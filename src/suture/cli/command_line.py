"""The command line as data: each command that `suture` has, with its options and what their values are.

It is read from the parsers, so that manual pages and completions say what --help says.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from suture.cli import number
from suture.cli.main import Verb, VerbModule, available, build_parser


class Value(Enum):
    """What a word of the command line names, as far as a shell can complete it."""

    NONE = "an option without a value"
    FILE = "a file"
    FOLDER = "a folder"
    PROCESS = "a process"
    CHOICE = "one of a few words"
    TEXT = "anything else"


@dataclass(frozen=True)
class CommandOption:
    """An option, or with no `names` a word in its place. `metavar` is how its value is called, "" without one;
    `choices` are the words of `Value.CHOICE`."""

    names: tuple[str, ...]
    metavar: str
    help: str
    value: Value
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """A verb, or an action of one: `words` are what is typed after `suture`. `usage` is one line; `text` is what it
    says of itself, in paragraphs. `actions` are the commands below it."""

    words: tuple[str, ...]
    summary: str
    usage: str
    text: str
    options: tuple[CommandOption, ...]
    module: VerbModule
    actions: tuple[Command, ...]

    def below(self) -> Iterator[Command]:
        """This command and all below it."""
        yield self
        for action in self.actions:
            yield from action.below()


def common_options() -> tuple[CommandOption, ...]:
    """What may stand before the verb."""
    return _options(build_parser(None)[0])


def commands() -> tuple[Command, ...]:
    """One for each verb that this installation has."""
    return tuple(_of_verb(verb) for verb in available())


def _of_verb(verb: Verb) -> Command:
    parser, module = build_parser(verb.name)
    assert module is not None
    return _command(_children(parser)[verb.name], (verb.name,), verb.summary, module)


def _command(parser: argparse.ArgumentParser, words: tuple[str, ...], summary: str, module: VerbModule) -> Command:
    actions = getattr(module, "ACTIONS", {})
    below = tuple(
        _command(child, (*words, name), actions[name].SUMMARY, actions[name])
        for name, child in _children(parser).items()
    )
    return Command(words, summary, _usage(parser), parser.description or "", _options(parser), module, below)


def _children(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return {
        name: child
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, child in action.choices.items()
    }


def _usage(parser: argparse.ArgumentParser) -> str:
    formatter = argparse.HelpFormatter(parser.prog, width=1 << 16)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, "")
    return " ".join(formatter.format_help().split())


def _options(parser: argparse.ArgumentParser) -> tuple[CommandOption, ...]:
    rows = [a for a in parser._actions if not isinstance(a, argparse._SubParsersAction)]
    return tuple(_option(a) for a in rows)


def _option(action: argparse.Action) -> CommandOption:
    value, choices = _value(action), tuple(str(c) for c in action.choices or ())
    metavar = action.metavar if isinstance(action.metavar, str) else f"{{{','.join(choices)}}}" if choices else ""
    shown = "" if value is Value.NONE else metavar or action.dest
    return CommandOption(tuple(action.option_strings), shown, action.help or "", value, choices)


def _value(action: argparse.Action) -> Value:
    if action.nargs == 0:
        return Value.NONE
    if action.choices:
        return Value.CHOICE
    if action.type is Path:
        return Value.FOLDER if action.metavar == "DIR" else Value.FILE
    return Value.PROCESS if action.type is number.pid else Value.TEXT
