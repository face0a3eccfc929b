"""Hosts of a fleet that check in, each over a connection of its own as agents do, at an even pace that does not wait
for answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fleet_fill import digest_of, id_of, key_of

from suture.report.check_in import CHECK_IN, CHECK_IN_PATH, SIGNATURE_HEADER, CheckIn, encoded, to_sign

_SECONDS = 30.0  # for one answer


@dataclass
class Outcome:
    """What the hosts met. `seconds` of each answer, from the moment at which the host was to begin."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    wanted: int = 0  # answers that want the state

    def at(self, share: float) -> float:
        """The time within which this share was answered."""
        rows = sorted(self.seconds)
        return rows[min(int(len(rows) * share), len(rows) - 1)] if rows else 0.0


def run(ports: Sequence[int], messages: Sequence[bytes], rate: float) -> Outcome:
    """Hosts send these, `rate` of them a second."""
    found = Outcome()
    asyncio.run(_all(ports, messages, rate, found))
    return found


def flood(ports: Sequence[int], messages: Sequence[bytes], at_a_time: int) -> tuple[Outcome, float]:
    """All of these, always so many at a time; and the seconds that it took."""
    found, left, begin = Outcome(), iter(enumerate(messages)), time.monotonic()

    async def one() -> None:
        for count, message in left:
            await _one(ports[count % len(ports)], message, time.monotonic(), found)

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(at_a_time)))

    asyncio.run(all_of_them())
    return found, time.monotonic() - begin


async def _all(ports: Sequence[int], messages: Sequence[bytes], rate: float, found: Outcome) -> None:
    begin = time.monotonic()
    tasks = set()
    for count, message in enumerate(messages):
        due = begin + count / rate
        if (left := due - time.monotonic()) > 0.001:
            await asyncio.sleep(left)
        elif count % 20 == 0:
            await asyncio.sleep(0)
        task = asyncio.create_task(_one(ports[count % len(ports)], message, due, found))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


async def _one(port: int, message: bytes, due: float, found: Outcome) -> None:
    try:
        async with asyncio.timeout(_SECONDS):
            answer = await _say(port, message)
    except (OSError, TimeoutError) as problem:
        found.failed.append(f"{type(problem).__name__}: {problem}")
        return
    found.seconds.append(time.monotonic() - due)
    if not answer.startswith(b"HTTP/1.1 200"):
        found.failed.append(answer[:200].decode(errors="replace"))
    found.wanted += b'"wants_state":true' in answer


async def _say(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


def message(server: str, number: int) -> bytes:
    """A check-in with nothing new, as a request of HTTP."""
    said = CheckIn(
        id_of(number), time.time_ns() // 1_000_000, datetime.now(UTC).isoformat(), f"boot {number}",
        digest_of(number), None, None,
    )  # fmt: skip
    data = encoded(said)
    signature = key_of(number).sign(to_sign(CHECK_IN, server, data)).hex()
    head = (
        f"POST {CHECK_IN_PATH} HTTP/1.1\r\nHost: fleet\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"{SIGNATURE_HEADER}: {signature}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data
