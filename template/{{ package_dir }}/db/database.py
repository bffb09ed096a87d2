"""The database of a process: sessions, transactions, health, and an orderly end."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy import event, exc, orm
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.orm.session import JoinTransactionMode
from sqlalchemy.pool import QueuePool

from . import dialect
from .engine import Password, create_engine
from .errors import DatabaseError, StaleVersion
from .mixins import SoftDeletable, hide_deleted
from .settings import DatabaseSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Health:
    """Whether the database answers: `latency` in seconds, `error` says why it does not."""

    ok: bool
    latency: float
    error: str | None = None


@dataclass(frozen=True)
class PoolStatus:
    """How many connections are in use, idle in the pool, and possible in all."""

    in_use: int
    idle: int
    limit: int | None


class Database:
    """One per process and event loop: made where the service starts, closed where it ends.

        async with Database() as database:
            async with database.transaction() as session:
                session.add(User(email="ada@example.com"))

    `password` is called for each new connection, and may be async; `options` go to
    `create_async_engine`.
    """

    def __init__(
        self,
        settings: DatabaseSettings | None = None,
        *,
        password: Password | None = None,
        **options: object,
    ) -> None:
        self.settings = settings or DatabaseSettings()
        self._password = password
        self._options = options
        self._engine: AsyncEngine | None = None

    async def __aenter__(self) -> Self:
        self._engine = create_engine(self.settings, password=self._password, **self._options)
        logger.info("database: %s", dialect.locate(self.settings.url))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.dispose()

    async def dispose(self) -> None:
        """Close the pool's connections. A second call does nothing."""
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for what sessions do not offer. Raises RuntimeError outside `async with`."""
        if self._engine is None:
            raise RuntimeError("the database is not open: write `async with database:` first")
        return self._engine

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[AsyncSession]:
        """An ordinary session, for those who drive it themselves: rolled back at the end."""
        async with self._open_session() as session:
            yield session

    @asynccontextmanager
    async def transaction(
        self,
        *,
        isolation_level: str | None = None,
        read_only: bool = False,
    ) -> AsyncGenerator[AsyncSession]:
        """A unit of work: committed at the end, rolled back on any exception.

        With `read_only` the database itself refuses writes, and every read sees one moment.
        """
        options = dialect.transaction_options(isolation_level, read_only)
        async with self._open_session(**options) as session, session.begin():
            yield session

    def _open_session(self, **options: object) -> AsyncSession:
        """A session on the engine with these execution options; the test kit puts its own here."""
        engine = self.engine.execution_options(**options) if options else self.engine
        return create_session(engine)

    async def ping(self, patience: float = 5) -> Health:
        """Whether the database answers within `patience` seconds. Never raises."""
        began = time.perf_counter()
        error = None
        try:
            async with asyncio.timeout(patience):
                engine = self.engine.execution_options(**dialect.AUTOCOMMIT)
                async with engine.connect() as connection:
                    await connection.execute(sa.select(1))
        except TimeoutError:
            error = f"no answer within {patience} s"
        except (DatabaseError, exc.SQLAlchemyError, OSError) as problem:
            error = str(problem)
        return Health(error is None, time.perf_counter() - began, error)

    def pool_status(self) -> PoolStatus:
        """How the pool stands at this moment."""
        pool = self.engine.pool
        if not isinstance(pool, QueuePool):
            return PoolStatus(in_use=0, idle=0, limit=None)
        limit = self.settings.pool_size + self.settings.max_overflow
        return PoolStatus(in_use=pool.checkedout(), idle=pool.checkedin(), limit=limit)


def create_session(
    bind: AsyncEngine | AsyncConnection,
    join_transaction_mode: JoinTransactionMode = "conditional_savepoint",
) -> AsyncSession:
    """A session as the layer means it, on an engine or on a connection that it joins."""
    return AsyncSession(
        bind,
        sync_session_class=_Session,
        # What was loaded stays readable after the commit: reading it again would need an await.
        expire_on_commit=False,
        # A session that was closed would otherwise come back to life, and leak a connection.
        close_resets_only=False,
        join_transaction_mode=join_transaction_mode,
    )


class _Session(orm.Session):
    """SQLAlchemy's session, for which a deleted row is not there and a lost race has a name."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        # No statement is run, and so no criteria apply, for a row that the session already holds.
        found = super().get(*args, **kwargs)
        return None if isinstance(found, SoftDeletable) and found.is_deleted else found

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        try:
            super().flush(objects)
        except StaleDataError as error:
            raise StaleVersion(f"{error} Read the row again, and decide anew.") from error


event.listen(_Session, "do_orm_execute", hide_deleted)
