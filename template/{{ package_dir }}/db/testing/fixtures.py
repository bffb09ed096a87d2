"""Fixtures for tests on the real database."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from functools import cache
from typing import Protocol, Self
from uuid import uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from ..database import Database
from ..models import metadata
from ..session import Callback, JoinMode, Slots, create_session
from ..settings import DatabaseSettings
from .databases import create_database, drop_database, temporary_server
from .query_log import QueryLog

Share = Callable[[str], Awaitable[Database]]
Prepare = Callable[[AsyncConnection], Awaitable[object]]


class _Worker(Protocol):
    """What is used here of a worker of pytest-xdist, which need not be installed."""

    config: pytest.Config
    workerinput: dict[str, str]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: _Worker) -> None:
    """Start one server for all workers of pytest-xdist."""
    # Where there is none the tests that need it will say so; the others can run without.
    with suppress(RuntimeError):
        node.workerinput["database_server"] = _server(node.config)


@cache
def _server(config: pytest.Config) -> str:
    if url := os.environ.get("TEST_DATABASE_URL"):
        return url
    stack = ExitStack()
    server = stack.enter_context(temporary_server())
    config.add_cleanup(stack.close)
    return server.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def database_server(pytestconfig: pytest.Config) -> sa.URL:
    """Where test databases are made: TEST_DATABASE_URL, else a server of the run's own."""
    handed: dict[str, str] = getattr(pytestconfig, "workerinput", {})
    url = handed.get("database_server") or _server(pytestconfig)
    return DatabaseSettings.model_validate({"url": url}).url


@asynccontextmanager
async def temporary_database(
    server: sa.URL,
    *,
    name: str | None = None,
    template: str | None = None,
) -> AsyncGenerator[DatabaseSettings]:
    """A new database for the length of the block: empty, or a copy of one that nobody is using."""
    name = name or f"test_{uuid4().hex}"
    url = await create_database(server, name, template)
    try:
        yield DatabaseSettings(url=url, migration_url=url)
    finally:
        await drop_database(server, name)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database_template(
    database_server: sa.URL, database_alembic: Config, prepare_database: Prepare | None
) -> AsyncGenerator[str]:
    """The name of the database that tests get copies of: what `alembic upgrade head` makes.

    Override it for another schema or for rows that are always there, and leave no connection open.
    """
    name = f"template_{uuid4().hex}"
    async with temporary_database(database_server, name=name) as settings:
        await migrate_to_head(settings, database_alembic, prepare_database)
        yield name


@pytest.fixture(scope="session")
def database_alembic(pytestconfig: pytest.Config) -> Config:
    """Alembic's settings: override it where they are not in alembic.ini in the root."""
    return Config(pytestconfig.rootpath / "alembic.ini")


@pytest.fixture(scope="session")
def prepare_database() -> Prepare | None:
    """What creates the schemas and extensions that the migrations expect: a coroutine function."""
    return None


async def migrate_to_head(
    settings: DatabaseSettings, config: Config, prepare: Prepare | None = None
) -> None:
    """Run `alembic upgrade head` on this database, and on no other, whatever env.py would do."""
    if prepare:
        async with Database(settings) as database, database.engine.begin() as connection:
            await prepare(connection)

    def refuse(connection: sa.Connection, *_: object) -> None:
        # The name is of this run alone.
        if connection.engine.url.database != settings.url.database:
            pytest.fail(
                f"for the tests env.py would migrate {connection.engine.url}: have it call"
                f" {Database.__module__.rpartition('.')[0]}.migrate.run(metadata), or use the URL of the settings that it"
                ' finds in context.config.attributes["settings"]',
                pytrace=False,
            )

    config.attributes["settings"] = settings
    # It may be one's own, and lead to the database of the environment: production's, perhaps.
    event.listen(sa.Engine, "before_cursor_execute", refuse)
    try:
        # In a thread, since env.py runs an event loop of its own.
        await asyncio.to_thread(command.upgrade, config, "head")
    finally:
        event.remove(sa.Engine, "before_cursor_execute", refuse)


@pytest.fixture(scope="session")
def database_metadata() -> sa.MetaData | Sequence[sa.MetaData]:
    """The tables that the guards of tests/db look at: override it, once the models are imported."""
    return metadata


@pytest.fixture(scope="session")
def guards_accept() -> Collection[str]:
    """What the guards of tests/db let pass, as they name it: `{"Post.author", "legacy_*"}`."""
    return ()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_databases(database_server: sa.URL) -> AsyncGenerator[Share]:
    """The one copy of each template that all `database` fixtures work on, in their transactions."""
    opened: dict[str, Database] = {}
    async with AsyncExitStack() as stack:

        async def share(template: str) -> Database:
            if template not in opened:
                copy = temporary_database(database_server, template=template)
                settings = await stack.enter_async_context(copy)
                # A server of tests does not restart or fall silent: to ask it first would double
                # the cost of a test, and timers for each statement add a twentieth.
                untimed = {"command_timeout": 0, "slow_query_threshold": 0}
                database = Database(settings.model_copy(update=untimed), pool_pre_ping=False)
                opened[template] = await stack.enter_async_context(database)
            return opened[template]

        yield share


class _JoinedDatabase(Database):
    """A database whose sessions join the test's transaction."""

    def __init__(self, shared: Database, connection: AsyncConnection) -> None:
        super().__init__(shared.settings)
        self.committed: list[Callback] = []
        self._engine, self._variants = shared.engine, shared._variants
        self._process, self._loop = os.getpid(), asyncio.get_running_loop()
        # One connection does one thing at a time.
        self._slots = Slots(1)
        self._connection = connection

    # The fixture opens and closes it; an application's lifespan may try to.
    async def __aenter__(self) -> Self:
        return self

    async def dispose(self) -> None:
        pass

    def _open_session(
        self,
        bind: AsyncEngine | AsyncConnection,
        *,
        reader: bool = False,
    ) -> AsyncSession:
        # The one mode in which code under test may roll back and the test goes on:
        # https://docs.sqlalchemy.org/en/21/orm/session_transaction.html#joining-a-session-into-an-external-transaction-such-as-for-test-suites
        # But a reader's savepoint would undo at its end what was committed since its beginning.
        mode: JoinMode = "rollback_only" if reader else "create_savepoint"
        return create_session(
            self._connection,
            join_transaction_mode=mode,
            reader=reader,
            deliver=self._note_callbacks,
        )

    async def _note_callbacks(self, due: Sequence[Callback]) -> None:
        self.committed += due


@pytest_asyncio.fixture(loop_scope="session")
async def database(
    database_template: str, shared_databases: Share
) -> AsyncGenerator[_JoinedDatabase]:
    """The database for one test: the code under test may commit, and nothing of it stays.

    Its sessions are savepoints in one transaction: isolation levels and deferred constraints do
    not act, and no two sessions work at the same moment. `fresh_database` is for what needs them.
    """
    shared = await shared_databases(database_template)
    async with shared.engine.connect() as connection:
        # Rolled back when the connection is closed, and once: a pool would do it again.
        await connection.begin()
        held = shared.pool_status().in_use
        yield _JoinedDatabase(shared, connection)
        _refuse_leaks(shared, held)


@pytest_asyncio.fixture(loop_scope="session")
async def fresh_database(
    database_server: sa.URL, database_template: str
) -> AsyncGenerator[Database]:
    """A database for one test alone: real commits, at the same moment, at any isolation level.

    Slower than `database` by the time that a copy takes.
    """
    async with (
        temporary_database(database_server, template=database_template) as settings,
        Database(settings) as database,
    ):
        yield database
        _refuse_leaks(database, 0)


def _refuse_leaks(database: Database, held: int) -> None:
    if leaked := database.pool_status().in_use - held:
        pytest.fail(
            f"{leaked} connections were not given back: write `async with` before each of"
            " database.transaction(), database.session() and database.engine.connect()"
        )


@pytest.fixture
def committed(database: _JoinedDatabase) -> list[Callback]:
    """What was given to `on_commit` and became due, by sessions of `database`, which calls none.

    `await db.session.run_callbacks(committed)` does what happens in production.
    """
    return database.committed


@pytest_asyncio.fixture(loop_scope="session")
async def session(database: Database) -> AsyncGenerator[AsyncSession]:
    """A session on `database`."""
    async with database.session() as session:
        yield session


@pytest.fixture
def query_log() -> Generator[QueryLog]:
    """What the test sends to any database: `with query_log.expect(2): ...` shows it if it fails."""
    log = QueryLog()
    event.listen(sa.Engine, "before_cursor_execute", log.note)
    yield log
    event.remove(sa.Engine, "before_cursor_execute", log.note)
