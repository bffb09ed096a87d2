"""The database in a FastAPI application: a session for each request, errors as answers, health."""

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
    """For FastAPI(lifespan=...), or `async with lifespan(app):` in a lifespan of yours."""
    async with database or Database() as app.state.database:
        yield


def _database(connection: HTTPConnection) -> Database:
    database: object = getattr(connection.app.state, "database", None)
    if not isinstance(database, Database):
        raise RuntimeError("the application was not started, or has another lifespan than db's")
    return database


# For what outlives the request's session, as streams and background tasks do: they take their own.
AppDatabase = Annotated[Database, Depends(_database)]


async def _transaction(database: AppDatabase) -> AsyncGenerator[AsyncSession]:
    async with database.transaction() as session:
        yield session


async def _reader(database: AppDatabase) -> AsyncGenerator[AsyncSession]:
    async with database.reader() as session:
        yield session


# A request's unit of work: committed when the route returns, rolled back when it raises anything,
# HTTPException too. The scope puts the commit before the response: FastAPI's default would send a
# 200 first. https://fastapi.tiangolo.com/tutorial/dependencies/dependencies-with-yield/
DbSession = Annotated[AsyncSession, Depends(_transaction, scope="function")]

# For a request that only reads: quicker, each statement by itself, and ReadOnly for a write.
ReadSession = Annotated[AsyncSession, Depends(_reader, scope="function")]


def _fits(key: T) -> T:
    if isinstance(key, int) and key.bit_length() > 63:
        raise ValueError("no key is as large as that")
    return key


# A key in a path: a number that no column can hold is a 422, not an error of the driver.
PathKey = Annotated[Key, AfterValidator(_fits)]


class Problem(BaseModel):
    """The body of an error: https://www.rfc-editor.org/rfc/rfc9457"""

    title: str
    status: int
    detail: str
    fields: tuple[str, ...] = ()


# Fixed words: what the error itself says may name tables, constraints, or where the database is.
# An error that is not listed is a 500, with its traceback in the log.
_ANSWERS: dict[type[Exception], tuple[int, str]] = {
    errors.NotFound: (404, "there is none with this key"),
    errors.UniqueViolation: (409, "there is one with the same value"),
    errors.ForeignKeyViolation: (409, "what it refers to is not there, or it is referred to"),
    errors.StaleRow: (409, "someone else changed it: read it again, and decide anew"),
    errors.NotNullViolation: (422, "a value is missing"),
    errors.CheckViolation: (422, "a value is not allowed"),
    errors.InvalidValue: (422, "a value is of another kind or size, or is a time without a zone"),
    errors.UnknownField: (422, "a field is not known here"),
    errors.NotWritable: (422, "a field is not known here"),
    errors.InvalidCursor: (422, "the cursor is not one of these pages: begin with none"),
    # Asked again at once it might be done twice: so no 503, which invites to that.
    errors.CommitOutcomeUnknown: (500, "it may have been done: look before you try again"),
    # Nothing was kept, and the same request may well succeed: 409 would ask for another one.
    **dict.fromkeys(
        (*errors.RETRYABLE, errors.LockTimeout, errors.QueryTimeout, errors.PoolExhausted),
        (503, "the database is busy or away, and nothing was changed: try again"),
    ),
}


def add_error_handlers(app: FastAPI) -> None:
    """Answer the layer's errors with a Problem; a 503 has Retry-After, in seconds."""
    for kind, (status, detail) in _ANSWERS.items():
        app.add_exception_handler(kind, partial(_answer, status, detail))


_REFERENCED = {True: "something else refers to it", False: "what it refers to is not there"}


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
    """Whether the process answers. It does not ask the database, which no restart would cure."""
    return {"ok": True}


@health.get("/ready")
async def ready(database: AppDatabase, response: Response) -> Health:
    """Whether the database answers within 2 s; if not, 503 and why: for your own probes alone."""
    found = await database.ping(timeout=2)
    response.status_code = 200 if found.ok else 503
    return found


class Stream(StreamingResponse):
    """A response sent piece by piece, whose generator, and the session in it, end with it."""

    def __init__(self, pieces: AsyncGenerator[str], media_type: str) -> None:
        super().__init__(pieces, media_type=media_type)
        self._pieces = pieces

    async def stream_response(self, send: Send) -> None:
        # When the client goes away, anyio cancels again and again until the task has ended, and so
        # would break off the closing of a connection too. A task of its own is cancelled once.
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
            # Starlette leaves the generator of a client who went away to the garbage collector.
            await self._pieces.aclose()
