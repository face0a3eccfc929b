"""Completion for bash, zsh and fish, made from the parsers: `python -m suture.cli.completion SHELL` prints it.

What is completed: verbs, actions, options, words of a fixed set, files, folders and processes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator

from suture.cli.command_line import Command, CommandOption, Value, commands, common_options
from suture.error import ExitCode

_HEAD = "# Completion of `suture`; written by `python -m suture.cli.completion`."


def _all() -> list[Command]:
    return [command for verb in commands() for command in verb.below()]


def _place(option: CommandOption) -> bool:
    """Whether it is a word in its place, and no option."""
    return not option.names


_BASH_VALUE = {
    Value.FILE: "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\"))",
    Value.FOLDER: "compopt -o filenames; COMPREPLY=($(compgen -d -- \"$cur\"))",
    Value.PROCESS: 'COMPREPLY=($(compgen -W "$(cd /proc && echo [0-9]*)" -- "$cur"))',
    Value.TEXT: ":",
}  # fmt: skip

_BASH = """\
{head}
# shellcheck shell=bash disable=SC2207
_suture() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command='' word n
    COMPREPLY=()
    for ((n = 1; n < COMP_CWORD; n++)); do
        word=${{COMP_WORDS[n]}}
        case "$command/$word" in
{steps}
        esac
    done
    case "$command $before" in
{values}
    esac
    if [[ $cur == -* ]]; then
        case "$command" in
{options}
        esac
        return
    fi
    case "$command" in
{words}
    esac
}}
complete -F _suture suture
"""


def bash() -> str:
    """For bash 4 and later, with or without the package bash-completion."""
    top, every = commands(), _all()
    steps = [f"{_key(c.words[:-1])}/{c.words[-1]}) command='{_key(c.words)}' ;;" for c in every]
    values = [
        f"{'|'.join(_quoted(f'{_key(c.words)} {name}') for name in o.names)}) {_bash_value(o)}; return ;;"
        for c in every
        for o in c.options
        if o.names and o.value is not Value.NONE
    ]
    options = [f"'') {_compgen(_names(common_options()))} ;;"]
    options += [f"{_quoted(_key(c.words))}) {_compgen(_names(c.options))} ;;" for c in every]
    words = [f"'') {_compgen(v.words[0] for v in top)} ;;"]
    for command in every:
        below = [a.words[-1] for a in command.actions]
        place = [o for o in command.options if _place(o) and o.value is not Value.TEXT]
        if below or place:
            words.append(f"{_quoted(_key(command.words))}) {_compgen(below) if below else _bash_value(place[0])} ;;")
    return _BASH.format(
        head=_HEAD, steps=_set_in(steps, 12), values=_set_in(values, 8), options=_set_in(options, 12),
        words=_set_in(words, 8),
    )  # fmt: skip


def _key(words: Iterable[str]) -> str:
    return " ".join(words)


def _quoted(text: str) -> str:
    return f"'{text}'"


def _bash_value(option: CommandOption) -> str:
    return _compgen(option.choices) if option.value is Value.CHOICE else _BASH_VALUE[option.value]


def _compgen(words: Iterable[str]) -> str:
    return f"COMPREPLY=($(compgen -W '{' '.join(words)}' -- \"$cur\"))"


def _names(options: Iterable[CommandOption]) -> Iterator[str]:
    return (name for option in options for name in option.names)


def _set_in(lines: Iterable[str], by: int) -> str:
    return "\n".join(" " * by + line for line in lines)


_ZSH_VALUE = {Value.FILE: "_files", Value.FOLDER: "_files -/", Value.PROCESS: "_pids", Value.TEXT: " "}


def zsh() -> str:
    """For zsh, as the file `_suture` in a folder of $fpath."""
    lines = ["#compdef suture", _HEAD, *_zsh_group("_suture", common_options(), commands())]
    for command in _all():
        name = _zsh_name(command.words)
        lines += _zsh_group(name, command.options, command.actions) if command.actions else _zsh_leaf(name, command)
    return "\n".join([*lines, '_suture "$@"', ""])


def _zsh_name(words: Iterable[str]) -> str:
    return "_suture_" + "_".join(w.replace("-", "_") for w in words)


def _zsh_group(name: str, options: Iterable[CommandOption], below: Iterable[Command]) -> Iterator[str]:
    yield f"{name}() {{"
    yield "    local context state state_descr line"
    yield "    typeset -A opt_args"
    yield "    _arguments -C \\"
    yield from (f"        {_zsh_option(o)} \\" for o in options if o.names)
    yield "        '1: :->command' '*:: :->words'"
    yield "    case $state in"
    yield "    command)"
    yield "        local -a found=("
    yield from (f"            {_single(f'{c.words[-1]}:{c.summary}')}" for c in below)
    yield "        )"
    yield "        _describe command found ;;"
    yield "    words)"
    yield "        case $words[1] in"
    yield from (f"        {c.words[-1]}) {_zsh_name(c.words)} ;;" for c in below)
    yield from ("        esac ;;", "    esac", "}")


def _zsh_leaf(name: str, command: Command) -> Iterator[str]:
    yield from (f"{name}() {{", "    _arguments \\")
    yield from (f"        {_zsh_option(o)} \\" for o in command.options if o.names)
    place = [o for o in command.options if _place(o)]
    rows = [f"'{'*' if n == len(place) - 1 else n + 1}:{_zsh_text(o.metavar)}:{_zsh_value(o)}'"
            for n, o in enumerate(place)]  # fmt: skip
    yield f"        {' '.join(rows)}".rstrip() or "        '*: :'"
    yield "}"


def _zsh_option(option: CommandOption) -> str:
    names = f"{{{','.join(option.names)}}}" if len(option.names) > 1 else option.names[0]
    value = "" if option.value is Value.NONE else f":{_zsh_text(option.metavar)}:{_zsh_value(option)}"
    apart = "" if option.value is Value.NONE else "*"  # which may be repeated is told by its help alone
    return f"{apart and _quoted(apart)}{names}{_single(f'[{_zsh_text(option.help)}]{value}')}"


def _zsh_value(option: CommandOption) -> str:
    return f"({' '.join(option.choices)})" if option.value is Value.CHOICE else _ZSH_VALUE[option.value]


def _zsh_text(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", " ".join(text.split()))


def _single(text: str) -> str:
    """In single quotes, as every shell reads them."""
    return "'" + text.replace("'", "'\\''") + "'"


_FISH = """\
{head}
function __suture_words
    string match -v -- '-*' (commandline --tokenize --current-process --cut-at-cursor)[2..-1]
end
function __suture_at
    set -l words (__suture_words)
    test (count $words) -ge (count $argv); and test "$words[1..$(count $argv)]" = "$argv"
end
function __suture_just
    test "$(__suture_words)" = "$argv"
end
complete -c suture --no-files
"""


def fish() -> str:
    """For fish 3.4 and later."""
    lines = [_FISH.format(head=_HEAD)]
    lines += [_fish('test -z "$(__suture_words)"', _fish_option(o)) for o in common_options() if o.names]
    for command in _all():
        before = _key(command.words[:-1])
        just = f"__suture_just {before}" if before else 'test -z "$(__suture_words)"'
        lines.append(_fish(just, f"--arguments {command.words[-1]} --description {_single(command.summary)}"))
    for command in _all():
        here = f"__suture_at {_key(command.words)}"
        lines += [_fish(here, _fish_option(o)) for o in command.options if o.names]
        place = [o for o in command.options if _place(o) and o.value is not Value.TEXT]
        lines += [_fish(here, _fish_value(o)) for o in place[:1]]
    return "\n".join([*lines, ""])


def _fish(condition: str, rest: str) -> str:
    return f"complete -c suture -n {_single(condition)} {rest}"


def _fish_option(option: CommandOption) -> str:
    names = [f"--long-option {n[2:]}" if n.startswith("--") else f"--short-option {n[1:]}" for n in option.names]
    value = "" if option.value is Value.NONE else f" {_fish_value(option)}"
    return f"{' '.join(names)} --description {_single(' '.join(option.help.split()))}{value}".rstrip()


def _fish_value(option: CommandOption) -> str:
    return {
        Value.FILE: "--require-parameter --force-files",
        Value.FOLDER: "--exclusive --arguments '(__fish_complete_directories)'",
        Value.PROCESS: "--exclusive --arguments '(__fish_complete_pids)'",
        Value.CHOICE: f"--exclusive --arguments {_single(' '.join(option.choices))}",
    }.get(option.value, "--exclusive")


SHELLS: dict[str, Callable[[], str]] = {"bash": bash, "zsh": zsh, "fish": fish}


def main(words: list[str]) -> int:
    if len(words) != 1 or words[0] not in SHELLS:
        print(f"usage: python -m suture.cli.completion {'|'.join(SHELLS)}", file=sys.stderr)
        return ExitCode.USAGE
    print(SHELLS[words[0]](), end="")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
