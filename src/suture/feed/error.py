"""What can be wrong with a feed: for those who fetch from it, and for those who keep it."""

from __future__ import annotations

from suture.error import ExitCode, SutureError


class Untrusted(SutureError):
    """What the feed hands out is not what its keys have signed, or not the newest of it. Nothing was taken."""

    exit_code = ExitCode.UNTRUSTED


class Unreachable(SutureError):
    """The feed, or a file of it, cannot be had."""

    exit_code = ExitCode.NOT_FOUND


class BadFeed(SutureError):
    """The folder is no feed, or one that is damaged."""

    exit_code = ExitCode.NOT_FOUND


class NoKey(SutureError):
    """Not enough private keys are at hand to sign what has to be signed."""

    exit_code = ExitCode.NO_PERMISSION
