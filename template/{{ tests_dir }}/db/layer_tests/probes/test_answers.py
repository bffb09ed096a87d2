"""Answers and log entries for errors, and the cost of clients that behave badly."""

import asyncio
import logging
from collections.abc import AsyncGenerator, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import APIRouter, FastAPI, Request, Response, WebSocket
from httpx import ASGITransport, AsyncClient
from pydantic import BaseModel
from sqlalchemy import event
from starlette.requests import ClientDisconnect
from starlette.types import Message

from . import db, dialect
from .models import Author, Book, Sample
from .test_fastapi import serve
from .web import fastapi as web

JSON = {"content-type": "application/json"}
router = APIRouter(responses=web.PROBLEMS)


class NewAuthor(BaseModel):
    email: str
    age: float = 1


@router.post("/people/{name}")
async def create_person(session: web.DbSession, name: str, new: NewAuthor) -> None:
    await db.Repository[Author](session).create(email=new.email, name=name)


@router.post("/people")
async def create_people(session: web.DbSession, rows: list[NewAuthor]) -> None:
    await db.Repository[Author](session).insert_many({"email": row.email} for row in rows)


@router.post("/ada")
async def create_ada(session: web.DbSession) -> None:
    await db.Repository[Author](session).create(email="ada")


@router.post("/misspelt")
async def misspell(session: web.DbSession) -> None:
    await db.Repository[Author](session).create(emial="ada")


@router.post("/forgotten")
async def forget(session: web.DbSession) -> None:
    await db.Repository[Book](session).create(title="SQL")


@router.post("/wrong-type")
async def mistype(session: web.DbSession) -> None:
    await db.Repository[Sample](session).create(code="a", moment="yesterday")


@router.post("/chapters")
async def create_chapter(session: web.DbSession, pages: int) -> None:
    author = await db.Repository[Author](session).create(email="ada")
    await db.Repository[Book](session).create(author_id=author.id, title="secret", pages=pages)


# Mistakes in code.


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/misspelt", db.NotWritable),
        ("/forgotten", db.NotNullViolation),
        ("/wrong-type", db.InvalidType),
    ],
)
async def test_a_mistake_in_code_is_a_500_and_reaches_the_server(
    fresh_database: db.Database, path: str, kind: type[Exception]
) -> None:
    async with serve(fresh_database, router) as client:
        with pytest.raises(kind):
            await client.post(path)
    async with serve(fresh_database, router, raises=False) as client:
        answer = await client.post(path)
    assert (answer.status_code, answer.json()["status"]) == (500, 500)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["fields"] == []


# The log.


async def test_a_unique_violation_is_logged_in_one_line(
    fresh_database: db.Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(fresh_database, router) as client:
        await client.post("/ada")
        with caplog.at_level(logging.INFO):
            assert (await client.post("/ada")).status_code == 409
    [record] = [x for x in caplog.records if x.name == web.logger.name]
    assert (record.levelname, record.getMessage().count("\n")) == ("INFO", 0)
    assert "uq_probe_authors_email" in record.getMessage()


async def test_another_refusal_of_the_database_is_logged_with_its_stack_and_no_value(
    fresh_database: db.Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(fresh_database, router) as client:
        with caplog.at_level(logging.INFO):
            assert (await client.post("/chapters?pages=0")).status_code == 422
    [record] = [x for x in caplog.records if x.name == web.logger.name]
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert "ck_probe_books_some_pages" in record.getMessage()
    assert "in create_chapter" in record.getMessage()
    assert any(f"code {code}" in record.getMessage() for code in dialect.CHECK_VIOLATION)
    assert "secret" not in caplog.text.replace('title="secret"', "")


# The body.


async def test_a_body_names_only_fields_that_the_request_has(fresh_database: db.Database) -> None:
    async with serve(fresh_database, router) as client:
        await client.post("/ada")
        answers = [
            await client.post("/people/Ada", json={"email": "ada"}),
            await client.post("/people", json=[{"email": "ada"}]),
            await client.post("/ada"),
        ]
    assert [answer.status_code for answer in answers] == [409, 409, 409]
    assert [answer.json()["fields"] for answer in answers] == [["email"], ["email"], []]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ('{"email": "a\\ud800b"}', []),
        ('{"email": NaN}', ["email"]),
        ('{"email": [Infinity, "\\ud800"]}', ["email"]),
        ("{", ["1"]),
        ("[]", [""]),
        ("{}", ["email"]),
    ],
)
async def test_a_body_that_no_column_can_hold_is_a_problem(
    database: db.Database, body: str, fields: list[str]
) -> None:
    async with serve(database, router) as client:
        answer = await client.post("/people/Ada", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["status"]) == (422, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["fields"] == fields
    assert web.Problem.model_validate_json(answer.content).detail


async def test_an_answer_is_short_and_in_utf_8_whatever_the_names_of_a_body_are(
    database: db.Database,
) -> None:
    strict = APIRouter()

    class Empty(BaseModel, extra="forbid"):
        pass

    @strict.post("/empty")
    async def take(empty: Empty) -> None: ...

    @strict.post("/sorted")
    async def sort(names: list[str], session: web.ReadSession) -> None:
        await db.Repository[Author](session).page(sort=names)

    names = ", ".join(f'"{number}{"x" * 1000}": 1' for number in range(1000))
    cases = ("/empty", f"{{{names}}}"), ("/empty", '{"\\ud800": 1}'), ("/sorted", '["\\udfff"]')
    async with serve(database, strict) as client:
        for path, body in cases:
            answer = await client.post(path, content=body, headers=JSON)
            assert answer.status_code == 422, answer.text
            assert len(answer.content) < 2500
            assert web.Problem.model_validate_json(answer.content).fields


async def test_a_handler_that_the_application_has_stays(database: db.Database) -> None:
    app = FastAPI(lifespan=partial(web.lifespan, database=database))

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=410)

    app.add_exception_handler(db.NotFound, gone)
    app.add_exception_handler(Exception, gone)
    web.add_error_handlers(app)

    @app.get("/{name}")
    async def fail(name: str) -> None:
        raise db.NotFound(Author, name) if name == "missing" else KeyError(name)

    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        answers = [await client.get("/missing"), await client.get("/broken")]
    assert [answer.status_code for answer in answers] == [410, 410]


# OpenAPI.


async def test_every_answer_is_described(database: db.Database) -> None:
    async with serve(database, router) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    answers = paths["/people/{name}"]["post"]["responses"]
    assert sorted(answers) == ["200", "404", "409", "422", "500", "503"]
    for status in sorted(answers)[1:]:
        schema = answers[status]["content"]["application/problem+json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Problem"}
    ready = paths["/health/ready"]["get"]["responses"]
    assert sorted(ready) == ["200", "500", "503"]
    assert ready["503"]["content"]["application/json"]["schema"]["$ref"].endswith("/Health")


# WebSockets.


@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (db.StaleRow("changed"), 1008),
        (db.PoolExhausted("busy"), 1011),
        (db.NotWritable(Author, ["nmae"], ["name"]), 1011),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_an_error_closes_a_websocket_and_is_logged(
    caplog: pytest.LogCaptureFixture, error: db.DataLayerError, code: int, accepts: bool
) -> None:
    app = FastAPI()
    web.add_error_handlers(app)

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        if accepts:
            await socket.accept()
        raise error

    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "websocket", "path": "/ws", "headers": [], "subprotocols": []}
    with caplog.at_level(logging.INFO):
        await app({**scope, "query_string": b"", "extensions": {}}, receive, send)
    accepted = ["websocket.accept"] if accepts else []
    assert [message["type"] for message in sent] == [*accepted, "websocket.close"]
    assert sent[-1]["code"] == code
    assert str(error) in caplog.text
    assert ("Traceback" in caplog.text) == (code == 1011)


# Streams.


async def test_clients_that_do_not_read_hold_no_connection_and_are_given_up(
    fresh_database: db.Database,
) -> None:
    one = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 2}
    database = db.Database(fresh_database.settings.model_copy(update=one))
    stalled, all_stalled = list[bool](), asyncio.Event()

    async def lines() -> AsyncGenerator[str]:
        async with database.reader() as session:
            async for batch in db.Repository[Author](session).batches(size=1):
                for author in batch:
                    yield author.email

    async def receive() -> Message:
        await asyncio.sleep(60)
        raise AssertionError("the stream has not ended")

    async def send(message: Message) -> None:
        if message.get("body"):
            stalled.append(True)
            if len(stalled) == 15:
                all_stalled.set()
            await asyncio.sleep(60)

    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
    async with serve(database) as client:
        for number in range(3):
            await client.post(f"/authors?email={number}")
        streams = [web.Stream(lines(), "text/plain", send_timeout=3) for _ in range(15)]
        tasks = [asyncio.create_task(stream(scope, receive, send)) for stream in streams]
        await asyncio.wait_for(all_stalled.wait(), 10)
        assert database.pool_status().in_use == 0
        assert (await client.post("/authors?email=other")).status_code == 201
        assert not any(task.done() for task in tasks)
        async with asyncio.timeout(10):
            ends = await asyncio.gather(*tasks, return_exceptions=True)
    # Without an error a middleware could end the response as if it were complete.
    assert [type(end) for end in ends] == [ClientDisconnect] * 15
    assert len(stalled) == 15


async def test_a_stream_may_take_long_if_each_piece_is_sent_in_time() -> None:
    sent: list[Message] = []

    async def pieces() -> AsyncGenerator[str]:
        for piece in "abc":
            await asyncio.sleep(0.2)
            yield piece

    async def send(message: Message) -> None:
        await asyncio.sleep(0.1)
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nobody asks")

    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    await web.Stream(pieces(), "text/plain", send_timeout=0.4)(scope, receive, send)
    assert b"".join(x.get("body", b"") for x in sent) == b"abc"
    assert sent[-1]["more_body"] is False


async def test_the_log_of_sqlite_does_not_grow_while_a_client_does_not_read(
    fresh_database: db.Database,
) -> None:
    if not dialect.RENDER_AS_BATCH:
        pytest.skip("only SQLite keeps its log as long as someone reads")
    size_of_log = Path(f"{fresh_database.settings.url.database}-wal").stat
    async with fresh_database.transaction() as session:
        await db.Repository[Author](session).insert_many(
            {"email": f"{number}"} for number in range(2000)
        )
    async with fresh_database.reader() as reader:
        batches = db.Repository[Author](reader).batches(size=1000)
        await anext(batches)
        sizes = list[int]()
        for number in range(40):
            async with fresh_database.transaction() as session:
                name = f"{number:050}"
                await session.execute(sa.update(Author).values(name=name))
            sizes.append(size_of_log().st_size)
        assert len(await anext(batches)) == 1000
    # SQLite starts over at 1000 pages: at most some transactions more.
    assert max(sizes) < 10_000_000, sizes


# Values that a client may send.


async def test_a_sort_costs_no_more_than_its_columns(fresh_database: db.Database) -> None:
    class Authors(db.Repository[Author]):
        sortable = {"email": Author.email, "name": Author.name}

    sent = list[object]()

    def note(*arguments: object) -> None:
        sent.append(arguments)

    async with fresh_database.reader() as session:
        authors = Authors(session)
        event.listen(fresh_database.engine.sync_engine, "before_cursor_execute", note)
        for names in (("name", "name"), ("email",) * 3000, ("-name", "email", "-name")):
            for page in (authors.page, authors.cursor_page):
                with pytest.raises(db.UnknownField, match="email, name here, each once, not"):
                    await page(sort=names)
        assert sent == []
        await authors.page(sort=("name", "-email"))
        assert sent
