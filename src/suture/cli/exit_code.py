"""What each exit code means to the caller of `suture`; docs/reference/exit-codes.md and every --help are made from it.

`python -m suture.cli.exit_code` prints docs/reference/exit-codes.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from suture.error import ExitCode

MEANING: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "unforeseen failure, a defect in Suture; run again with --debug and report it",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.REFUSED: "the safety verdict or a precondition says no; nothing was changed",
    ExitCode.BUSY: "a thread stayed inside a replaced function; nothing was changed",
    ExitCode.PARTIAL: "some of what was asked for was done; the rest, also processes that could not be looked at, is listed with the reason",
    ExitCode.BAD_PATCH: "the patch file is truncated, altered or no live patch at all",
    ExitCode.WRONG_TARGET: "build-id or code bytes are not those that the patch was made for",
    ExitCode.NO_PROCESS: "the process is gone or was never there, or no process carries the patch to be reverted",
    ExitCode.NO_PERMISSION: "not allowed to trace the process or to read the file",
    ExitCode.NOT_FOUND: "a source, package, recipe or file is not to be had",
    ExitCode.NO_MATCH: "the compiled code is not the code that runs",
    ExitCode.COMMAND: "another program failed; the message has its command line",
    ExitCode.UNSUPPORTED: "this architecture, kernel or kind of file is not handled",
}

# Not in the enum, because no error carries them: the shell's convention of 128 + signal number.
INTERRUPTED = 130  # SIGINT
BROKEN_PIPE = 141  # SIGPIPE: the reader of our output went away

BY_SIGNAL = {
    INTERRUPTED: "interrupted from the keyboard",
    BROKEN_PIPE: "the reader of the output went away",
}


def help_lines(codes: Iterable[ExitCode]) -> str:
    """The exit codes as an indented list for a --help text."""
    return "\n".join(f"  {code:>3}  {MEANING[code]}" for code in codes)


def document() -> str:
    """The text of docs/reference/exit-codes.md."""
    rows = [f"| {code} | `{code.name}` | {MEANING[code]} |" for code in ExitCode]
    rows += [f"| {status} | | {meaning} |" for status, meaning in BY_SIGNAL.items()]
    return "\n".join(
        [
            "# Exit codes",
            "",
            "Every `suture` command ends with one of these. Where the code is neither 0 nor a signal, the reason and the",
            "remedy are on stderr; with `--json` they are one JSON object on stdout instead:",
            '`{"error": "...", "remedy": "...", "exit_code": 3}`.',
            "",
            "| code | name | meaning |",
            "|---|---|---|",
            *rows,
            "",
            "This page is written by `python -m suture.cli.exit_code`; a test compares it with the code.",
            "",
        ]
    )


if __name__ == "__main__":
    print(document(), end="")
