"""Fixtures for tests on the real database."""

import asyncio
import os
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Generator,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self
from uuid import uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic.config import Config
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from .. import migrate
from ..database import BindContext, Database
from ..engine import Health
from ..engine.health import ping
from ..models import metadata
from ..session import Callback, JoinMode, create_session
from ..settings import DatabaseSettings
from .databases import create_database, drop_database, temporary_server
from .query_log import QueryLog

Share = Callable[[str], Awaitable[Database]]
Prepare = Callable[[AsyncConnection], Awaitable[object]]


class _Worker(Protocol):
    """The attributes that are used of a worker of pytest-xdist, which may not be installed."""

    config: pytest.Config
    workerinput: dict[str, str]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: _Worker) -> None:
    """Start one server for all workers of pytest-xdist."""
    # Without a server, only the tests that need one fail.
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
    """Return the server for test databases: TEST_DATABASE_URL, or one that this run starts."""
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
    """Create a database for the length of the block.

    It is empty, or a copy of `template`, to which no connection may be open.
    """
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
    """Return the name of the database that tests get copies of: the result of the migrations.

    Override this for another schema, or for rows that every test needs. Close each connection to
    it before the fixture yields.
    """
    name = f"template_{uuid4().hex}"
    async with temporary_database(database_server, name=name) as settings:
        await migrate_to_head(settings, database_alembic, prepare_database)
        yield name


@pytest.fixture(scope="session")
def database_alembic(pytestconfig: pytest.Config) -> Config:
    """Return Alembic's configuration. Override this if alembic.ini is in no folder above."""
    # pytest's root is another folder where one run has the tests of several projects.
    folders = [*Path(__file__).parents, pytestconfig.rootpath]
    folder = next((x for x in folders if (x / "alembic.ini").exists()), pytestconfig.rootpath)
    config = Config(folder / "alembic.ini")
    if config.file_config.has_section("alembic"):
        # It may be relative to the folder that Alembic is run in. `package:folder` is not.
        location = config.get_main_option("script_location") or ""
        if ":" not in location:
            config.set_main_option("script_location", str(folder / location).replace("%", "%%"))
    return config


@pytest.fixture(scope="session")
def prepare_database() -> Prepare | None:
    """Return a coroutine function that creates the schemas and extensions of the migrations."""
    return None


async def migrate_to_head(
    settings: DatabaseSettings, config: Config, prepare: Prepare | None = None
) -> None:
    """Run `alembic upgrade head` on this database. Fail if env.py connects to another one."""
    if prepare:
        async with Database(settings) as database, database.engine.begin() as connection:
            await prepare(connection)

    def refuse(connection: sa.Connection, *_: object) -> None:
        # No other run uses this name.
        if connection.engine.url.database != settings.url.database:
            pytest.fail(
                f"for the tests env.py would migrate {connection.engine.url}: have it call"
                f" {Database.__module__.rpartition('.')[0]}.migrate.run(metadata), or use the URL of the settings that it"
                ' finds in context.config.attributes["settings"]',
                pytrace=False,
            )

    # An env.py that ignores the settings could migrate the database of DATABASE_URL.
    event.listen(sa.Engine, "before_cursor_execute", refuse)
    try:
        await migrate.upgrade(config, settings=settings)
    finally:
        event.remove(sa.Engine, "before_cursor_execute", refuse)


@pytest.fixture(scope="session")
def database_metadata() -> sa.MetaData | Sequence[sa.MetaData]:
    """Return the tables for the guards of tests/db. Override this, and import all models."""
    return metadata


@pytest.fixture(scope="session")
def guards_accept() -> Collection[str]:
    """Return names that the guards of tests/db accept: `{"Post.author", "legacy_*"}`."""
    return ()


@pytest.fixture(scope="session")
def revisions_after() -> str:
    """Return the revision after which the guards look at revisions. Override it in a long history.

    TEST_REVISIONS_AFTER=base lets one run look at all of them.
    """
    return "base"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_databases(database_server: sa.URL) -> AsyncGenerator[Share]:
    """Return a function that opens the one copy of a template that all tests share."""
    opened: dict[str, Database] = {}
    async with AsyncExitStack() as stack:

        async def share(template: str) -> Database:
            if template not in opened:
                copy = temporary_database(database_server, template=template)
                settings = await stack.enter_async_context(copy)
                # A server for tests does not restart or stop answering. A ping before each test
                # doubles the cost of a test, and a timer for each statement adds 5 %.
                untimed = {"command_timeout": 0, "slow_query_threshold": 0, "retry_for": 0}
                database = Database(settings.model_copy(update=untimed), pool_pre_ping=False)
                opened[template] = await stack.enter_async_context(database)
            return opened[template]

        yield share


class _JoinedDatabase(Database):
    """A database whose sessions join the test's transaction."""

    def __init__(self, shared: Database, connection: AsyncConnection) -> None:
        super().__init__(shared.settings)
        self.committed: list[Callback] = []
        self._engine = shared.engine
        self._connection = connection
        self._unit = asyncio.Lock()
        self._unit_task: asyncio.Task[Any] | None = None

    # The fixture opens and closes the database. The lifespan of an application may try to.
    async def __aenter__(self) -> Self:
        return self

    async def dispose(self) -> None:
        """Leave the connections open."""

    @property
    def engine(self) -> AsyncEngine:
        """Refuse access: what commits on the engine's other connections would stay for all tests."""
        raise RuntimeError(
            "`database.engine` is outside of the test's transaction: take `fresh_database`, or"
            " `await session.connection()` of a session of `database`"
        )

    async def ping(self, timeout: float = 5, *, read_only: bool = False) -> Health:
        """Return whether the database answers, on a connection outside of the test's transaction."""
        return await ping(self._connection.engine, timeout, read_only=read_only)

    @asynccontextmanager
    async def transaction(
        self, *, isolation_level: str | None = None, read_only: bool = False
    ) -> AsyncGenerator[AsyncSession]:
        """Open a unit of work. Units of different tasks take turns: each is a savepoint."""
        async with (
            self._turn(),
            super().transaction(isolation_level=isolation_level, read_only=read_only) as session,
        ):
            yield session

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None]:
        task = asyncio.current_task()
        if self._unit_task is task:
            yield
            return
        try:
            async with asyncio.timeout(self.settings.pool_timeout):
                await self._unit.acquire()
        except TimeoutError as error:
            raise RuntimeError(
                "a unit of work waits for the unit of another task, which does not end: in the"
                " fixture `database` units take turns. Take `fresh_database` for parallel units"
            ) from error
        self._unit_task = task
        try:
            yield
        finally:
            self._unit_task = None
            self._unit.release()

    def _bind(self, options: Mapping[str, object], *, read_only: bool) -> BindContext:
        return nullcontext(self._connection)

    def _open_session(
        self,
        bind: AsyncEngine | AsyncConnection,
        *,
        reader: bool = False,
    ) -> AsyncSession:
        # The only mode in which the code under test can roll back and the test continues:
        # https://docs.sqlalchemy.org/en/21/orm/session_transaction.html#joining-a-session-into-an-external-transaction-such-as-for-test-suites
        # The savepoint of a reader would roll back, at its end, the commits after its start.
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
    """Return the database for one test. The code under test may commit; the test rolls back.

    All sessions are savepoints of one transaction. So `now()` is the same in all statements,
    isolation levels and deferred constraints have no effect, and units of work take turns. A test
    that needs these, or `database.engine`, takes `fresh_database`.
    """
    shared = await shared_databases(database_template)
    async with shared.engine.connect() as connection:
        # The pool rolls back when the connection is closed.
        await connection.begin()
        yield _JoinedDatabase(shared, connection)


@pytest_asyncio.fixture(loop_scope="session")
async def fresh_database(
    database_server: sa.URL, database_template: str
) -> AsyncGenerator[Database]:
    """Return a database of its own for one test, with real commits and concurrent transactions.

    It takes longer than `database` by the time of a copy.
    """
    async with (
        temporary_database(database_server, template=database_template) as settings,
        Database(settings) as database,
    ):
        yield database
        _refuse_leaks(database)


def _refuse_leaks(database: Database) -> None:
    if leaked := database.pool_status().in_use:
        pytest.fail(
            f"{leaked} connections were not given back: write `async with` before each of"
            " database.transaction(), database.session() and database.engine.connect()"
        )


@pytest.fixture
def committed(database: _JoinedDatabase) -> list[Callback]:
    """Return the callbacks of `on_commit` that became due. The sessions of `database` call none.

    `await db.session.run_callbacks(committed)` calls them, as a commit does in production.
    """
    return database.committed


@pytest_asyncio.fixture(loop_scope="session")
async def session(database: Database) -> AsyncGenerator[AsyncSession]:
    """Return a session of `database`."""
    async with database.session() as session:
        yield session


@pytest.fixture
def query_log() -> Generator[QueryLog]:
    """Return the log of all statements of the test: `with query_log.expect(2): ...`."""
    log = QueryLog()
    event.listen(sa.Engine, "before_cursor_execute", log.note)
    yield log
    event.remove(sa.Engine, "before_cursor_execute", log.note)
