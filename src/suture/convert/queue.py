"""The durable queue of conversions: DBOS keeps it, in SQLite or in a PostgreSQL that several builders share.

Each update is a workflow that is named after it, so that it is queued once, whoever sees it. A builder that dies leaves
its workflows pending; it takes them up again when it comes back, and where builders share a database the others do as
soon as they see that it is gone. They see it by a lock that the builder holds as long as it lives: a file's on one
host, PostgreSQL's own advisory lock between hosts. What a conversion has made so far lies in the cache, so that a
second try goes on and does not begin anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, Queue, SetWorkflowID

from suture.convert import worker
from suture.convert.kernel import KernelScope
from suture.convert.store import is_done
from suture.convert.worker import ToConvert
from suture.error import ExitCode, SutureError
from suture.progress import Progress, silent
from suture.source.update import Update

NAME = "suture-builds"
_QUEUE = "conversions"
_PENDING, _WAITING = "PENDING", ("ENQUEUED", "PENDING")
_AGAIN = " again "  # between an update's name and the time, in the name of a workflow
_PAUSE = 1.0


class QueueFailed(SutureError):
    """The queue's database cannot be reached."""

    exit_code = ExitCode.COMMAND


class WorkerFailed(SutureError):
    """A conversion ended in a way that no conversion should."""

    exit_code = ExitCode.COMMAND


@dataclass(frozen=True)
class QueuePlace:
    """Where the queue is: the URL of a database, and the folder that patches and facts go to, which builders share."""

    url: str
    output: Path

    @classmethod
    def beside(cls, output: Path) -> QueuePlace:
        """A queue in SQLite beside the patches."""
        return cls(f"sqlite:///{output.absolute() / 'queue.sqlite'}", output.absolute())


class Lives(Protocol):
    """Tells which builders live."""

    def hold(self, builder: str) -> AbstractContextManager[None]: ...

    def is_dead(self, builder: str) -> bool: ...


class FileLives:
    """Builders of one host: each holds the lock on a file, which the kernel lets go of when it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def hold(self, builder: str) -> Iterator[None]:
        with open(self._folder / builder, "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def is_dead(self, builder: str) -> bool:
        with open(self._folder / builder, "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True


class DatabaseLives:
    """Builders that share a PostgreSQL: each holds an advisory lock in a session of its own.

    Sessions have no transaction open, for which the queue's CREATE INDEX CONCURRENTLY would wait, and end when they are
    left: one that lives on in a pool would keep what asking whether a builder is dead has locked.
    """

    def __init__(self, url: str) -> None:
        self._engine = sqlalchemy.create_engine(
            url.replace("postgresql://", "postgresql+psycopg://", 1),
            isolation_level="AUTOCOMMIT",
            poolclass=sqlalchemy.pool.NullPool,
        )

    @contextmanager
    def hold(self, builder: str) -> Iterator[None]:
        with self._engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": _key(builder)})
            yield

    def is_dead(self, builder: str) -> bool:
        with self._engine.connect() as connection:
            row = connection.execute(sqlalchemy.text("SELECT pg_try_advisory_lock(:key)"), {"key": _key(builder)})
            return bool(row.scalar_one())


def _key(builder: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{NAME} {builder}".encode()).digest()[:8], "big", signed=True)


@contextmanager
def builder(place: QueuePlace, name: str, jobs: int, progress: Progress = silent) -> Iterator[Builder]:
    """A builder that works as long as the context lasts. `name` tells it from others of the same queue. Raises
    `QueueFailed`."""
    config: DBOSConfig = {
        "name": NAME,
        "system_database_url": place.url,
        "executor_id": name,
        "application_version": "1",
        "log_level": "ERROR",
        "serializer": DBOSPortableJSONSerializer(),
    }
    place.output.mkdir(parents=True, exist_ok=True)
    lives: Lives = (
        DatabaseLives(place.url) if place.url.startswith("postgresql") else FileLives(place.output / ".builders")
    )
    with ExitStack() as held:
        with _reaching(place.url):
            held.enter_context(lives.hold(name))
        DBOS(config=config)
        held.callback(DBOS.destroy)

        @DBOS.step(name="convert")
        def step(row: dict[str, Any]) -> None:
            _convert(ToConvert(**row), progress)

        @DBOS.workflow(name="conversion")
        def conversion(row: dict[str, Any]) -> None:
            step(row)

        with _reaching(place.url):
            DBOS.launch()
            queue = DBOS.register_queue(_QUEUE, worker_concurrency=jobs, polling_interval_sec=_PAUSE)
        yield Builder(place, name, lives, queue, conversion)


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    """Raises `QueueFailed` for what the database says."""
    try:
        yield
    except sqlalchemy.exc.SQLAlchemyError as problem:
        said = str(getattr(problem, "orig", None) or problem).strip()
        raise QueueFailed(
            f"the queue {_shown(url)}: {said}",
            "check the address, that the server runs, and that it has the database (createdb NAME makes it)",
        ) from problem


@dataclass(frozen=True)
class Builder:
    """A builder that runs."""

    place: QueuePlace
    name: str
    lives: Lives
    queue: Queue
    conversion: Any

    def put(
        self,
        updates: Iterable[Update],
        with_trial: bool = True,
        again: bool = False,
        tracker: str = "",
        scope: KernelScope | None = None,
        tripwires: bool = True,
    ) -> None:
        """Queue updates. One that is queued or done already stays as it is, unless it is to be done `again`; one that
        waits to be done again, from a pass that was killed, is not queued twice. `scope` is for kernels."""
        scope = scope or KernelScope()
        waiting = self._waiting_again() if again else frozenset()
        for update in updates:
            if update.name in waiting:
                continue
            order = ToConvert(
                **asdict(update),
                output=str(self.place.output),
                with_trial=with_trial,
                again=again,
                tracker=tracker,
                only=scope.only,
                limit=scope.seconds,
                review=scope.review,
                tripwires=tripwires,
            )
            name = update.name + (f"{_AGAIN}{time.time():.3f}" if again else "")
            with SetWorkflowID(name):
                self.queue.enqueue(self.conversion, asdict(order))

    @staticmethod
    def _waiting_again() -> frozenset[str]:
        rows = DBOS.list_workflows(status=list(_WAITING), load_output=False, load_input=False)
        return frozenset(r.workflow_id.partition(_AGAIN)[0] for r in rows if _AGAIN in r.workflow_id)

    def take_over(self) -> list[str]:
        """Queue again what builders that are gone have left; the names of the updates."""
        rows = DBOS.list_workflows(status=_PENDING, load_output=False)
        others = {r.executor_id for r in rows if r.executor_id and r.executor_id != self.name}
        dead = {o for o in others if self.lives.is_dead(o)}
        left = [r.workflow_id for r in rows if r.executor_id in dead]
        for one in left:
            DBOS.resume_workflow(one, queue_name=_QUEUE)
        return left

    def wait(self, progress: Progress = silent) -> None:
        """Until nothing is queued and nothing runs, taking over what others leave."""
        while DBOS.list_workflows(status=list(_WAITING), load_output=False, load_input=False, limit=1):
            for one in self.take_over():
                progress(f"takes over {one}")
            time.sleep(_PAUSE)

    def failed(self) -> dict[str, str]:
        """Updates whose conversion ended with an error, and the error."""
        return {r.workflow_id: str(r.error) for r in DBOS.list_workflows(status="ERROR")}


def _convert(order: ToConvert, progress: Progress) -> None:
    """One update in a process of its own. Raises `WorkerFailed`."""
    update, output = order.update, Path(order.output)
    if is_done(update, output) and not order.again:
        return
    progress(f"{update.source} {update.old} -> {update.new} {update.flavour}".rstrip())
    done = subprocess.run(worker.command(order), capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorkerFailed(
            f"{update.name}: ended with {done.returncode}: {done.stderr.strip()[-500:]}",
            "run it alone: suture watch --once --package NAME=VERSION --again",
        )


def _shown(url: str) -> str:
    """A URL without its password."""
    return str(sqlalchemy.engine.make_url(url).render_as_string(hide_password=True))
