"""Fixtures for tests on the real database: a pytest plugin, named in tests/conftest.py."""

import asyncio
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Self
from uuid import uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from . import dialect
from .database import Database, create_session
from .engine import create_engine
from .settings import DatabaseSettings


@pytest.fixture(scope="session")
def database_server() -> Generator[sa.URL]:
    """Where test databases are made: TEST_DATABASE_URL, else a server of the run's own."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield DatabaseSettings.model_validate({"url": given}).url
    else:
        with dialect.temporary_server() as url:
            yield url


@asynccontextmanager
async def temporary_database(server: sa.URL) -> AsyncGenerator[DatabaseSettings]:
    """A new, empty database on a server, for the length of the block."""
    name = f"test_{uuid4().hex}"
    url = await dialect.create_database(server, name)
    try:
        yield DatabaseSettings(url=url)
    finally:
        await dialect.drop_database(server, name)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database_settings(
    database_server: sa.URL,
    pytestconfig: pytest.Config,
) -> AsyncGenerator[DatabaseSettings]:
    """A database of the run's own, with the schema that `alembic upgrade head` makes."""
    async with temporary_database(database_server) as settings:
        config = Config(pytestconfig.rootpath / "alembic.ini")
        config.attributes["settings"] = settings
        # In a thread, since env.py runs an event loop of its own.
        await asyncio.to_thread(command.upgrade, config, "head")
        yield settings


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _engines() -> AsyncGenerator[dict[DatabaseSettings, AsyncEngine]]:
    """An engine for each database that the tests of the run name as theirs."""
    engines: dict[DatabaseSettings, AsyncEngine] = {}
    yield engines
    for engine in engines.values():
        await engine.dispose()


@pytest_asyncio.fixture(loop_scope="session")
async def database(
    database_settings: DatabaseSettings,
    _engines: dict[DatabaseSettings, AsyncEngine],
) -> AsyncGenerator[Database]:
    """The database for one test: the code under test may commit, and nothing of it stays.

    Its sessions are savepoints in one transaction, so isolation levels and deferred constraints do
    not act, and two sessions cannot work at the same moment.
    """
    if database_settings not in _engines:
        _engines[database_settings] = create_engine(database_settings)
    engine = _engines[database_settings]
    async with engine.connect() as connection:
        transaction = await connection.begin()
        yield _JoinedDatabase(database_settings, engine, connection)
        await transaction.rollback()


@pytest_asyncio.fixture(loop_scope="session")
async def session(database: Database) -> AsyncGenerator[AsyncSession]:
    """A session on `database`."""
    async with database.session() as session:
        yield session


class _JoinedDatabase(Database):
    """A database whose sessions join the test's transaction."""

    def __init__(
        self,
        settings: DatabaseSettings,
        engine: AsyncEngine,
        connection: AsyncConnection,
    ) -> None:
        super().__init__(settings)
        self._engine = engine
        self._connection = connection

    # The fixture opens and closes it; an application's lifespan may try to.
    async def __aenter__(self) -> Self:
        return self

    async def dispose(self) -> None:
        pass

    def _open_session(self, **options: object) -> AsyncSession:
        # The one mode in which code under test may roll back and the test goes on:
        # https://docs.sqlalchemy.org/en/21/orm/session_transaction.html#joining-a-session-into-an-external-transaction-such-as-for-test-suites
        return create_session(self._connection, join_transaction_mode="create_savepoint")
