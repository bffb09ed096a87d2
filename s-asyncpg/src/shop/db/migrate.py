"""Migrations: Alembic on the async engine, one process at a time. migrations/env.py calls `run`."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from logging.config import fileConfig
from typing import Literal

import sqlalchemy as sa
from alembic import context, op
from alembic.autogenerate.api import AutogenContext
from alembic.util import CommandError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from .engine import create_engine, dialect
from .errors import Unavailable
from .models import ExactDecimal, IntegerEnum, UTCDateTime
from .settings import DatabaseSettings


def run(
    metadata: sa.MetaData | Sequence[sa.MetaData],
    *,
    settings: DatabaseSettings | None = None,
    **configure: object,
) -> None:
    """Run the Alembic command that loaded env.py.

    A program that calls Alembic can put `settings` into `config.attributes`, which then win. It
    can also put a `connection` there: a sqlalchemy.Connection, inside run_sync, which the program
    commits itself.

    Args:
        metadata: The tables that migrations are compared with.
        settings: The database; without them, that of DATABASE_URL.
        **configure: Arguments of
            https://alembic.sqlalchemy.org/en/latest/api/runtime.html#alembic.runtime.environment.EnvironmentContext.configure

    Raises:
        TimeoutError: Another process migrates for longer than DATABASE_MIGRATION_TIMEOUT.
        CommandError: There is a pooler, but no DATABASE_MIGRATION_URL for the server itself.
    """
    config = context.config
    if config.cmd_opts and config.config_file_name and config.file_config.has_section("loggers"):
        fileConfig(config.config_file_name, disable_existing_loggers=False)
    connection: sa.Connection | None = config.attributes.get("connection")
    chosen: DatabaseSettings = config.attributes.get("settings") or settings or DatabaseSettings()
    options: dict[str, object] = {
        "target_metadata": metadata,
        "transactional_ddl": dialect.TRANSACTIONAL_DDL,
        "render_as_batch": dialect.RENDER_AS_BATCH,
        "render_item": _render_item,
        **configure,
    }
    if context.is_offline_mode():
        # The driver's own parameter style would double each % in the script.
        named = {"paramstyle": "named"}
        _migrate({"url": chosen.url, "literal_binds": True, "dialect_opts": named, **options})
    elif connection is not None:
        _migrate({"connection": connection, **options})
    else:
        try:
            asyncio.run(_migrate_alone(chosen, options))
        except (Unavailable, TimeoutError) as error:
            if not config.cmd_opts:
                raise
            # On the command line Alembic prints the message of a CommandError, and no traceback.
            raise CommandError(str(error)) from error


async def _migrate_alone(settings: DatabaseSettings, options: Mapping[str, object]) -> None:
    engine = create_engine(_direct(settings))
    try:
        async with connection_alone(engine, settings.migration_timeout) as connection:
            await connection.run_sync(lambda sync: _migrate({"connection": sync, **options}))
    finally:
        await engine.dispose()


def set_enum_values(
    table: str, column: str, values: Sequence[str], *, check: str, schema: str | None = None
) -> None:
    """Let a text column of an enum have these values: for a migration that adds or removes one.

        def upgrade() -> None:
            op.execute("UPDATE posts SET status = 'draft' WHERE status = 'hidden'")  # if one goes
            set_enum_values("posts", "status", ["draft", "published"], check="ck_posts_poststatus")

    The length of the column becomes that of the longest value, and the CHECK with the name `check`
    is replaced; on SQLite Alembic copies the table for that. Rows must not have other values. This
    reads the table, and so does not work with `--sql`.
    """
    columns = sa.inspect(op.get_bind()).get_columns(table, schema)
    existing = next(x for x in columns if x["name"] == column)
    with op.batch_alter_table(table, schema) as batch:
        batch.drop_constraint(op.f(check), "check")
        # MySQL has to be told the whole column again.
        batch.alter_column(
            column,
            type_=sa.String(max(map(len, values))),
            existing_nullable=existing["nullable"],
            existing_server_default=existing["default"] and sa.text(existing["default"]),
        )
        batch.create_check_constraint(op.f(check), sa.column(column, sa.String).in_(values))


@asynccontextmanager
async def connection_alone(engine: AsyncEngine, timeout: float) -> AsyncGenerator[AsyncConnection]:
    """Yield a connection for a migration, while no other process migrates.

    Raises:
        TimeoutError: Another process has been migrating for `timeout` seconds.
    """
    async with AsyncExitStack() as stack:
        if dialect.MIGRATION_LOCK is not None:
            take, release = map(sa.select, dialect.MIGRATION_LOCK)
            # The lock has a connection of its own, in autocommit, because CREATE INDEX CONCURRENTLY
            # waits for all transactions. It is polled, because waiting statements have a timeout.
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
    """Return settings for migrations: the server itself instead of a pooler, and no time limits."""
    if settings.pooler != "none" and not settings.migration_url:
        # Alembic prints the message of a CommandError without a traceback.
        raise CommandError(
            "DATABASE_MIGRATION_URL is missing: the lock of a migration does not work through"
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


def _migrate(options: Mapping[str, object]) -> None:
    # Alembic itself checks the types of these arguments.
    configure: Callable[..., None] = context.configure
    configure(**options)
    with context.begin_transaction():
        context.run_migrations()


def _render_item(kind: str, item: object, context: AutogenContext) -> str | Literal[False]:
    # A migration may outlive the layer's types, so it names SQLAlchemy's.
    if kind != "type" or not isinstance(item, (ExactDecimal, IntegerEnum, UTCDateTime)):
        return False
    # The module is sqlalchemy.sql.sqltypes, or for example sqlalchemy.dialects.mysql.types.
    _, package, database, *_ = type(item.impl).__module__.split(".")
    if package != "dialects":
        return f"sa.{item.impl!r}"
    context.imports.add(f"from sqlalchemy.dialects import {database}")
    return f"{database}.{item.impl!r}"
