"""A server that only reads, as a primary does after a switch-over: the unit goes elsewhere."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from . import db, doctor
from .models import Author

if not db.settings.DRIVER.startswith("postgresql"):
    pytest.skip("only PostgreSQL has the default for one database alone", allow_module_level=True)


async def forbid_writes(database: db.Database, *, forbidden: bool = True) -> None:
    """Forbid or allow writes for the connections that are opened from now on."""
    name = database.settings.url.database
    async with database.engine.connect() as connection:
        # The database forbids this, too, but for one that sets it otherwise.
        await connection.execute(sa.text("SET default_transaction_read_only = off"))
        await connection.commit()
        value = "on" if forbidden else "off"
        await connection.execute(
            sa.text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}')
        )
        await connection.execute(sa.text("RESET default_transaction_read_only"))
        await connection.commit()


@pytest_asyncio.fixture(loop_scope="session")
async def pooled(fresh_database: db.Database) -> AsyncGenerator[db.Database]:
    """A database with a pool, whatever the settings of the project say."""
    settings = fresh_database.settings.model_copy(update={"pool_size": 2})
    async with db.Database(settings) as database:
        yield database


@pytest_asyncio.fixture(loop_scope="session")
async def demoted(fresh_database: db.Database, pooled: db.Database) -> AsyncGenerator[db.Database]:
    """A database that only reads, whose pool has no connection from before."""
    await forbid_writes(fresh_database)
    yield pooled


async def insert(session: AsyncSession) -> None:
    session.add(Author(email="ada@example.com"))
    await session.flush()


async def pid(database: db.Database) -> int | None:
    """Return which connection the pool hands out next."""
    async with database.reader() as session:
        return await session.scalar(sa.select(sa.func.pg_backend_pid()))


async def test_run_repeats_the_unit_on_a_new_connection(
    demoted: db.Database, fresh_database: db.Database
) -> None:
    attempts = 0

    async def work(session: AsyncSession) -> None:
        nonlocal attempts
        attempts += 1
        await session.connection()
        if attempts == 2:
            await forbid_writes(fresh_database, forbidden=False)
        await insert(session)

    await demoted.run(work)
    # The connection of the second attempt was opened before writes were allowed.
    assert attempts == 3


async def test_a_write_is_unavailable_and_its_connection_is_dropped(demoted: db.Database) -> None:
    before = await pid(demoted)
    with pytest.raises(db.Unavailable, match="the server only reads"):
        async with demoted.transaction() as session:
            await insert(session)
    assert await pid(demoted) != before


async def test_a_copy_is_unavailable_and_its_connection_is_dropped(demoted: db.Database) -> None:
    rows = [{"email": f"{number}@example.com"} for number in range(2000)]
    before = await pid(demoted)
    with pytest.raises(db.Unavailable, match="the server only reads"):
        async with demoted.transaction() as session:
            await db.Repository[Author](session).insert_many(rows)
    assert await pid(demoted) != before


@pytest.mark.parametrize("read_only", [True, False])
async def test_a_unit_that_asked_for_reading_is_refused_and_keeps_its_connection(
    pooled: db.Database, read_only: bool
) -> None:
    before = await pid(pooled)
    with pytest.raises(db.ReadOnly, match="25006"):
        async with pooled.transaction(read_only=read_only) as session:
            if not read_only:
                await session.execute(sa.text("SET TRANSACTION READ ONLY"))
            await insert(session)
    assert await pid(pooled) == before


async def test_a_reader_is_refused_too(demoted: db.Database) -> None:
    before = await pid(demoted)
    async with demoted.reader() as session:
        with pytest.raises(db.ReadOnly, match="25006"):
            await session.execute(sa.text("SELECT lo_create(0)"))
    assert await pid(demoted) == before


async def test_a_unit_after_a_reader_has_the_default_of_the_server(demoted: db.Database) -> None:
    async with demoted.reader() as session:
        assert await session.scalar(sa.select(sa.func.count(Author.id))) == 0
    with pytest.raises(db.Unavailable):
        async with demoted.transaction() as session:
            await insert(session)


async def test_ping_tells_unless_a_standby_will_do(demoted: db.Database) -> None:
    assert "the server only reads" in str((await demoted.ping()).error)
    assert (await demoted.ping(read_only=True)).ok
    url = demoted.settings.url.update_query_dict({"target_session_attrs": "any"})
    settings = demoted.settings.model_copy(update={"url": url})
    async with db.Database(settings) as database:
        assert (await database.ping()).ok


async def test_doctor_names_a_server_that_only_reads(demoted: db.Database) -> None:
    check = await doctor.check_database(demoted.settings, 5)
    assert check.status == "failed"
    assert "the server only reads" in check.message


async def test_behind_a_pooler_each_transaction_asks(demoted: db.Database) -> None:
    settings = demoted.settings.model_copy(update={"pooler": "pgbouncer"})
    async with db.Database(settings) as database:
        with pytest.raises(db.Unavailable, match="the server only reads"):
            async with database.transaction() as session:
                await insert(session)
        with pytest.raises(db.ReadOnly):
            async with database.transaction(read_only=True) as session:
                await insert(session)
