"""What each exit code means to the caller of `suture`; docs/reference/exit-codes.md and every --help are made from it.

`python -m suture.cli.exit_code` prints docs/reference/exit-codes.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from suture.error import ExitCode

MEANING: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "an unexpected failure: a defect in Suture; run the command again with --debug and report it",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.REFUSED: "the safety verdict or a precondition forbids it; nothing was changed",
    ExitCode.BUSY: "a thread stayed inside a replaced function; nothing was changed",
    ExitCode.PARTIAL: "only part was done; the output lists the rest, and unreadable processes, with reasons",
    ExitCode.BAD_PATCH: "the patch file is truncated or altered, or it is not a live patch",
    ExitCode.WRONG_TARGET: "the build-id or the code bytes differ from those that the patch was made for",
    ExitCode.NO_PROCESS: "the process has ended or never existed, or no process carries the patch to revert",
    ExitCode.NO_PERMISSION: "no permission to trace the process or to read the file",
    ExitCode.NOT_FOUND: "a source, package, recipe or file could not be found",
    ExitCode.NO_MATCH: "the compiled code does not match the code that runs",
    ExitCode.COMMAND: "another program failed; the message shows its command line",
    ExitCode.UNSUPPORTED: "Suture does not support this architecture, kernel or kind of file",
    ExitCode.UNTRUSTED: "what a feed hands out is expired, older than before, or not what its keys have signed",
}

# Not in the enum, because no error carries them: the shell's convention of 128 + signal number.
INTERRUPTED = 130  # SIGINT
BROKEN_PIPE = 141  # SIGPIPE: the reader of our output went away

BY_SIGNAL = {
    INTERRUPTED: "interrupted from the keyboard (SIGINT)",
    BROKEN_PIPE: "the program that read the output has ended (SIGPIPE)",
}


def help_lines(codes: Iterable[ExitCode]) -> str:
    """The exit codes as an indented list for a --help text."""
    return own_lines({int(code): MEANING[code] for code in codes})


def own_lines(meaning: Mapping[int, str]) -> str:
    """The same for codes with these meanings."""
    return "\n".join(f"  {code:>3}  {text}" for code, text in meaning.items())


def document() -> str:
    """The text of docs/reference/exit-codes.md."""
    rows = [f"| {code} | `{code.name}` | {MEANING[code]} |" for code in ExitCode]
    rows += [f"| {status} | | {meaning} |" for status, meaning in BY_SIGNAL.items()]
    return "\n".join(
        [
            "# Exit codes",
            "",
            "Every `suture` command ends with one of these codes. If the code is neither 0 nor that of a signal, the",
            "command prints the reason and the remedy to stderr. With `--json` it prints one document of the kind",
            "`error` to stdout ([report.md](report.md)).",
            "",
            "| code | name | meaning |",
            "|---|---|---|",
            *rows,
            "",
            "`python -m suture.cli.exit_code` writes this page; a test compares it with the code.",
            "",
        ]
    )


if __name__ == "__main__":
    print(document(), end="")
