"""Long reads give every row once, take little memory, and leave no cursor open."""

import asyncio
from contextlib import nullcontext, suppress

import pytest
import pytest_asyncio
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession

from . import db
from .models import Author, Book


@pytest_asyncio.fixture(loop_scope="session")
async def authors(session: AsyncSession) -> db.Repository[Author]:
    authors = db.Repository[Author](session)
    session.add_all([Author(email=f"{number:02}", name=f"{number % 3}") for number in range(25)])
    await session.flush()
    session.expunge_all()
    return authors


async def test_a_stream_gives_the_rows_in_order(authors: db.Repository[Author]) -> None:
    async with authors.stream(
        Author.name != "1", order_by=Author.email.desc(), batch_size=4
    ) as rows:
        emails = [row.email async for row in rows]
    assert emails == [f"{number:02}" for number in reversed(range(25)) if number % 3 != 1]


async def test_a_stream_holds_no_more_than_a_batch(authors: db.Repository[Author]) -> None:
    held = 0
    async with authors.stream(batch_size=5) as rows:
        async for _ in rows:
            held = max(held, len(authors.session.sync_session.identity_map))
    # One batch that is read, and one that is on its way.
    assert held <= 10


async def test_a_stream_that_is_left_closes_its_cursor(authors: db.Repository[Author]) -> None:
    async with authors.stream(batch_size=2) as rows:
        async for _ in rows:
            break
    with pytest.raises(ValueError, match="enough"):
        async with authors.stream(batch_size=2) as rows:
            async for _ in rows:
                raise ValueError("enough")
    # The connection is free for the next statement, and for the end of the transaction.
    assert await authors.count() == 25
    await authors.session.commit()


async def test_a_stream_that_is_cancelled_closes_its_cursor(database: db.Database) -> None:
    reading = asyncio.Event()

    async def read() -> None:
        async with database.transaction() as session:
            session.add_all([Author(email=f"{number}") for number in range(9)])
            await session.flush()
            async with db.Repository[Author](session).stream(batch_size=2) as rows:
                async for _ in rows:
                    reading.set()
                    await asyncio.Event().wait()

    task = asyncio.create_task(read())
    async with asyncio.timeout(30):
        await reading.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    async with database.transaction() as session:
        assert await db.Repository[Author](session).count() == 0


@pytest.mark.parametrize("first", ["the stream", "another call"])
async def test_a_stream_refuses_a_second_task_as_any_call_does(
    fresh_database: db.Database, first: str
) -> None:
    if fresh_database.settings.url.get_backend_name() == "mysql":
        pytest.skip("during a stream this connection refuses any other call")
    async with fresh_database.session() as session:
        authors = db.Repository[Author](session)
        # More than a driver has in hand.
        await authors.insert_many({"email": f"{number}"} for number in range(300))
        async with authors.stream(batch_size=100) as rows:
            calls = [anext(rows), authors.count()]
            calls = calls if first == "the stream" else calls[::-1]
            done, refused = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(done, Author if first == "the stream" else int)
    assert isinstance(refused, db.ConcurrentSessionUse), repr(refused)


async def test_a_stream_loses_no_row_to_what_is_done_with_it(
    authors: db.Repository[Author],
) -> None:
    books = db.Repository[Book](authors.session)
    # A connection to MySQL sends one result at a time: it is to say so.
    alone = authors.session.get_bind().dialect.name in ("mysql", "mariadb")
    refused = pytest.raises(InvalidRequestError, match="one result at a time")
    with refused if alone else nullcontext():
        async with authors.stream(batch_size=2) as rows:
            await books.insert_many({"author_id": x.id, "title": x.email} async for x in rows)
    assert await books.count() == (0 if alone else 25)


async def test_batches_give_every_row_once_while_they_are_changed_and_committed(
    authors: db.Repository[Author],
) -> None:
    met: list[str] = []
    async for batch in authors.batches(Author.name != "done", size=4):
        assert len(batch) <= 4
        for row in batch:
            met.append(row.email)
            row.name = "done"
        await authors.session.commit()
    assert sorted(met) == [f"{number:02}" for number in range(25)]
    assert await authors.count(Author.name == "done") == 25


async def test_a_batch_that_cannot_be_is_refused(authors: db.Repository[Author]) -> None:
    for size in (0, -1):
        with pytest.raises(ValueError, match="size is at least 1"):
            _ = [batch async for batch in authors.batches(size=size)]
        with pytest.raises(ValueError, match="batch_size is at least 1"):
            async with authors.stream(batch_size=size):
                pass


async def test_batches_of_nothing_are_none(authors: db.Repository[Author]) -> None:
    assert [batch async for batch in authors.batches(Author.name == "nobody")] == []
    sizes = [len(batch) async for batch in authors.batches(size=25)]
    assert sizes == [25]
