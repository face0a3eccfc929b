"""The one root of every error that Suture raises, and the exit codes that `cli` gives them.

Libraries raise; only `suture.cli` catches. Each subclass fixes an exit code; each instance says what went wrong, where,
and what a person can do. Nothing matches on message text.
"""

from __future__ import annotations

from enum import IntEnum

from suture.report.reason import Cause, Reason


class ExitCode(IntEnum):
    """Process exit codes of the `suture` command (docs/reference/exit-codes.md)."""

    OK = 0
    FAILED = 1  # an unexpected failure; a defect in Suture
    USAGE = 2  # bad command line
    REFUSED = 3  # the verdict or a precondition says no; nothing was changed
    BUSY = 4  # a thread stayed inside a replaced function; nothing was changed
    PARTIAL = 5  # some of what was asked for was done, the rest is listed
    BAD_PATCH = 6  # the patch file is truncated, altered or foreign
    WRONG_TARGET = 7  # build-id or code bytes are not what the patch was made for
    NO_PROCESS = 8  # the process is gone or was never there
    NO_PERMISSION = 9  # not allowed to trace the process or to read the file
    NOT_FOUND = 10  # a source, package, recipe or file could not be found
    NO_MATCH = 11  # the compiled code is not the code that runs
    COMMAND = 12  # another program failed; the message has its command line
    UNSUPPORTED = 13  # this architecture, kernel or file kind is not handled
    UNTRUSTED = 14  # what a feed hands out is expired, older than before, or not what its keys have signed


_BY_EXIT_CODE = {
    ExitCode.USAGE: Reason.USAGE,
    ExitCode.REFUSED: Reason.REFUSED,
    ExitCode.BUSY: Reason.BUSY,
    ExitCode.PARTIAL: Reason.PARTIAL,
    ExitCode.BAD_PATCH: Reason.PATCH,
    ExitCode.WRONG_TARGET: Reason.REFUSED,
    ExitCode.NO_PROCESS: Reason.GONE,
    ExitCode.NO_PERMISSION: Reason.DENIED,
    ExitCode.NOT_FOUND: Reason.MISSING,
    ExitCode.NO_MATCH: Reason.NO_MATCH,
    ExitCode.COMMAND: Reason.COMMAND,
    ExitCode.UNSUPPORTED: Reason.UNSUPPORTED,
    ExitCode.UNTRUSTED: Reason.FEED,
}


class SutureError(Exception):
    """Something that a person can act on.

    `what` names the thing and what is wrong with it; `remedy` says what to do, as a command where there is one.
    `reason` is the identifier that reports carry; what happens on a host says which, the rest has that of its exit
    code.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, what: str, remedy: str, *, reason: Reason | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.reason = reason or _BY_EXIT_CODE.get(self.exit_code, Reason.DEFECT)

    @property
    def cause(self) -> Cause:
        """The error as a report tells it."""
        return Cause(self.reason, self.what, self.remedy)


class BadOption(SutureError):
    """Options that do not go together, or not with what they are given for."""

    exit_code = ExitCode.USAGE


class Refused(SutureError):
    """The verdict or a precondition says no. Nothing was changed."""

    exit_code = ExitCode.REFUSED


class NotFound(SutureError):
    """A source, package, recipe or file could not be found."""

    exit_code = ExitCode.NOT_FOUND


class Unsupported(SutureError):
    """This architecture, kernel or file kind is not handled."""

    exit_code = ExitCode.UNSUPPORTED
