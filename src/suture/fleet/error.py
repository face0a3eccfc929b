"""What the server refuses, with the status that HTTP has for it."""

from __future__ import annotations

from typing import ClassVar

from suture.error import ExitCode, SutureError


class FleetRefusal(SutureError):
    """The server refuses a request."""

    exit_code = ExitCode.REFUSED
    status: ClassVar[int] = 400


class Forged(FleetRefusal):
    """Not signed by whom it names, or by nobody that is known."""

    exit_code = ExitCode.UNTRUSTED
    status: ClassVar[int] = 401


class Replayed(FleetRefusal):
    """It has come before, or it is from another time."""

    exit_code = ExitCode.UNTRUSTED
    status: ClassVar[int] = 409


class Malformed(FleetRefusal):
    """What came has not its form."""

    exit_code = ExitCode.USAGE
    status: ClassVar[int] = 422


class TooLong(FleetRefusal):
    """More bytes than its kind ever has."""

    exit_code = ExitCode.USAGE
    status: ClassVar[int] = 413


class NotPermitted(FleetRefusal):
    """This person may not do that."""

    exit_code = ExitCode.NO_PERMISSION
    status: ClassVar[int] = 403


class NoSuchThing(FleetRefusal):
    """There is none, or none that this person may see."""

    exit_code = ExitCode.NOT_FOUND
    status: ClassVar[int] = 404


class TooMany(FleetRefusal):
    """Too many tries in a time."""

    exit_code = ExitCode.BUSY
    status: ClassVar[int] = 429
