"""Rows that many want to change at once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from . import db, dialect
from .models import Author, Book

Work = Callable[[AsyncSession], Awaitable[None]]


async def create_books(database: db.Database, number: int) -> list[int]:
    async with database.transaction() as session:
        author = await db.Repository[Author](session).create(email="ada@example.com")
        books = [Book(author_id=author.id, title=f"{n}", pages=100) for n in range(number)]
        session.add_all(books)
    return [book.id for book in books]


async def test_no_increment_of_a_locked_row_is_lost(fresh_database: db.Database) -> None:
    (key,) = await create_books(fresh_database, 1)

    async def increment(session: AsyncSession) -> None:
        book = await db.Repository[Book](session).get_one(key, for_update="wait")
        book.pages += 1

    await fresh_database.gather(*[increment] * 20)
    async with fresh_database.session() as session:
        assert await session.scalar(sa.select(Book.pages)) == 120


async def test_a_row_that_changed_since_it_was_read_is_stale(fresh_database: db.Database) -> None:
    (key,) = await create_books(fresh_database, 1)
    async with fresh_database.session() as reading:
        book = await db.Repository[Book](reading).get_one(key)
        await reading.commit()
        async with fresh_database.transaction() as other:
            (await db.Repository[Book](other).get_one(key)).pages = 7
        book.pages = 8
        with pytest.raises(db.StaleRow, match="Read the row again"):
            await reading.commit()
    async with fresh_database.session() as session:
        assert await session.scalar(sa.select(Book.pages)) == 7


async def test_run_replays_a_unit_whose_row_was_stale(fresh_database: db.Database) -> None:
    await create_books(fresh_database, 1)

    async def increment(session: AsyncSession) -> None:
        book = (await session.scalars(sa.select(Book))).one()
        book.pages += 1

    async def increments() -> None:
        for _ in range(5):
            await fresh_database.run(increment, attempts=50, retry_on=(db.StaleRow,))

    await asyncio.gather(*[increments() for _ in range(4)])
    async with fresh_database.session() as session:
        assert await session.scalar(sa.select(Book.pages)) == 120


async def test_money_that_is_moved_to_and_fro_keeps_its_sum(fresh_database: db.Database) -> None:
    keys = await create_books(fresh_database, 3)

    async def transfer(session: AsyncSession, source: int, target: int) -> None:
        accounts = db.Repository[Book](session)
        # In a fixed order: two that move in opposite directions would wait for each other.
        order = sorted((source, target))
        locked = {key: await accounts.get_one(key, for_update="wait") for key in order}
        if locked[source].pages > 10:
            locked[source].pages -= 10
            locked[target].pages += 10

    def move(source: int, target: int) -> Work:
        return lambda session: transfer(session, source, target)

    pairs = [(a, b) for a in keys for b in keys if a != b]
    await fresh_database.gather(*[move(*pair) for pair in pairs * 3])
    async with fresh_database.session() as session:
        assert await session.scalar(sa.select(sa.func.sum(Book.pages))) == 300


@pytest.mark.skipif(dialect.RENDER_AS_BATCH, reason="in SQLite one writer locks the whole database")
async def test_workers_take_each_row_of_a_queue_once(fresh_database: db.Database) -> None:
    keys = await create_books(fresh_database, 20)
    done: list[int] = []

    async def take(session: AsyncSession) -> None:
        waiting = sa.select(Book).where(Book.deleted_at.is_(None)).order_by(Book.id).limit(1)
        book = await session.scalar(waiting.with_for_update(skip_locked=True))
        assert book
        done.append(book.id)
        await db.Repository[Book](session).delete(book)

    await fresh_database.gather(*[take] * 5)
    while len(done) < len(keys):
        await fresh_database.gather(*[take] * 5)
    assert sorted(done) == keys


@pytest.mark.skipif(dialect.RENDER_AS_BATCH, reason="in SQLite one writer locks the whole database")
async def test_a_deadlock_in_a_savepoint_is_told_as_one(fresh_database: db.Database) -> None:
    keys = await create_books(fresh_database, 2)
    both = asyncio.Barrier(2)

    async def lock(first: int, second: int) -> None:
        async with fresh_database.transaction() as session, session.begin_nested():
            books = db.Repository[Book](session)
            await books.get_one(first, for_update="wait")
            await both.wait()
            await books.get_one(second, for_update="wait")

    ends = await asyncio.gather(lock(*keys), lock(*reversed(keys)), return_exceptions=True)
    # MySQL has undone all of the transaction, its savepoint too.
    assert [type(error) for error in ends if error] == [db.Deadlock]
