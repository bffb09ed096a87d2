"""FastAPI: the lifespan, a session for each request, answers for errors, and health checks."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Annotated, TypeVar

from anyio import CancelScope
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.requests import HTTPConnection
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import AfterValidator, BaseModel
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import Send

from . import errors
from .database import Database
from .engine import Health
from .models import Key

logger = logging.getLogger(__name__)

T = TypeVar("T")


@asynccontextmanager
async def lifespan(app: FastAPI, database: Database | None = None) -> AsyncGenerator[None]:
    """Open the database for an application: pass this as `FastAPI(lifespan=...)`.

    In a lifespan of your own write `async with lifespan(app):`.
    """
    async with database or Database() as app.state.database:
        yield


def _database(connection: HTTPConnection) -> Database:
    database: object = getattr(connection.app.state, "database", None)
    if not isinstance(database, Database):
        raise RuntimeError("the application was not started, or does not use db.fastapi.lifespan")
    return database


# For streams and background tasks: they outlive the request's session, and open their own.
AppDatabase = Annotated[Database, Depends(_database)]


async def _transaction(database: AppDatabase) -> AsyncGenerator[AsyncSession]:
    async with database.transaction() as session:
        yield session


async def _reader(database: AppDatabase) -> AsyncGenerator[AsyncSession]:
    async with database.reader() as session:
        yield session


# The unit of work of a request. It is committed when the route returns, and rolled back when the
# route raises any exception, also HTTPException. With this scope the commit comes before the
# response: FastAPI's default would send a 200 first.
# https://fastapi.tiangolo.com/tutorial/dependencies/dependencies-with-yield/
DbSession = Annotated[AsyncSession, Depends(_transaction, scope="function")]

# For a request that only reads. It is faster, since each statement runs by itself; a write raises
# ReadOnly.
ReadSession = Annotated[AsyncSession, Depends(_reader, scope="function")]


def _fits(key: T) -> T:
    if isinstance(key, int) and key.bit_length() > 63:
        raise ValueError("a key has at most 63 bits")
    return key


# A key in a path. A number that is too large for any column is a 422, not an error of the driver.
PathKey = Annotated[Key, AfterValidator(_fits)]


class Problem(BaseModel):
    """The body of an error response: https://www.rfc-editor.org/rfc/rfc9457 ."""

    title: str
    status: int
    detail: str
    fields: tuple[str, ...] = ()


# The texts are fixed, because an error's own message may name tables, constraints or the server. An
# error that is not listed here is a 500, with its traceback in the log.
_ANSWERS: dict[type[Exception], tuple[int, str]] = {
    errors.NotFound: (404, "no resource has this key"),
    errors.UniqueViolation: (409, "another resource has the same value"),
    errors.ForeignKeyViolation: (409, "other resources refer to this, or this to a missing one"),
    errors.StaleRow: (409, "the resource was changed by another request: read it again"),
    errors.NotNullViolation: (422, "a required value is missing"),
    errors.CheckViolation: (422, "a value is not allowed"),
    errors.InvalidValue: (422, "invalid value: wrong type, too large, or without a time zone"),
    errors.UnknownField: (422, "unknown field"),
    errors.NotWritable: (422, "unknown field"),
    errors.InvalidCursor: (422, "invalid cursor for these pages: begin without a cursor"),
    # Not a 503, which invites to repeat the request: the work might then be done twice.
    errors.CommitOutcomeUnknown: (500, "the work may have been done: check before you try again"),
    # Nothing was committed, and the same request may succeed. A 409 would ask for another request.
    **dict.fromkeys(
        (*errors.RETRYABLE, errors.LockTimeout, errors.QueryTimeout, errors.PoolExhausted),
        (503, "the database is busy or unavailable, and nothing was changed: try again"),
    ),
}


def add_error_handlers(app: FastAPI) -> None:
    """Answer the layer's errors with a Problem. A 503 has the header Retry-After, in seconds."""
    for kind, (status, detail) in _ANSWERS.items():
        app.add_exception_handler(kind, partial(_answer, status, detail))


_REFERENCED = {True: "other resources refer to this", False: "this refers to a missing resource"}


async def _answer(status: int, detail: str, request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, errors.ForeignKeyViolation) and error.referenced is not None:
        detail = _REFERENCED[error.referenced]
    if status >= 500:
        logger.error("answered %d: %s", status, error)
    fields: tuple[str, ...] = getattr(error, "fields", ())
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, fields=fields)
    headers = {"Retry-After": "1"} if status == 503 else {}
    return JSONResponse(problem.model_dump(), status, headers, "application/problem+json")


health = APIRouter(prefix="/health", tags=["health"])


@health.get("/live")
async def live() -> dict[str, bool]:
    """Return whether the process answers. A restart cures no database, so this does not ask it."""
    return {"ok": True}


@health.get("/ready")
async def ready(database: AppDatabase, response: Response) -> Health:
    """Return whether the database answers within 2 s; if not, 503 with the error.

    Do not expose this to the public: the error may name the server.
    """
    state = await database.ping(timeout=2)
    response.status_code = 200 if state.ok else 503
    return state


class Stream(StreamingResponse):
    """A response that is sent in pieces. Its generator, with the session in it, ends with it."""

    def __init__(self, pieces: AsyncGenerator[str], media_type: str) -> None:
        super().__init__(pieces, media_type=media_type)
        self._pieces = pieces

    # PRIVATE: starlette StreamingResponse.stream_response: no public method sends only the body
    async def stream_response(self, send: Send) -> None:
        """Send the pieces in a task of their own, and wait until the generator has ended.

        When the client disconnects, anyio cancels again and again until the task has ended. That
        would also interrupt the closing of a connection. A task of its own is cancelled once.
        """
        task = asyncio.create_task(self._send(send))
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            with CancelScope(shield=True):
                await asyncio.wait([task])
        task.result()

    async def _send(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        finally:
            # After a disconnect Starlette leaves the generator to the garbage collector.
            await self._pieces.aclose()
