"""The ground that all meet on: one database, the layer's engine and a plain one."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import ConnectionPoolEntry

from .layer import Database, Layer
from .races import WHERE, Scale
from .tables import Base

Sessions = async_sessionmaker[AsyncSession]


@dataclass(frozen=True)
class Ground:
    layer: Layer
    server: sa.URL
    database: Database
    engine: AsyncEngine
    sessions: Sessions
    scale: Scale

    @property
    def where(self) -> str:
        """The database and the driver, as tables and plots name them."""
        return WHERE[self.layer.driver]

    async def empty(self) -> None:
        """Remove all users."""
        async with self.engine.begin() as connection:
            statement = "DELETE FROM users" if self.dialect == "sqlite" else "TRUNCATE users"
            await connection.execute(sa.text(statement))

    async def analyze(self, table: str) -> None:
        """Have the server look at a table that was just filled: it plans by what it knows."""
        command = "ANALYZE TABLE" if self.dialect == "mysql" else "ANALYZE"
        async with self.engine.begin() as connection:
            await connection.execute(sa.text(f"{command} {table}"))

    @property
    def dialect(self) -> str:
        return self.engine.dialect.name


@asynccontextmanager
async def prepare(layer: Layer, server: sa.URL, scale: Scale) -> AsyncGenerator[Ground]:
    """A new database with the tables in it.

    Neither engine asks whether a connection is alive before it is used: that is a race of its own.
    """
    url = await layer.create_database(server, "benchmark")
    engine = plain_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    try:
        async with layer.database(url, pool_pre_ping=False) as database:
            sessions = async_sessionmaker(engine, expire_on_commit=False)
            yield Ground(layer, server, database, engine, sessions, scale)
    finally:
        await engine.dispose()


def plain_engine(url: sa.URL, *, pool_pre_ping: bool = False) -> AsyncEngine:
    """An engine as SQLAlchemy's documentation has it, for each database."""
    if not url.drivername.startswith("sqlite"):
        return create_async_engine(url, pool_pre_ping=pool_pre_ping)
    # https://docs.sqlalchemy.org/en/21/dialects/sqlite.html: a transaction must begin by our hand.
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    event.listen(engine.sync_engine, "connect", _write_ahead)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _write_ahead(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
