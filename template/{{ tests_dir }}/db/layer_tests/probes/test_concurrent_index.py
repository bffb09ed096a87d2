"""Indexes that are built while others write: interrupted builds, other sessions, a reader."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.ext.asyncio import AsyncConnection

from . import db
from .test_migrations import compare, config, impatient, reader, revise, settings, upgrade

__all__ = ["config", "settings"]

BUILD = f"""
    from {db.__name__}.concurrent_index import create_index_concurrently
    create_index_concurrently("ix_parents_name", "parents", ["name"], unique=True)
"""
BY_HAND = sa.text("CREATE UNIQUE INDEX CONCURRENTLY ix_parents_name ON parents (name)")
INDEX = sa.text(
    "SELECT indexrelid, indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_parents_name')"
)


@pytest_asyncio.fixture(loop_scope="session")
async def connection(
    config: Config, settings: db.DatabaseSettings
) -> AsyncGenerator[AsyncConnection]:
    """A connection in autocommit to a database whose next revision builds an index."""
    await upgrade(config)
    revise(config, "2", BUILD)
    impatient(config, settings)
    unlimited = settings.model_copy(update={"lock_timeout": 60, "statement_timeout": 0})
    async with db.Database(unlimited) as database, database.engine.connect() as connection:
        yield await connection.execution_options(isolation_level="AUTOCOMMIT")


async def is_valid(connection: AsyncConnection) -> bool | None:
    return (await connection.execute(INDEX)).scalars("indisvalid").one_or_none()


async def test_an_index_is_built_behind_a_reader(
    connection: AsyncConnection, config: Config, settings: db.DatabaseSettings
) -> None:
    async with reader(settings, 2.5):
        await upgrade(config)
    assert await is_valid(connection)


async def test_an_invalid_index_is_reported_and_built_again(
    connection: AsyncConnection, config: Config, settings: db.DatabaseSettings
) -> None:
    await connection.execute(sa.text("INSERT INTO parents VALUES (1, 'a'), (2, 'a')"))
    with pytest.raises(db.UniqueViolation):
        await upgrade(config)
    assert await is_valid(connection) is False
    check = await compare(settings, config)
    problem = "ix_parents_name: invalid, because the build was interrupted"
    assert (check.status, check.message) == ("failed", problem)
    revise(config, "2", "pass")
    await upgrade(config)
    with pytest.raises(CommandError, match=problem):
        await asyncio.to_thread(command.check, config)
    await connection.execute(sa.text("DELETE FROM parents WHERE id = 2"))
    revise(config, "3", BUILD)
    await upgrade(config)
    assert await is_valid(connection)


async def test_an_index_that_is_built_already_is_left_alone(
    connection: AsyncConnection, config: Config
) -> None:
    await connection.execute(BY_HAND)
    before = (await connection.execute(INDEX)).one()
    await upgrade(config)
    assert (await connection.execute(INDEX)).one() == before


async def test_the_build_of_another_session_is_waited_for(
    connection: AsyncConnection, config: Config, settings: db.DatabaseSettings
) -> None:
    config.attributes["settings"] = settings.model_copy(update={"lock_timeout": 30})
    async with reader(settings, 60):
        building = asyncio.create_task(connection.execute(BY_HAND))
        await asyncio.sleep(0.3)
        migrating = asyncio.create_task(upgrade(config))
        await asyncio.sleep(1.5)
        assert not building.done() and not migrating.done()
    await building
    before = (await connection.execute(INDEX)).one()
    await migrating
    assert (await connection.execute(INDEX)).one() == before
    assert before.indisvalid
