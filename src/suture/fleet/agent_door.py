"""Where hosts come to: enrolment, check-in and the change of a key. Every answer is signed by the server."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from suture.fleet import audit, event
from suture.fleet.enrolment import enrol
from suture.fleet.error import Forged, Malformed
from suture.fleet.rotation import rotate
from suture.fleet.server import Server
from suture.fleet.server_key import attempt_secret
from suture.patch import strict_json
from suture.report import webhook
from suture.report.check_in import (
    CHECK_IN,
    CHECK_IN_PATH,
    ENROL,
    ENROL_PATH,
    ROTATE,
    ROTATE_PATH,
    SIGNATURE_HEADER,
    CheckInAnswer,
    EnrolmentAnswer,
    EnrolmentRequest,
    RotationAnswer,
    RotationRequest,
)
from suture.report.document import AttemptReport
from suture.report.encoding import NoDocument, decode, of_type

T = TypeVar("T")
_MOST_ENROLMENT, _MOST_VALUES = 8192, 64
_MOST_ATTEMPT = 1 << 16
ATTEMPT_PATH = "/agent/v1/attempts"


def door(server: Server) -> APIRouter:
    """The ways in."""
    router = APIRouter(include_in_schema=False)

    def answer(message: EnrolmentAnswer | CheckInAnswer | RotationAnswer, what: str) -> Response:
        data, signature = server.signed(message, what)
        return Response(data, media_type="application/json", headers={SIGNATURE_HEADER: signature})

    def work_enrol(data: bytes, signature: bytes, address: str) -> Response:
        server.enrolments.use(address)
        asked = _parsed(EnrolmentRequest, data, "enrolment")
        with server.database.writing() as session:
            row = enrol(session, asked, data, signature, address, server.now())
            number = row.id if row else ""
        return answer(EnrolmentAnswer(number, server.key.name, server.settings.every_seconds), ENROL)

    def work_rotate(data: bytes, signature: bytes, address: str) -> Response:
        server.enrolments.use(address)
        asked = _parsed(RotationRequest, data, "rotation")
        with server.database.writing() as session:
            row = rotate(session, server.key, asked, data, signature, server.now())
        server.check_ins.forget(row.id)
        return answer(RotationAnswer(row.id, row.key.hex()), ROTATE)

    def work_check_in(data: bytes, signature: bytes, address: str) -> Response:
        return answer(server.check_ins.take(data, signature, address, server.now()), CHECK_IN)

    def work_attempt(data: bytes, signature: str, address: str) -> Response:
        with server.database.writing() as session:
            secret = attempt_secret(session).encode()
            now = server.now()
            if not webhook.is_signed(secret, data, signature, int(now.timestamp())):
                raise Forged(
                    "attempt: who sends it does not know the secret, or it is old", "suture fleet key --attempts"
                )
            _note_attempt(session, data, address, now)
        return Response(status_code=204)

    @router.post(ATTEMPT_PATH)
    async def attempt(request: Request) -> Response:
        header = request.headers.get(webhook.HEADER, "")
        return await run_in_threadpool(work_attempt, await request.body(), header, address_of(request))

    @router.post(ENROL_PATH)
    async def enrol_(request: Request) -> Response:
        return await run_in_threadpool(work_enrol, await request.body(), _signature(request), address_of(request))

    @router.post(ROTATE_PATH)
    async def rotate_(request: Request) -> Response:
        return await run_in_threadpool(work_rotate, await request.body(), _signature(request), address_of(request))

    @router.post(CHECK_IN_PATH)
    async def check_in(request: Request) -> Response:
        data, signature = await request.body(), _signature(request)
        return await run_in_threadpool(work_check_in, data, signature, address_of(request))

    return router


def _note_attempt(session: Session, data: bytes, address: str, now: datetime) -> None:
    """Raises `Malformed`."""
    try:
        said = decode(strict_json.loads(data, _MOST_ATTEMPT, _MOST_VALUES * 4))
    except (NoDocument, ValueError, UnicodeDecodeError) as problem:
        raise Malformed(f"attempt: {str(problem)[:200]}", "update Suture on the host") from problem
    if not isinstance(said, AttemptReport):
        raise Malformed("attempt: it is of another kind", "suture agent notify sends what is meant")
    subject = f"{', '.join(said.wire.cves) or 'no CVE'}: {said.count} attempts on {said.host.name}"
    text = f"{said.wire.binary}, {said.wire.function}, as user {said.user}; it came from {address}."
    same = hashlib.sha256(data).hexdigest()
    if event.note(session, event.NoticeKind.ATTEMPT_SEEN, subject, text, same, now):
        audit.note(session, f"host {said.host.id}", "attempt", said.host.name, subject)


def address_of(request: Request) -> str:
    """Where a request comes from, as the socket says."""
    return request.client.host if request.client else ""


def _signature(request: Request) -> bytes:
    try:
        return bytes.fromhex(request.headers.get(SIGNATURE_HEADER, ""))
    except ValueError as problem:
        raise Forged("its signature has no form", "update Suture on the host") from problem


def _parsed(kind: type[T], data: bytes, what: str) -> T:
    try:
        return of_type(kind, strict_json.loads(data, _MOST_ENROLMENT, _MOST_VALUES), what)
    except (NoDocument, ValueError, UnicodeDecodeError) as problem:
        raise Malformed(f"{what}: {str(problem)[:200]}", "update Suture on the host") from problem
