"""A reader reads, and refuses all that it cannot do rather than break in silence."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.schema import CreateSequence

from . import db, driver
from .models import Author


async def _flush(session: AsyncSession) -> None:
    session.add(Author(email="ada@example.com"))
    await session.flush()


async def _change(session: AsyncSession) -> None:
    author = await session.scalar(sa.select(Author))
    assert author
    author.name = "Grace"
    await session.scalar(sa.select(Author.id))


async def _insert(session: AsyncSession) -> None:
    await session.execute(sa.insert(Author).values(email="ada@example.com"))


async def _update(session: AsyncSession) -> None:
    await session.execute(sa.update(Author).values(name="Grace"))


async def _delete(session: AsyncSession) -> None:
    await session.execute(sa.delete(Author))


async def _text(session: AsyncSession) -> None:
    await session.execute(sa.text("  -- a comment\n DELETE FROM probe_authors"))


async def _lock(session: AsyncSession) -> None:
    await db.Repository[Author](session).find_one_or_none(Author.email == "ada@example.com")
    await session.scalars(sa.select(Author).with_for_update())


async def _savepoint(session: AsyncSession) -> None:
    async with session.begin_nested():
        pass


async def _cursor(session: AsyncSession) -> None:
    await session.stream(sa.select(Author))


async def _callback(session: AsyncSession) -> None:
    db.on_commit(session, lambda: None)


READS = (
    "SELECT 1",
    "/* traceparent='00-1' */ SELECT 1",
    "/*+ SeqScan(t) */\n  SELECT 1",
    "/* a\n b */ -- c\n SELECT 1",
    "-- a\n/* b */ /* c */ WITH x AS (SELECT 1) SELECT * FROM x",
    "/***/SELECT 1",
)
WRITES = (
    "/* SELECT */ DELETE FROM probe_authors",
    "/* a */ DELETE FROM probe_authors /* b */ SELECT",
    "/* a */ /* b */ UPDATE probe_authors SET name = 'Grace'",
    "-- SELECT\nDELETE FROM probe_authors",
    "-- a -- SELECT\n-- */ SELECT\nDELETE FROM probe_authors",
    # MySQL executes these.
    "/*! DELETE FROM probe_authors */",
    "/*!50000 DELETE FROM probe_authors; */ SELECT 1",
    "/*M! DELETE FROM probe_authors; */ SELECT 1",
    "/* SELECT",
)


@pytest.mark.parametrize("sql", READS)
async def test_text_that_reads_may_begin_with_comments(
    fresh_database: db.Database, sql: str
) -> None:
    async with fresh_database.reader() as session:
        assert await session.scalar(sa.text(sql)) == 1


@pytest.mark.parametrize("sql", WRITES)
async def test_text_that_writes_is_refused_behind_any_comment(
    fresh_database: db.Database, sql: str
) -> None:
    with pytest.raises(db.ReadOnly, match="a statement that writes needs"):
        async with fresh_database.reader() as session:
            await session.execute(sa.text(sql))


async def test_a_sequence_gives_its_next_value(fresh_database: db.Database) -> None:
    numbers = sa.Sequence("probe_numbers", start=41)
    if not fresh_database.engine.dialect.supports_sequences:
        pytest.skip("SQLite has no sequences, and SQLAlchemy knows none of MySQL's")
    async with fresh_database.transaction() as session:
        await session.execute(CreateSequence(numbers))
        assert await session.scalar(numbers) == 41
    async with fresh_database.session() as session:
        assert await session.scalar(numbers) == 42


@pytest.mark.parametrize(
    "work",
    [_flush, _change, _insert, _update, _delete, _text, _lock, _savepoint, _cursor, _callback],
)
async def test_what_autocommit_would_break_is_refused(
    fresh_database: db.Database, work: Callable[[AsyncSession], Awaitable[None]]
) -> None:
    async with fresh_database.transaction() as session:
        session.add(Author(email="grace@example.com"))
    with pytest.raises(db.ReadOnly, match=r"needs `async with database\.transaction\(\)"):
        async with fresh_database.reader() as session:
            await work(session)
    async with fresh_database.reader() as session:
        found = (await session.execute(sa.select(Author.email, Author.name))).all()
    assert [tuple(row) for row in found] == [("grace@example.com", "Ada")]


async def _beneath(session: AsyncSession) -> None:
    connection = await session.connection()
    await connection.execute(sa.update(Author).values(name="Grace"))


async def _in_a_select(session: AsyncSession) -> None:
    changed = sa.update(Author).values(name="Grace").returning(Author.id).cte()
    await session.execute(sa.select(sa.func.count()).select_from(changed))


async def _in_text(session: AsyncSession) -> None:
    update = "UPDATE probe_authors SET name = 'Grace' RETURNING 1"
    await session.execute(sa.text(f"WITH changed AS ({update}) SELECT * FROM changed"))


async def _explained(session: AsyncSession) -> None:
    await session.execute(sa.text("EXPLAIN ANALYZE UPDATE probe_authors SET name = 'Grace'"))


@pytest.mark.parametrize("work", [_beneath, _in_a_select, _in_text, _explained])
async def test_what_gets_by_the_session_is_refused_by_the_database(
    fresh_database: db.Database, work: Callable[[AsyncSession], Awaitable[None]]
) -> None:
    async with fresh_database.transaction() as session:
        session.add(Author(email="grace@example.com"))
    for _ in range(2):
        # Only PostgreSQL writes in the midst of a query; to others it is a mistake in the syntax.
        with pytest.raises((db.ReadOnly, DBAPIError)) as raised:
            async with fresh_database.reader() as session:
                await work(session)
        assert isinstance(raised.value, db.ReadOnly) or "syntax" in str(raised.value)
    # And it is said again when the connection has written in between.
    async with fresh_database.transaction() as session:
        assert await session.scalar(sa.select(Author.name)) == "Ada"
        await session.execute(sa.update(Author).values(name="Joan"))
    with pytest.raises((db.ReadOnly, DBAPIError)):
        async with fresh_database.reader() as session:
            await work(session)
    async with fresh_database.reader() as session:
        assert await session.scalar(sa.select(Author.name)) == "Joan"


async def test_what_was_added_and_forgotten_is_refused(fresh_database: db.Database) -> None:
    with pytest.raises(db.ReadOnly, match="a flush"):
        async with fresh_database.reader() as session:
            session.add(Author(email="ada@example.com"))


async def test_reads_go_through(database: db.Database) -> None:
    async with database.transaction() as session:
        author = await db.Repository[Author](session).create(email="ada@example.com")
    async with database.reader() as session:
        authors = db.Repository[Author](session)
        assert await authors.get(author.id)
        assert await authors.count() == 1
        assert await session.scalar(sa.text("SELECT 1")) == 1
        assert await session.scalar(sa.text("SELECT 1 UNION SELECT 1")) == 1


async def test_a_read_takes_one_round_trip(fresh_database: db.Database) -> None:
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    # Behind a pooler it is a transaction, which has to say how long it may take; and a connection
    # that is not kept has to be told anew that it only reads.
    settings = fresh_database.settings.model_copy(update={"pooler": "none", "pool_size": 1})
    async with db.Database(settings) as database:
        async with database.reader() as session:
            await session.scalar(sa.select(Author.id))
        event.listen(database.engine.sync_engine, "before_cursor_execute", note)
        for _ in range(2):
            async with database.reader() as session:
                await session.scalar(sa.select(Author.id))
    assert len(sent) == 2


async def test_a_write_that_follows_a_reader_on_its_connection_goes_through(
    fresh_database: db.Database,
) -> None:
    for number in range(3):
        async with fresh_database.reader() as session:
            await session.scalar(sa.select(Author.id))
        async with fresh_database.transaction(read_only=True) as session:
            await session.scalar(sa.select(Author.id))
        async with fresh_database.transaction() as session:
            session.add(Author(email=f"{number}@example.com"))


async def test_a_reader_holds_no_transaction_open(fresh_database: db.Database) -> None:
    async with fresh_database.reader() as reader:
        assert await reader.scalar(sa.select(sa.func.count(Author.id))) == 0
        async with fresh_database.transaction() as session:
            session.add(Author(email="ada@example.com"))
        assert await reader.scalar(sa.select(sa.func.count(Author.id))) == 1


async def test_all_readers_share_one_engine_until_it_is_disposed(
    fresh_database: db.Database,
) -> None:
    binds: list[object] = []
    database = db.Database(fresh_database.settings)
    for _ in range(2):
        async with database:
            for _ in range(2):
                async with database.reader() as session:
                    bind = session.get_bind()
                    assert bind.engine.pool is database.engine.pool
                    binds.append(bind)
    assert binds[0] is binds[1]
    assert binds[2] is binds[3]


async def test_a_connection_of_a_reader_serves_other_work_as_before(
    fresh_database: db.Database,
) -> None:
    if not fresh_database.settings.url.host:
        pytest.skip("SQLite's connections are always in autocommit")
    settings = fresh_database.settings.model_copy(update={"pool_size": 1, "max_overflow": 0})
    async with db.Database(settings) as database:
        autocommit = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        for number in range(3):
            async with database.reader() as session:
                assert len((await session.scalars(sa.select(Author.id))).all()) == number
            async with autocommit.connect() as connection:
                await connection.execute(sa.insert(Author).values(email=f"{number}@example.com"))
            async with database.session() as session:
                session.add(Author(email="lost@example.com"))
                await session.flush()


async def test_a_reader_whose_connection_is_lost_when_it_begins_keeps_none(
    fresh_database: db.Database,
) -> None:
    if not fresh_database.settings.url.host:
        pytest.skip("there is no network between this database and the tests")

    def lose(connection: DBAPIConnection, *_: object) -> None:
        driver.hang_up(connection.driver_connection)

    event.listen(fresh_database.engine.sync_engine, "checkout", lose)
    # The garbage collector would give back what was lost.
    gc.disable()
    try:
        with pytest.raises(db.Unavailable):
            async with fresh_database.reader() as session:
                await session.scalar(sa.select(Author.id))
        assert fresh_database.pool_status().in_use == 0
    finally:
        gc.enable()


def hang_up(connection: sa.Connection) -> None:
    """Lose the connection, as a listener for its events."""
    raw = connection.connection.driver_connection
    assert raw
    driver.hang_up(raw)


async def test_a_reader_whose_connection_is_lost_after_a_batch_has_committed_nothing(
    fresh_database: db.Database,
) -> None:
    if not fresh_database.settings.url.host:
        pytest.skip("there is no network between this database and the tests")

    async with fresh_database.transaction() as session:
        session.add(Author(email="ada@example.com"))
    event.listen(fresh_database.engine.sync_engine, "commit", hang_up)
    async with fresh_database.reader() as session:
        # Most drivers send no COMMIT in autocommit.
        with suppress(db.Unavailable):
            async for batch in db.Repository[Author](session).batches():
                assert len(batch) == 1
    assert fresh_database.pool_status().in_use == 0


async def test_a_transaction_that_only_reads_has_no_unknown_outcome(
    fresh_database: db.Database,
) -> None:
    if not fresh_database.settings.url.host:
        pytest.skip("there is no network between this database and the tests")

    event.listen(fresh_database.engine.sync_engine, "commit", hang_up)
    with pytest.raises(db.Unavailable):
        async with fresh_database.transaction(read_only=True) as session:
            await session.scalar(sa.select(Author.id))
    assert fresh_database.pool_status().in_use == 0


@pytest.mark.parametrize("is_new", [False, True])
async def test_a_reader_that_is_cancelled_at_any_step_keeps_no_connection_and_no_task(
    fresh_database: db.Database, is_new: bool
) -> None:
    async def read(database: db.Database) -> None:
        async with database.reader() as session:
            await session.scalar(sa.select(Author.id))

    before = asyncio.all_tasks()
    gc.disable()
    try:
        for step in range(40):
            async with db.Database(fresh_database.settings) as database:
                if not is_new:
                    await read(database)
                task = asyncio.create_task(read(database))
                # A thread of SQLite needs time, and other drivers need turns of the event loop.
                await asyncio.wait([task], timeout=step / 10_000)
                for _ in range(step):
                    await asyncio.sleep(0)
                # As a cancelled scope of anyio does.
                while not task.done():
                    task.cancel()
                    await asyncio.sleep(0)
                assert database.pool_status().in_use == 0
        if closing := asyncio.all_tasks() - before:
            await asyncio.wait(closing, timeout=30)
        assert asyncio.all_tasks() - before == set()
    finally:
        gc.enable()
