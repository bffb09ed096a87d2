"""What migrations/env.py runs: Alembic on the async engine, one process at a time."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from logging.config import fileConfig
from typing import Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.util import CommandError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from .engine import create_engine, dialect
from .models import ExactDecimal, UTCDateTime
from .settings import DatabaseSettings


def run(
    metadata: sa.MetaData | Sequence[sa.MetaData],
    *,
    settings: DatabaseSettings | None = None,
    **configure: object,
) -> None:
    """Run the Alembic command that loaded env.py, for the tables of `metadata`.

    `settings` say which database: without them, DATABASE_URL does. All other arguments are those of
    https://alembic.sqlalchemy.org/en/latest/api/runtime.html#alembic.runtime.environment.EnvironmentContext.configure

    A program that calls Alembic may put into `config.attributes` the `settings` to use, as the
    tests do, or the `connection` (a sqlalchemy.Connection, inside run_sync), which it commits
    itself.

    Raises TimeoutError if another process migrates for longer than DATABASE_MIGRATION_TIMEOUT, and
    CommandError if there is a pooler, and no DATABASE_MIGRATION_URL that leads past it.
    """
    config = context.config
    if config.cmd_opts and config.config_file_name and config.file_config.has_section("loggers"):
        fileConfig(config.config_file_name, disable_existing_loggers=False)
    connection: sa.Connection | None = config.attributes.get("connection")
    handed: DatabaseSettings | None = config.attributes.get("settings")
    chosen = handed or settings or DatabaseSettings()
    migrate = partial(_migrate, {"target_metadata": metadata, **configure})
    if context.is_offline_mode():
        migrate(url=chosen.url)
    elif connection is not None:
        migrate(connection=connection)
    else:
        asyncio.run(_migrate_locked(migrate, chosen))


async def _migrate_locked(migrate: Callable[..., None], settings: DatabaseSettings) -> None:
    engine = create_engine(_direct(settings))
    try:
        async with connection_alone(engine, settings.migration_timeout) as connection:
            await connection.run_sync(lambda sync: migrate(connection=sync))
    finally:
        await engine.dispose()


@asynccontextmanager
async def connection_alone(
    engine: AsyncEngine,
    timeout: float,
) -> AsyncGenerator[AsyncConnection]:
    """A connection to migrate on, while no other process migrates. `timeout` is in seconds.

    Raises TimeoutError when that is over.
    """
    async with AsyncExitStack() as stack:
        if dialect.MIGRATION_LOCK is not None:
            take, release = map(sa.select, dialect.MIGRATION_LOCK)
            # On a connection of its own, in no transaction, and polled for: a wait would be ended
            # as a slow statement, and CREATE INDEX CONCURRENTLY waits for all transactions.
            side = await stack.enter_async_context(engine.connect())
            await side.execution_options(**dialect.AUTOCOMMIT)
            deadline = time.monotonic() + timeout
            while not await side.scalar(take):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another process has been migrating for {timeout:.0f} s")
                await asyncio.sleep(0.1)
            stack.push_async_callback(side.scalar, release)
        connection = await stack.enter_async_context(engine.connect())
        await dialect.prepare_migration(connection, timeout)
        yield connection


def _direct(settings: DatabaseSettings) -> DatabaseSettings:
    """The way that migrations take: past a pooler, and with no limit on how long they work."""
    if settings.pooler != "none" and not settings.migration_url:
        # Alembic's command prints it as a sentence.
        raise CommandError(
            "DATABASE_MIGRATION_URL is missing: the lock of a migration does not hold through"
            f" {settings.pooler}, so name the server itself there, in .env or the environment"
        )
    update = {
        "url": settings.migration_url or settings.url,
        "pooler": "none",
        "pool_size": 0,
        "statement_timeout": 0,
        "command_timeout": 0,
        "idle_in_transaction_timeout": 0,
        "application_name": f"{settings.application_name} migrations",
    }
    return settings.model_copy(update=update)


def _migrate(
    given: Mapping[str, object],
    connection: sa.Connection | None = None,
    url: sa.URL | None = None,
) -> None:
    options: dict[str, object] = {
        "connection": connection,
        "url": url,
        "literal_binds": connection is None,
        # Offline: a driver's own style doubles each % in what is printed.
        "dialect_opts": {"paramstyle": "named"},
        "transactional_ddl": dialect.TRANSACTIONAL_DDL,
        "render_as_batch": dialect.RENDER_AS_BATCH,
        "render_item": _render_item,
    }
    # It checks the types of the rest itself.
    configure: Callable[..., None] = context.configure
    configure(**{**options, **given})
    with context.begin_transaction():
        context.run_migrations()


def _render_item(kind: str, item: object, context: AutogenContext) -> str | Literal[False]:
    # A migration outlives the code that it was made from: it names SQLAlchemy's types, not ours.
    if kind != "type" or not isinstance(item, (ExactDecimal, UTCDateTime)):
        return False
    # sqlalchemy.sql.sqltypes, or sqlalchemy.dialects.mysql.types
    _, package, database, *_ = type(item.impl).__module__.split(".")
    if package != "dialects":
        return f"sa.{item.impl!r}"
    context.imports.add(f"from sqlalchemy.dialects import {database}")
    return f"{database}.{item.impl!r}"
