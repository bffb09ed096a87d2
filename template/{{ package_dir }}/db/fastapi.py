"""FastAPI: the lifespan, a session for each request, answers for errors, and health checks."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from traceback import format_tb
from typing import Annotated, Any, TypeVar

from anyio import CancelScope
from fastapi import APIRouter, Depends, FastAPI, Request, Response, WebSocket, WebSocketException
from fastapi.exceptions import RequestValidationError
from fastapi.requests import HTTPConnection
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import AfterValidator, BaseModel
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import ClientDisconnect
from starlette.types import Message, Send

from . import errors
from .database import Database
from .engine import Health, driver
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


_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
# For `APIRouter(responses=PROBLEMS)`: the errors that any route may answer, for OpenAPI.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": _CONTENT} for status in (404, 409, 422, 500, 503)
}

# The texts are fixed, because an error's own message may name tables, constraints or the server.
_ANSWERS: dict[type[Exception], tuple[int, str]] = {
    errors.NotFound: (404, "no resource has this key"),
    errors.UniqueViolation: (409, "another resource has the same value"),
    errors.ForeignKeyViolation: (409, "other resources refer to this, or this to a missing one"),
    errors.StaleRow: (409, "the resource was changed by another request: read it again"),
    errors.CheckViolation: (422, "a value is not allowed"),
    errors.InvalidValue: (422, "invalid value: too large, too long, or without a time zone"),
    errors.UnknownField: (422, "a field is unknown, or comes twice"),
    errors.InvalidCursor: (422, "invalid cursor for these pages: begin without a cursor"),
    # Not a 503, which invites to repeat the request: the work might then be done twice.
    errors.CommitOutcomeUnknown: (500, "the work may have been done: check before you try again"),
    # Nothing was committed, and the same request may succeed. A 409 would ask for another request.
    **dict.fromkeys(
        (*errors.RETRYABLE, errors.LockTimeout, errors.QueryTimeout, errors.PoolExhausted),
        (503, "the database is busy or unavailable, and nothing was changed: try again"),
    ),
    # Mistakes in code, which `_answer` raises again: the server then logs the traceback.
    **dict.fromkeys((errors.DataLayerError, errors.InvalidType), (500, "")),
    Exception: (500, "the server made a mistake, which its log describes"),
}


def add_error_handlers(app: FastAPI) -> None:
    """Answer errors with a Problem: the layer's errors, and requests that FastAPI refuses.

    A 503 has the header Retry-After, in seconds. A mistake in code is answered with 500, and the
    server logs its traceback. An error in a WebSocket closes it, with the code 1011, or 1008 if a
    request would be answered with 4xx.
    """
    for kind, (status, detail) in _ANSWERS.items():
        app.exception_handlers.setdefault(kind, partial(_answer, status, detail))
    app.exception_handlers[RequestValidationError] = _refuse


_REFERENCED = {True: "other resources refer to this", False: "this refers to a missing resource"}


async def _answer(status: int, detail: str, request: HTTPConnection, error: Exception) -> Response:
    is_socket = isinstance(request, WebSocket)
    if not detail and not is_socket:
        raise error
    _log(status, error, is_socket=is_socket)
    if is_socket:
        raise WebSocketException(1008 if status < 500 else 1011) from error
    if isinstance(error, errors.ForeignKeyViolation) and error.referenced is not None:
        detail = _REFERENCED[error.referenced]
    fields: Iterable[str] = getattr(error, "fields", ())
    if fields and not isinstance(error, errors.UnknownField):
        # The names of columns are internal, unless the request has them too.
        fields = sorted(request_names(request).intersection(fields))
    return _problem(status, detail, fields)


# These are logged with a stack, because the code may have sent the value. A unique violation is not.
_REFUSALS = (errors.CheckViolation, errors.ForeignKeyViolation, errors.InvalidValue)


def _log(status: int, error: Exception, *, is_socket: bool) -> None:
    if status >= 500:
        logger.error("answered %d: %s", status, error, exc_info=error if is_socket else None)
    elif isinstance(error, _REFUSALS):
        code = driver.error_code(error.__cause__ or error)
        # exc_info would also show the driver's error, which may quote the row.
        stack = "".join(format_tb(error.__traceback__))
        logger.warning("answered %d: %s, code %s\n%s", status, error, code, stack)
    elif is_socket or isinstance(error, errors.UniqueViolation):
        logger.info("answered %d: %s", status, error)


async def _refuse(_: Request, error: RequestValidationError) -> Response:
    # Without the input, which may be NaN, and as long as the client likes.
    found = [(".".join(map(str, each["loc"][1:])), each["msg"]) for each in error.errors()[:5]]
    detail = "; ".join(f"{place[:100]}: {message[:200]}" for place, message in found)
    return _problem(422, detail, tuple(place[:100] for place, _ in found))


def _problem(status: int, detail: str, fields: Iterable[str] = ()) -> Response:
    # A name from a body may hold a lone surrogate, which UTF-8 does not have.
    detail, *names = [x.encode("utf-8", "backslashreplace").decode() for x in (detail, *fields)]
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, fields=(*names,))
    headers = {"Retry-After": "1"} if status == 503 else {}
    return JSONResponse(body.model_dump(), status, headers, "application/problem+json")


def request_names(request: HTTPConnection) -> set[str]:
    """Return the names of the parameters and of the body, or of the rows in it, of a request.

    There are none for a route that OpenAPI does not have.
    """
    scope, description = request.scope, request.app.openapi()
    path = getattr(scope.get("route"), "path_format", "")
    operation = description["paths"].get(path, {}).get(scope["method"].lower(), {})
    schemas = description.get("components", {}).get("schemas", {})
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"].get("items", content["schema"])
        reference = schema.get("$ref", "").rpartition("/")[2]
        names.update(schemas.get(reference, schema).get("properties", ()))
    return names


health = APIRouter(prefix="/health", tags=["health"])


@health.get("/live")
async def live() -> dict[str, bool]:
    """Return whether the process answers. A restart cures no database, so this does not ask it."""
    return {"ok": True}


@health.get("/ready", responses={500: PROBLEMS[500], 503: {"model": Health}})
async def ready(database: AppDatabase, response: Response) -> Health:
    """Return whether the database answers within 2 s, and writes; if not, 503 with the error.

    Do not expose this to the public: the error may name the server.
    """
    state = await database.ping(timeout=2)
    response.status_code = 200 if state.ok else 503
    return state


class Stream(StreamingResponse):
    """A response that is sent in pieces. Its generator, with the session in it, ends with it.

    A client that does not read would hold the generator's connection: read by `batches` of a
    reader, which holds none between two batches.

    Args:
        pieces: The generator of the pieces.
        media_type: The content type of the response.
        send_timeout: Seconds that the client has to take a piece. Then the stream ends with
            ClientDisconnect, and the server closes the connection.
    """

    def __init__(
        self, pieces: AsyncGenerator[str], media_type: str, *, send_timeout: float = 10
    ) -> None:
        super().__init__(pieces, media_type=media_type)
        self._pieces = pieces
        self._send_timeout = send_timeout

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
            # An error is raised even where this task is cancelled: nobody else would see it.
            if not task.cancelled():
                task.result()

    async def _send(self, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._send_timeout):
                    await send(message)
            except TimeoutError:
                # An error, so that no middleware takes the response for complete.
                raise ClientDisconnect(f"no piece was taken in {self._send_timeout} s") from None

        try:
            await super().stream_response(send_in_time)
        finally:
            # After a disconnect Starlette leaves the generator to the garbage collector.
            await self._pieces.aclose()
