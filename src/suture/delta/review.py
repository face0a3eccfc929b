"""What a person should look at in a patch that passes all checks: changes that are right where the program starts anew,
and may not be where half of an old state is met.

Old code took a lock, or a reference, before the switch, and new code gives it back after it, or the other way round:
what is counted in pairs is looked at where the count of one function changes. A new call that may wait is looked at
because the caller may hold a lock, another error code of a function that other files call because its callers may not
expect it. (A type whose layout changes, or an enumerator that gets another meaning, is refused:
`suture.delta.layout`.) The names are those of POSIX, glibc, OpenSSL, GLib, Qt, PostgreSQL, the kernel and of what
follows their habits; a wrapper with another name is not recognised, so that this grade is a help and no proof.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from suture.delta.atom import AtomObject
from suture.delta.error_code import error_codes

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LOCKS = frozenset(
    {
        "lock",
        "unlock",
        "trylock",
        "mutex",
        "rwlock",
        "spinlock",
        "flock",
        "lockfile",
        "unlockfile",
        "flockfile",
        "funlockfile",
        "latch",
        "critical",
    }
)
_LWLOCKS = re.compile(
    r"LWLock(?:Acquire|Release)|(?:sem|down|up)_(?:wait|post|trywait|read|write)|^(?:down|up)$|rcu_read_(?:un)?lock"
)
_REFERENCES = frozenset({"ref", "unref", "incref", "decref", "addref", "upref", "kref", "refcount", "retain", "deref"})
_REFERENCE_NAMES = re.compile(
    r"_up_ref$|^Py_(?:Inc|Dec)Ref$|^(?:of_node|dev|sock|fd|net|pid|module)_?(?:get|put|hold)$|"
    r"(?:^|_)(?:hold|put)_net$|^dev_hold$|^f(?:get|put)$"
)
_WAITS = frozenset({
    "sleep", "usleep", "nanosleep", "clock_nanosleep", "poll", "ppoll", "select", "pselect", "epoll_wait",
    "wait", "waitpid", "wait4",
    "pthread_cond_wait", "pthread_cond_timedwait", "pthread_join", "accept", "accept4", "connect", "recv",
    "recvfrom", "recvmsg", "fsync",
    "fdatasync", "msleep", "schedule", "schedule_timeout", "wait_for_completion", "cond_resched", "might_sleep",
    "synchronize_rcu", "synchronize_net", "synchronize_srcu", "synchronize_irq", "rcu_barrier",
    "flush_work", "__flush_workqueue", "cancel_work_sync", "cancel_delayed_work_sync", "del_timer_sync",
    "timer_delete_sync", "disable_irq", "napi_disable", "kthread_stop", "io_schedule", "schedule_timeout_interruptible",
    "schedule_timeout_killable", "schedule_timeout_uninterruptible", "wait_for_completion_timeout",
    "wait_for_completion_interruptible", "prepare_to_wait_event", "msleep_interruptible", "usleep_range_state",
    "__cond_resched", "__might_sleep", "__might_resched", "_copy_from_user", "_copy_to_user", "vmalloc", "__vmalloc",
    "kvmalloc_node",
})  # fmt: skip
_STARTS = frozenset(
    {
        "pthread_create",
        "thrd_create",
        "fork",
        "vfork",
        "kthread_create_on_node",
        "pthread_atfork",
        "signal",
        "sigaction",
    }
)


class ChangedUnit(Protocol):
    """A unit before and after a fix, of a binary or of the kernel; `replaced` are the functions that change."""

    @property
    def source(self) -> str: ...

    @property
    def pre(self) -> AtomObject: ...

    @property
    def post(self) -> AtomObject: ...

    @property
    def replaced(self) -> frozenset[str]: ...


class Reviewed(NamedTuple):
    """A thing to look at: its kind (`lock`, `reference`, `wait`, `start` or `error`), where it is, and what it is."""

    kind: str
    function: str
    file: str
    what: str


def kind_of(name: str) -> str:
    """What kind of call a name is, "" for any other."""
    if name in _WAITS:
        return "wait"
    if name in _STARTS:
        return "start"
    words = {w.lower() for w in _WORDS.findall(name)}
    if words & _LOCKS or _LWLOCKS.search(name):
        return "lock"
    if words & _REFERENCES or _REFERENCE_NAMES.search(name):
        return "reference"
    return ""


def reviews(changes: Sequence[ChangedUnit]) -> tuple[Reviewed, ...]:
    """All that a person should look at in the functions that change, sorted."""
    found = {r for change in changes for r in _of_unit(change)}
    return tuple(sorted(found, key=lambda r: (r.file, r.function, r.kind, r.what)))


def _of_unit(change: ChangedUnit) -> Iterator[Reviewed]:
    for name in sorted(change.replaced):
        before, after = calls(change.pre, name), calls(change.post, name)
        for called in sorted(before.keys() | after.keys()):
            kind, less, more = kind_of(called), before[called], after[called]
            if not kind or less == more or (kind in ("wait", "start") and more < less):
                continue
            yield Reviewed(kind, name, change.source, f"calls {called} {_times(more)}, {_times(less)} before")
        yield from _errors(change, name)


def _errors(change: ChangedUnit, name: str) -> Iterator[Reviewed]:
    """Error codes of a function that other files may call: the first that it ever returns, or another in place of one.
    One more beside others is none, since callers know that it may fail."""
    pre, post = change.pre.functions.get(name), change.post.functions.get(name)
    if pre is None or post is None or not post.hot.is_global:
        return
    before, after = error_codes(pre), error_codes(post)
    fresh, gone = sorted(after - before, reverse=True), sorted(before - after, reverse=True)
    if fresh and (gone or not before):
        was = f"{_numbers(gone)} no more" if gone else "no error code of its own before"
        yield Reviewed("error", name, change.source, f"may return {_numbers(fresh)}, {was}")


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def calls(obj: AtomObject, name: str) -> Counter[str]:
    """How often the code of a function refers to each symbol; what the compiler inlined into it counts as its own."""
    function = obj.functions.get(name)
    return Counter(r.symbol for a in function.atoms for r in a.references if r.symbol) if function else Counter()


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")
