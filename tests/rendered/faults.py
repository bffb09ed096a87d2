"""What may happen to a unit of work, many times over: run in a rendered service."""

import asyncio
import gc
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from . import db, dialect
from .models import Author, Book
from .proxy import proxy

SEED = 20_260_101
has_network = pytest.mark.skipif(dialect.RENDER_AS_BATCH, reason="SQLite has no network")
only_postgresql = pytest.mark.skipif(
    not dialect.ERROR_ABORTS, reason="PostgreSQL tells who met whom when they commit"
)
only_sqlite = pytest.mark.skipif(not dialect.RENDER_AS_BATCH, reason="for a file of SQLite's")


async def titles(database: db.Database) -> set[str]:
    async with database.session() as session:
        return set(await session.scalars(sa.select(Book.title)))


async def create_author(database: db.Database) -> Author:
    async with database.transaction() as session:
        return await db.Repository[Author](session).create(email="ada@example.com")


async def cancel_after(task: asyncio.Task[None], steps: int) -> None:
    """Cancel a task when the event loop has gone round so many times."""
    for _ in range(steps):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


async def steps_of(work: Callable[[], Awaitable[None]]) -> int:
    """How many times the event loop goes round while work is done."""
    task, steps = asyncio.ensure_future(work()), 0
    while not task.done():
        steps += 1
        await asyncio.sleep(0)
    await task
    return steps


async def test_a_row_is_there_exactly_when_its_callback_ran(fresh_database: db.Database) -> None:
    rng, author, called = random.Random(SEED), await create_author(fresh_database), set[str]()
    begun: dict[str, asyncio.Event] = {}

    async def unit(title: str) -> None:
        async with fresh_database.transaction() as session:
            session.add(Book(author_id=author.id, title=title))
            db.on_commit(session, lambda: called.add(title))
            await session.flush()
            begun[title].set()

    outcomes: list[bool] = []
    for number in range(500):
        title = str(number)
        begun[title] = asyncio.Event()
        task = asyncio.create_task(unit(title))
        await begun[title].wait()
        await cancel_after(task, rng.choice([0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144]))
        outcomes.append(task.cancelled())
    assert await titles(fresh_database) == called
    # Both ways were gone: else this would show nothing.
    assert any(outcomes) and called
    assert fresh_database.pool_status().in_use == 0
    print(f"FAULT cancellation round COMMIT: 500 of 500, {sum(outcomes)} cancelled")


@has_network
async def test_what_was_committed_unheard_is_not_done_again(fresh_database: db.Database) -> None:
    author = await create_author(fresh_database)
    async with proxy(fresh_database.settings.url) as (network, url):
        settings = fresh_database.settings.model_copy(update={"url": url})
        async with db.Database(settings) as database:
            event.listen(
                database.engine.sync_engine, "commit", lambda _: network.lose_the_next_reply()
            )
            for number in range(20):

                async def work(session: AsyncSession, title: str = f"{number}") -> None:
                    session.add(Book(author_id=author.id, title=title))

                with pytest.raises(db.CommitUnknown):
                    await database.run(work)
    async with fresh_database.session() as session:
        assert await session.scalar(sa.select(sa.func.count(Book.id))) == 20
    print("FAULT reply to COMMIT lost: 20 of 20, none done twice")


async def test_a_thousand_cancellations_leave_nothing_behind(fresh_database: db.Database) -> None:
    rng, author = random.Random(SEED), await create_author(fresh_database)

    async def unit(title: str) -> None:
        async with fresh_database.transaction() as session:
            await session.scalar(sa.select(Book.id).limit(1))
            session.add(Book(author_id=author.id, title=title))
            await session.flush()
            async with session.begin_nested():
                await session.scalar(sa.select(Book.id).limit(1))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        steps = await steps_of(lambda: unit("first"))
        for batch in range(100):
            tasks = [asyncio.create_task(unit(f"{batch}.{n}")) for n in range(10)]
            await asyncio.gather(*[cancel_after(task, rng.randrange(steps)) for task in tasks])
        assert fresh_database.pool_status().in_use == 0
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    # The pool is as good as new.
    await fresh_database.gather(*[_one] * 20)
    print("FAULT random cancellation: 1000 of 1000, 0 connections kept, 0 warnings")


async def _one(session: AsyncSession) -> None:
    assert await session.scalar(sa.select(sa.literal(1))) == 1


@only_postgresql
async def test_serializable_increments_are_all_there(fresh_database: db.Database) -> None:
    author = await create_author(fresh_database)
    async with fresh_database.transaction() as session:
        book = await db.Repository[Book](session).create(author_id=author.id, title="x", pages=1)

    async def increment(session: AsyncSession) -> None:
        pages = await session.scalar(sa.select(Book.pages).where(Book.id == book.id))
        assert pages is not None
        await session.execute(sa.update(Book).values(pages=pages + 1))

    async def increments() -> None:
        for _ in range(20):
            await fresh_database.run(increment, attempts=50, isolation_level="SERIALIZABLE")

    await asyncio.gather(*[increments() for _ in range(10)])
    async with fresh_database.session() as session:
        assert await session.scalar(sa.select(Book.pages)) == 201
    print("FAULT serialization failure: 200 of 200 increments")


INCREMENTS = """
import asyncio, json, sys
import sqlalchemy as sa
from {package} import db

async def increment(database):
    for _ in range(50):
        async with database.transaction() as session:
            pages = await session.scalar(sa.text("SELECT pages FROM probe_books"))
            await asyncio.sleep(0)
            await session.execute(sa.text("UPDATE probe_books SET pages = :n"), {{"n": pages + 1}})

async def main():
    settings = db.DatabaseSettings.model_validate({{"url": sys.argv[1]}})
    async with db.Database(settings) as database:
        await asyncio.gather(*[increment(database) for _ in range(5)])

asyncio.run(main())
"""


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own that has the service's package."""
    source = Path(db.__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", script.format(package=db.__name__.rpartition(".")[0]), *arguments],
        env={**os.environ, "PYTHONPATH": str(source)},
        stderr=subprocess.PIPE,
        text=True,
    )


def succeed(processes: list[subprocess.Popen[str]]) -> None:
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), errors


@only_sqlite
async def test_two_processes_lose_no_update(fresh_database: db.Database) -> None:
    author = await create_author(fresh_database)
    async with fresh_database.transaction() as session:
        await db.Repository[Book](session).create(author_id=author.id, title="x", pages=1)
    url = fresh_database.settings.url.render_as_string()
    succeed([python(INCREMENTS, url) for _ in range(2)])
    async with fresh_database.session() as session:
        assert await session.scalar(sa.select(Book.pages)) == 501
    print("FAULT lost update, 2 processes: 500 of 500 increments")


FIRST_USE = """
import asyncio, sys
import sqlalchemy as sa
from {package} import db

async def main():
    for number in range(20):
        settings = db.DatabaseSettings.model_validate({{"url": f"{{sys.argv[1]}}{{number}}.db"}})
        async with db.Database(settings) as database, database.transaction() as session:
            await session.execute(sa.text("CREATE TABLE IF NOT EXISTS t (id INTEGER)"))

asyncio.run(main())
"""


@only_sqlite
def test_several_processes_may_be_the_first_to_use_a_file(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/"
    succeed([python(FIRST_USE, url) for _ in range(4)])
    print("FAULT first use by 4 processes: 20 of 20 files")
