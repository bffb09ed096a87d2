"""An application on FastAPI may rely on these."""

import asyncio
import gc
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
import sqlalchemy as sa
from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException
from httpx import ASGITransport, AsyncClient
from starlette.requests import ClientDisconnect

from . import db
from .models import Author, Book
from .test_endings import count_wakeups
from .web import fastapi as web

router = APIRouter()


@router.post("/authors", status_code=201)
async def create_author(session: web.DbSession, email: str) -> None:
    # No flush: the database hears of it at the commit.
    session.add(Author(email=email))


@router.post("/books", status_code=201)
async def create_book(session: web.DbSession, author: UUID | None, pages: int) -> None:
    session.add(Book(author_id=author, title="A book", pages=pages))


@router.post("/refused")
async def refuse(session: web.DbSession) -> None:
    session.add(Author(email="ada@example.com"))
    await session.flush()
    raise HTTPException(418)


@router.post("/read")
async def write_while_reading(session: web.ReadSession) -> None:
    session.add(Author(email="ada@example.com"))
    await session.flush()


@router.post("/background")
async def work_afterwards(
    session: web.DbSession,
    database: web.AppDatabase,
    background: BackgroundTasks,
) -> None:
    session.add(Author(email="ada@example.com"))
    background.add_task(rename, database)


async def rename(database: db.Database) -> None:
    async with database.transaction() as session:
        author = await session.scalar(sa.select(Author))
        assert author
        author.name = "Grace"


@router.get("/keys/{key}")
async def read_key(key: web.PathKey) -> None:
    pass


@asynccontextmanager
async def serve(
    database: db.Database, *routers: APIRouter, raises: bool = True
) -> AsyncGenerator[AsyncClient]:
    """A client of an application on this database, which `raises` what the server would log."""
    app = FastAPI(lifespan=partial(web.lifespan, database=database))
    web.add_error_handlers(app)
    for each in (web.health, router, *routers):
        app.include_router(each)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app, raises), base_url="http://test") as client,
    ):
        yield client


async def count(database: db.Database) -> int | None:
    async with database.session() as session:
        return await session.scalar(sa.select(sa.func.count(Author.id)))


# Sessions.


async def test_a_request_commits_what_it_did(fresh_database: db.Database) -> None:
    async with serve(fresh_database) as client:
        assert (await client.post("/authors?email=ada")).status_code == 201
        assert await count(fresh_database) == 1


async def test_a_commit_that_fails_is_never_a_success(fresh_database: db.Database) -> None:
    async with serve(fresh_database) as client:
        assert (await client.post("/authors?email=ada")).status_code == 201
        refused = await client.post("/authors?email=ada")
    assert (refused.status_code, refused.json()["fields"]) == (409, ["email"])


async def test_a_constraint_that_is_deferred_to_the_commit_is_a_conflict(
    fresh_database: db.Database,
) -> None:
    if fresh_database.settings.url.get_backend_name() not in ("postgresql", "sqlite"):
        pytest.skip("this database has no deferred constraints")
    metadata = sa.MetaData()
    key = sa.Column("id", sa.Integer, primary_key=True)
    other = sa.ForeignKey("deferred.id", deferrable=True, initially="DEFERRED")
    table = sa.Table("deferred", metadata, key, sa.Column("other", sa.Integer, other))
    async with fresh_database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    deferred = APIRouter()
    done: list[str] = []

    @deferred.post("/deferred", status_code=201)
    async def refer(session: web.DbSession, background: BackgroundTasks) -> None:
        background.add_task(done.append, "the background task of a request that failed")
        await session.execute(sa.insert(table).values(id=1, other=2))
        done.append("the statement")

    async with serve(fresh_database, deferred) as client:
        assert (await client.post("/deferred")).status_code == 409
        assert done == ["the statement"]
        assert (await client.get("/health/ready")).status_code == 200


async def test_an_exception_rolls_the_request_back(fresh_database: db.Database) -> None:
    async with serve(fresh_database) as client:
        assert (await client.post("/refused")).status_code == 418
        assert await count(fresh_database) == 0


async def test_a_request_that_only_reads_cannot_write(fresh_database: db.Database) -> None:
    async with serve(fresh_database) as client:
        with pytest.raises(db.ReadOnly):
            await client.post("/read")
        assert await count(fresh_database) == 0


async def test_a_background_task_finds_what_its_request_committed(
    fresh_database: db.Database,
) -> None:
    async with serve(fresh_database) as client:
        assert (await client.post("/background")).status_code == 200
        async with fresh_database.session() as session:
            assert await session.scalar(sa.select(Author.name)) == "Grace"


async def test_tests_pass_their_own_database(database: db.Database) -> None:
    async with serve(database) as client:
        assert (await client.post("/authors?email=ada")).status_code == 201
    # The application is over, and its database is still the test's.
    assert await count(database) == 1


async def test_the_application_opens_and_closes_its_database(fresh_database: db.Database) -> None:
    database = db.Database(fresh_database.settings)
    async with serve(database) as client:
        assert (await client.get("/health/ready")).json()["ok"] is True
    with pytest.raises(RuntimeError, match="not open"):
        _ = database.engine


async def test_a_database_that_was_open_before_stays_open(fresh_database: db.Database) -> None:
    engine = fresh_database.engine
    async with serve(fresh_database) as client:
        assert (await client.get("/health/ready")).json()["ok"] is True
    assert fresh_database.engine is engine
    await fresh_database.dispose()
    with pytest.raises(RuntimeError, match="not open"):
        _ = fresh_database.engine


async def test_an_application_without_its_lifespan_says_so() -> None:
    app = FastAPI()
    app.include_router(web.health)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        with pytest.raises(RuntimeError, match="was not started, or does not use"):
            await client.get("/health/ready")


@pytest.mark.parametrize("key", ["ada", 2**63, -(2**63) - 1])
async def test_a_key_that_no_column_can_hold_is_refused(
    database: db.Database,
    key: object,
) -> None:
    async with serve(database) as client:
        assert (await client.get(f"/keys/{key}")).status_code == 422


# Errors.


async def test_what_the_tables_refuse_is_answered(fresh_database: db.Database) -> None:
    async with serve(fresh_database) as client:
        await client.post("/authors?email=ada")
        async with fresh_database.session() as session:
            author = await session.scalar(sa.select(Author.id))
        answers = [
            await client.post("/books", params={"author": str(key), "pages": pages})
            for key, pages in ((author, 1), (author, 1), (uuid4(), 1), (author, 0))
        ]
    assert [answer.status_code for answer in answers] == [201, 409, 409, 422]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (db.NotFound(Author, "secret"), 404),
        (db.StaleRow("secret"), 409),
        (db.UnknownField(Author, ["is_admin"], ["secret"]), 422),
        (db.InvalidCursor("secret"), 422),
        (db.CommitOutcomeUnknown("secret"), 500),
        (db.SchemaChanged("secret"), 503),
        (db.SerializationFailure("secret"), 503),
        (db.Deadlock("secret"), 503),
        (db.LockTimeout("secret"), 503),
        (db.QueryTimeout("secret"), 503),
        (db.PoolExhausted("secret"), 503),
        (db.Unavailable("secret"), 503),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_an_error_is_answered_without_its_words(
    database: db.Database,
    error: db.DataLayerError,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = APIRouter()

    @failing.get("/fail")
    async def fail(session: web.DbSession) -> None:
        raise error

    async with serve(database, failing) as client:
        answer = await client.get("/fail")
    assert answer.status_code == answer.json()["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    # The owner of the service must learn of it, and the client whether to come again.
    assert ("secret" in caplog.text) == (status >= 500)
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_an_error_that_is_not_foreseen_is_not_hidden(database: db.Database) -> None:
    failing = APIRouter()

    @failing.get("/fail")
    async def fail() -> None:
        raise db.DataLayerError("unforeseen")

    async with serve(database, failing) as client:
        with pytest.raises(db.DataLayerError, match="unforeseen"):
            await client.get("/fail")


async def test_an_exhausted_pool_is_answered(fresh_database: db.Database) -> None:
    one = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1}
    database = db.Database(fresh_database.settings.model_copy(update=one))
    async with serve(database) as client:
        async with database.transaction() as session:
            await session.connection()
            refused = await client.post("/authors?email=ada")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert (await client.post("/authors?email=ada")).status_code == 201


# Health.


async def test_an_outage_is_told_and_survived(fresh_database: db.Database, tmp_path: Path) -> None:
    # A folder is no database: neither for SQLite nor for a server.
    url = fresh_database.settings.url.set(database=str(tmp_path))
    settings = fresh_database.settings.model_copy(update={"url": url})
    async with serve(db.Database(settings)) as client:
        assert (await client.get("/health/live")).status_code == 200
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["ok"]) == (503, False)
        assert ready.json()["error"]
        assert (await client.post("/authors?email=ada")).status_code == 503


async def test_a_server_that_only_reads_is_not_ready(fresh_database: db.Database) -> None:
    if not db.settings.DRIVER.startswith("postgresql"):
        pytest.skip("only PostgreSQL has such a default for one session")
    url = fresh_database.settings.url.update_query_dict(
        {"options": "-c default_transaction_read_only=on"}
    )
    settings = fresh_database.settings.model_copy(update={"url": url})
    async with serve(db.Database(settings)) as client:
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        assert "the server only reads" in ready.json()["error"]
        assert (await client.post("/authors?email=ada")).status_code == 503


# Streams.


async def test_a_stream_gives_its_connection_back_when_the_client_goes_away(
    fresh_database: db.Database,
) -> None:
    async def numbers() -> AsyncGenerator[str]:
        async with fresh_database.session() as session:
            for number in range(1000):
                yield f"{await session.scalar(sa.select(sa.literal(number)))}\n"

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError("nobody asks")

    async def send(message: MutableMapping[str, Any]) -> None:
        if message.get("body"):
            raise ConnectionResetError

    # A name for it, so that no garbage collector comes first.
    pieces = numbers()
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    with pytest.raises(ClientDisconnect):
        await web.Stream(pieces, "text/plain")(scope, receive, send)
    assert fresh_database.pool_status().in_use == 0


async def test_a_stream_that_is_broken_off_leaves_no_task_behind(
    fresh_database: db.Database,
) -> None:
    problems: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(context["message"]))

    started, ended = list[bool](), list[bool]()

    async def numbers() -> AsyncGenerator[str]:
        started.append(True)
        try:
            async with fresh_database.transaction(read_only=True) as session:
                for number in range(1000):
                    yield f"{await session.scalar(sa.select(sa.literal(number)))}\n"
        finally:
            # The end of a generator may have to wait, too.
            await asyncio.sleep(0.001)
            ended.append(True)

    async def send(message: MutableMapping[str, Any]) -> None: ...

    async def break_off(steps: int) -> None:
        async def receive() -> MutableMapping[str, Any]:
            for _ in range(steps):
                await asyncio.sleep(0)
            return {"type": "http.disconnect"}

        scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
        await web.Stream(numbers(), "text/plain")(scope, receive, send)
        assert fresh_database.pool_status().in_use == 0

    # SQLAlchemy itself swallows a cancellation while it opens its very first connection.
    assert (await fresh_database.ping()).ok
    for steps in range(40):
        await break_off(steps)
    gc.collect()
    loop.set_exception_handler(None)
    assert problems == []
    assert started == ended != []


async def test_an_error_at_the_end_of_a_stream_that_is_broken_off_is_raised(
    fresh_database: db.Database,
) -> None:
    async def pieces() -> AsyncGenerator[str]:
        try:
            yield "1"
        finally:
            raise LookupError("at the end")

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        await asyncio.sleep(1 if message.get("body") else 0)

    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
    stream = web.Stream(pieces(), "text/plain")(scope, receive, send)
    [error] = await asyncio.gather(stream, return_exceptions=True)
    # Else pytest on Python 3.11 may fail over what asyncio says of a lost error.
    gc.collect()
    assert isinstance(error, LookupError)


async def test_a_cancelled_scope_waits_for_a_commit_without_spinning(
    fresh_database: db.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = list[bool]()

    async def callback() -> None:
        await asyncio.sleep(0.5)
        ended.append(True)

    async def unit() -> None:
        async with fresh_database.transaction() as session:
            db.on_commit(session, callback)
            await session.execute(sa.text("SELECT 1"))

    await unit()
    calls = count_wakeups(monkeypatch)
    # Starlette cancels such a scope when the client of a request disconnects.
    with anyio.move_on_after(0.2) as scope:
        await unit()
    assert scope.cancelled_caught
    assert ended == [True, True]
    # Without a shield there are over 10,000.
    assert len(calls) < 100
