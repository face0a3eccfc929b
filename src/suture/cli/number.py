"""Numbers on the command line, for argparse: what is none, or out of range, is an error of usage."""

from __future__ import annotations

import argparse

_MOST_SECONDS = 10_000_000
_MOST_PID = 2**31 - 1  # pid_t
_MOST_JOBS = 10_000
_MOST_DAYS = 3650
_MOST_COUNT = 1_000_000


def seconds(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{word} is no number of seconds from 0 to {_MOST_SECONDS}")
    return value


def jobs(word: str) -> int:
    return _whole(word, _MOST_JOBS, "number of processes at a time")


def days(word: str) -> int:
    return _whole(word, _MOST_DAYS, "number of days")


def count(word: str) -> int:
    return _whole(word, _MOST_COUNT, "number")


def pid(word: str) -> int:
    return _whole(word, _MOST_PID, "process id")


def _whole(word: str, most: int, what: str) -> int:
    # more digits than int() converts
    if not (word.isascii() and word.isdigit() and len(word) <= len(str(most)) and 1 <= int(word) <= most):
        raise argparse.ArgumentTypeError(f"{word} is no {what} from 1 to {most}")
    return int(word)
