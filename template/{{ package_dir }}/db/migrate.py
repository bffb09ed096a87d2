"""Migrations: Alembic on the async engine, one process at a time. migrations/env.py calls `run`."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from logging.config import fileConfig
from typing import Any, Literal

import sqlalchemy as sa
from alembic import command, context, op
from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.config import Config
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.util import CommandError
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from .engine import create_engine, dialect
from .errors import LockTimeout, Unavailable
from .models import ExactDecimal, IntegerEnum, UTCDateTime
from .settings import DatabaseSettings, describe

logger = logging.getLogger(__name__)

Plan = Callable[..., Sequence[RevisionStep]]


async def upgrade(
    config: Config | str = "alembic.ini",
    revision: str = "head",
    *,
    settings: DatabaseSettings | None = None,
) -> None:
    """Run `alembic upgrade` inside an event loop, for example in the lifespan of an application.

    Any number of processes may call it at once: one migrates, and the others wait for it. Within a
    process it is called once at a time, because Alembic has one context. It runs in a thread, since
    env.py starts an event loop. If it is cancelled, the thread continues.

    Raises:
        Unavailable: The database does not answer, or the lock of migrations was lost.
        LockTimeout: Another transaction holds a lock for longer than DATABASE_MIGRATION_TIMEOUT.
        TimeoutError: Another process migrates for longer than that.
    """
    config = config if isinstance(config, Config) else Config(config)
    if settings:
        config.attributes["settings"] = settings
    await asyncio.to_thread(command.upgrade, config, revision)


def run(
    metadata: sa.MetaData | Sequence[sa.MetaData],
    *,
    settings: DatabaseSettings | None = None,
    **configure: object,
) -> None:
    """Run the Alembic command that loaded env.py.

    A program that calls Alembic can put `settings` into `config.attributes`, which then win. It
    can also put a `connection` there: a sqlalchemy.Connection, inside run_sync, which the program
    commits itself. The program then also sees to it that no other process migrates.

    Args:
        metadata: The tables that migrations are compared with.
        settings: The database; without them, that of DATABASE_URL.
        **configure: Arguments, other than `transaction_per_migration`, of
            https://alembic.sqlalchemy.org/en/latest/api/runtime.html#alembic.runtime.environment.EnvironmentContext.configure

    Raises:
        LockTimeout: Another transaction holds a lock for longer than DATABASE_MIGRATION_TIMEOUT.
        TimeoutError: Another process migrates for longer than that.
        CommandError: There is a pooler, but no DATABASE_MIGRATION_URL for the server itself; or an
            event loop runs, and there is no `connection`.
    """
    config = context.config
    if config.cmd_opts and config.config_file_name and config.file_config.has_section("loggers"):
        fileConfig(config.config_file_name, disable_existing_loggers=False)
    connection: sa.Connection | None = config.attributes.get("connection")
    explicit: DatabaseSettings | None = config.attributes.get("settings") or settings
    with _in_a_sentence(ValueError):
        chosen = explicit or DatabaseSettings()
    options: dict[str, object] = {
        "target_metadata": metadata,
        "transactional_ddl": dialect.TRANSACTIONAL_DDL,
        "render_as_batch": dialect.RENDER_AS_BATCH,
        "compare_server_default": True,
        "render_item": _render_item,
        "process_revision_directives": _review,
        **configure,
        # A revision that waits for a lock is tried again. SQLite's lock is the one transaction.
        "transaction_per_migration": dialect.MIGRATION_LOCK is not None,
    }
    if context.is_offline_mode():
        # The driver's own parameter style would double each % in the script.
        named = {"paramstyle": "named"}
        _migrate(None, {"url": chosen.url, "literal_binds": True, "dialect_opts": named, **options})
    elif connection is not None:
        dialect.guard_migration(connection)
        _migrate(connection, options)
    elif _in_event_loop():
        raise CommandError(
            "an event loop runs, and Alembic's commands are synchronous: write"
            f" `await {__name__}.upgrade(config)`"
        )
    else:
        direct = _direct(chosen)
        with _in_a_sentence(ArgumentError, ValueError):
            engine = create_engine(direct)
        with _in_a_sentence(LockTimeout, Unavailable, TimeoutError):
            asyncio.run(_migrate_alone(engine, direct, options))


@contextmanager
def _in_a_sentence(*kinds: type[Exception]) -> Generator[None]:
    """On the command line, make these errors a CommandError: Alembic prints only its message."""
    try:
        yield
    except kinds as error:
        if not context.config.cmd_opts:
            raise
        raise CommandError(describe(error)) from error


def _in_event_loop() -> bool:
    with suppress(RuntimeError):
        return bool(asyncio.get_running_loop())
    return False


async def _migrate_alone(
    engine: AsyncEngine, settings: DatabaseSettings, options: Mapping[str, object]
) -> None:
    timeout = settings.migration_timeout
    try:
        async with engine.connect() as connection:
            if problem := await dialect.lock_problem(connection, settings):
                # Alembic prints the message of a CommandError without a traceback.
                raise CommandError(problem)
        async with migration_lock(engine, timeout) as check_lock, engine.connect() as connection:
            await dialect.prepare_migration(connection, settings)
            steps = _Steps(connection, check_lock, timeout)
            while True:
                try:
                    return await connection.run_sync(_migrate, options, steps)
                except LockTimeout as error:
                    await steps.wait(error)
    finally:
        await engine.dispose()


class _Steps:
    """The revisions of a command, each once: when the command runs again, those that are left."""

    def __init__(
        self, connection: AsyncConnection, check_lock: Callable[[], object], timeout: float
    ) -> None:
        self._connection, self._check_lock, self._timeout = connection, check_lock, timeout
        self._left: list[RevisionStep] = []
        self._began = time.monotonic()

    def attach(self, migration: MigrationContext) -> None:
        """Let Alembic ask for the revisions here, one after the other."""
        # PRIVATE: alembic MigrationContext._migrations_fn: nothing else runs before each revision
        plan: Plan = vars(migration)["_migrations_fn"]
        vars(migration)["_migrations_fn"] = partial(self._run, plan)

    def _run(self, plan: Plan, *state: object) -> Iterator[RevisionStep]:
        self._left = self._left or [*plan(*state)]
        while self._left:
            try:
                self._check_lock()
            except Unavailable as error:
                raise Unavailable(f"{self._left[0]} was not started: the lock was lost") from error
            self._connection.info.pop(dialect.COMMITTED, None)
            yield self._left[0]
            del self._left[0]
            self._began = time.monotonic()

    async def wait(self, error: LockTimeout) -> None:
        """Wait until a revision can be tried again. Raise LockTimeout if it cannot."""
        final = not self._left or dialect.COMMITTED in self._connection.info
        message = f"{self._left[0] if self._left else 'the command'} waits for a lock"
        await self._connection.rollback()
        # MySQL shows the holders only to a user with the privilege PROCESS.
        with suppress(DBAPIError):
            holders = await self._connection.scalars(sa.text(dialect.LOCK_HOLDERS))
            message += f" that one of these may hold: {', '.join(holders)}"
        # Alembic does not commit a transaction that began before its own.
        await self._connection.rollback()
        if final or time.monotonic() > self._began + self._timeout:
            raise LockTimeout(f"{message}: end that transaction, and migrate again") from error
        logger.warning("%s: trying again", message)
        # Those who waited behind the revision go on meanwhile.
        await asyncio.sleep(0.5)


def set_enum_values(
    table: str, column: str, values: Sequence[str], *, check: str, schema: str | None = None
) -> None:
    """Let a text column of an enum have these values: for a migration that adds or removes one.

        def upgrade() -> None:
            op.execute("UPDATE posts SET status = 'draft' WHERE status = 'hidden'")  # if one goes
            set_enum_values("posts", "status", ["draft", "published"], check="ck_posts_poststatus")

    The length of the column becomes that of the longest value, and the CHECK with the name `check`
    is replaced; on SQLite Alembic copies the table for that. Rows must not have other values. With
    `--sql` this works on PostgreSQL alone: elsewhere it has to read how the column is.
    """
    existing: dict[str, Any] = {"nullable": None, "default": None}
    if not op.get_context().as_sql:
        columns = sa.inspect(op.get_bind()).get_columns(table, schema)
        existing |= next(x for x in columns if x["name"] == column)
    elif not dialect.TRANSACTIONAL_DDL:
        # Alembic would make a column without NOT NULL and without its default.
        raise CommandError("set_enum_values() reads the column: it does not work with --sql")
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
async def migration_lock(
    engine: AsyncEngine, timeout: float
) -> AsyncGenerator[Callable[[], object]]:
    """Let no other process migrate during the block. SQLite's transaction is a lock by itself.

    It yields a function that raises Unavailable, within run_sync, if the lock was lost.

    Raises:
        TimeoutError: Another process has been migrating for `timeout` seconds.
    """
    if dialect.MIGRATION_LOCK is None:
        yield lambda: None
        return
    take, release = map(sa.select, dialect.MIGRATION_LOCK)
    # The lock has a connection of its own, in autocommit, because CREATE INDEX CONCURRENTLY waits
    # for all transactions. It is polled, because waiting statements have a timeout.
    async with engine.execution_options(**dialect.AUTOCOMMIT).connect() as side:
        assert side.sync_connection
        deadline = time.monotonic() + timeout
        while not await side.scalar(take):
            if time.monotonic() > deadline:
                raise TimeoutError(f"another process has been migrating for {timeout:.0f} s")
            await asyncio.sleep(0.1)
        try:
            yield partial(side.sync_connection.scalar, sa.select(1))
        finally:
            # A lost connection has lost the lock too.
            with suppress(Unavailable):
                if not side.invalidated:
                    await side.scalar(release)


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


def _migrate(
    connection: sa.Connection | None, options: Mapping[str, object], steps: _Steps | None = None
) -> None:
    # Alembic itself checks the types of these arguments.
    configure: Callable[..., None] = context.configure
    configure(connection, **options)
    if steps:
        steps.attach(context.get_context())
    with context.begin_transaction():
        context.run_migrations()


def _review(migration: MigrationContext, _: object, scripts: list[ops.MigrationScript]) -> None:
    """Look at what autogenerate found: for `alembic check` and `alembic revision`."""
    assert migration.connection
    if problem := dialect.invalid_indexes(migration.connection):
        raise CommandError(f"{problem}: build each again, or drop it")
    if not getattr(context.config.cmd_opts, "autogenerate", False):
        return
    changes = [x for script in scripts for each in script.upgrade_ops_list for x in each.ops]
    if not changes:
        context.config.print_stdout("The models and the migrations agree: no revision is written.")
        scripts.clear()
    for table in changes:
        if isinstance(table, ops.ModifyTableOps):
            kinds = {type(x) for x in table.ops}
            if {ops.AddColumnOp, ops.DropColumnOp} <= kinds:
                table.ops = [_Comment(), *table.ops]
    for script in scripts:
        for each in (*script.upgrade_ops_list, *script.downgrade_ops_list):
            tables = {(x.schema, x.table_name) for x in each.ops if isinstance(x, ops.DropTableOp)}
            each.ops = [x for x in each.ops if not _drops_indexes(x, tables)]


def _drops_indexes(change: ops.MigrateOperation, tables: set[tuple[str | None, str]]) -> bool:
    """Return whether a change only drops indexes of these tables, which go with their table.

    MySQL does not drop the index of a foreign key by itself.
    """
    return (
        isinstance(change, ops.ModifyTableOps)
        and (change.schema, change.table_name) in tables
        and all(isinstance(x, ops.DropIndexOp) for x in change.ops)
    )


class _Comment(ops.MigrateOperation):
    """A comment in a revision that drops a column and adds one."""


@renderers.dispatch_for(_Comment)
def _render_comment(_: AutogenContext, comment: _Comment) -> str:
    return "# Was a column renamed? Then op.alter_column(new_column_name=...) keeps its values."


def _render_item(kind: str, item: object, context: AutogenContext) -> str | Literal[False]:
    module = type(item).__module__
    if kind != "type" or module.startswith("sqlalchemy."):
        return False
    if not isinstance(item, (ExactDecimal, IntegerEnum, UTCDateTime)):
        # Alembic names the module of the project's own type, and does not import it.
        context.imports.add(f"import {module}")
        return False
    # A migration may outlive the layer's types, so it names SQLAlchemy's.
    # The module is sqlalchemy.sql.sqltypes, or for example sqlalchemy.dialects.mysql.types.
    _, package, database, *_ = type(item.impl).__module__.split(".")
    if package != "dialects":
        return f"sa.{item.impl!r}"
    context.imports.add(f"from sqlalchemy.dialects import {database}")
    return f"{database}.{item.impl!r}"
