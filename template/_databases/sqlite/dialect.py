"""The differences of SQLite: types, error codes, and how a transaction begins."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.visitors import replacement_traverse

from ..settings import DRIVER, DatabaseSettings
from . import driver
from .rows import Run

# SQLite stores text. Six digits of a second sort like those that Python writes.
TIMESTAMP = sa.DateTime()
NOW = sa.text("(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')")
JSON = sa.JSON()
# SQLite stores floats, which ExactDecimal rounds.
NATIVE_DECIMAL = False
# Only a column declared INTEGER counts up by itself. It holds 64 bits.
BIGINT_KEY = sa.Integer()

# https://www.sqlite.org/rescode.html
UNIQUE_VIOLATION = frozenset(
    {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_ROWID"}
)
FOREIGN_KEY_VIOLATION = frozenset({"SQLITE_CONSTRAINT_FOREIGNKEY"})
# SQLite has one code for both directions.
STILL_REFERENCED = frozenset[str]()
NOT_NULL_VIOLATION = frozenset({"SQLITE_CONSTRAINT_NOTNULL"})
CHECK_VIOLATION = frozenset({"SQLITE_CONSTRAINT_CHECK"})
INVALID_VALUE = frozenset({"SQLITE_MISMATCH", "SQLITE_TOOBIG"})
SERIALIZATION_FAILURE = frozenset({"SQLITE_BUSY_SNAPSHOT"})
DEADLOCK = frozenset({"SQLITE_LOCKED"})
LOCK_TIMEOUT = frozenset({"SQLITE_BUSY", "SQLITE_BUSY_RECOVERY"})
QUERY_TIMEOUT = frozenset({"SQLITE_INTERRUPT"})
READ_ONLY = frozenset(
    name for name in dir(sqlite3) if name.startswith(("SQLITE_READONLY", "SQLITE_PERM"))
)
# The beginnings of names, since each has variants such as SQLITE_IOERR_WRITE.
_FILE_ERRORS = (
    *("SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_FULL", "SQLITE_IOERR"),
    *("SQLITE_NOTADB", "SQLITE_PROTOCOL"),
)
UNAVAILABLE = frozenset(name for name in dir(sqlite3) if name.startswith(_FILE_ERRORS))
# There is no server that could close a connection.
DISCONNECTED = frozenset[str]()
# After an error the transaction continues without that statement.
ERROR_ABORTS = False
# Errors that roll back the whole transaction have no codes of their own: see _check_transaction.
ENDS_TRANSACTION = frozenset[str]()

# A statement accepts 32,766 parameters.
KEYS_PER_STATEMENT = 30_000

# The driver begins no transactions: _begin does.
ENGINE_OPTIONS: dict[str, object] = {"isolation_level": "AUTOCOMMIT"}
# Execution options of a connection on which each statement commits by itself.
AUTOCOMMIT: dict[str, object] = {"sqlite_begin": None}
TRANSACTIONAL_DDL = True
# SQLite alters a table by copying it: https://alembic.sqlalchemy.org/en/latest/batch.html
RENDER_AS_BATCH = True
# The migration's transaction is its lock: see prepare_migration.
MIGRATION_LOCK: tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]] | None = None


# What the reader of an error can do, by the beginning of its name.
_ADVICE = {
    "SQLITE_BUSY": "look for a process, or a transaction of this task, that keeps the file locked",
    "SQLITE_CANTOPEN": "check that this user may write the file and its directory",
    "SQLITE_CORRUPT": "stop writing, keep a copy of the file, and restore a backup",
    "SQLITE_FULL": "free space on the disk of the file, then try again",
    "SQLITE_IOERR": "check the disk of the file, and the system's log",
    "SQLITE_NOTADB": "name another file in DATABASE_URL: this one is not a database",
    "SQLITE_READONLY": "let this user write the file and its directory; a reader cannot write",
}
ADVICE = {
    name: advice
    for name in dir(sqlite3)
    for beginning, advice in _ADVICE.items()
    if name.startswith(beginning)
}


def locate(url: sa.URL) -> str:
    """Return the path of the file that a URL names.

    Raises:
        ValueError: The URL names no file.
    """
    name = str(url.database or "").removeprefix("file:")
    if name in ("", ":memory:") or "mode=memory" in str(url):
        raise ValueError(
            "DATABASE_URL names no file, and in memory all sessions would share one transaction:"
            f" write {DRIVER}:///path/to/file.db, in a temporary directory for tests"
        )
    return str(Path(name).resolve())


def missing(url: sa.URL) -> str | None:
    """Return what has to be created before connecting, which would create an empty file."""
    if Path(locate(url)).exists():
        return None
    return "the file does not exist yet: `alembic upgrade head` creates it"


def session_settings(settings: DatabaseSettings) -> dict[str, str]:
    """Return the server settings of each connection: there is no server."""
    return {}


def attach(engine: AsyncEngine, settings: DatabaseSettings) -> None:
    """Create the directory of the file, and add the listeners for connections and transactions.

    Raises:
        ValueError: The directory cannot be created.
    """
    path = Path(locate(settings.url))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"DATABASE_URL names {path}, whose directory cannot be created: {error.strerror}"
        ) from error
    event.listen(engine.sync_engine, "connect", _connect)
    event.listen(engine.sync_engine, "begin", _begin)
    event.listen(engine.sync_engine, "handle_error", _check_transaction)
    event.listen(engine.sync_engine, "invalidate", _invalidate)


def reader_options(settings: DatabaseSettings) -> dict[str, object]:
    """Return the execution options of a reader: autocommit, and the database refuses writes."""
    return {**AUTOCOMMIT, "sqlite_query_only": True}


def transaction_options(isolation_level: str | None, read_only: bool) -> dict[str, object]:
    """Return the execution options of a transaction.

    Raises:
        ValueError: SQLite has no such isolation level.
    """
    if isolation_level not in (None, "SERIALIZABLE"):
        raise ValueError(f"SQLite's only isolation level is SERIALIZABLE, not {isolation_level}")
    return {"sqlite_begin": "BEGIN", "sqlite_query_only": True} if read_only else {}


def is_stale_statement(error: BaseException) -> bool:
    """Return False: SQLite itself prepares a statement again after a table was altered."""
    return False


def violation(
    error: BaseException, table: sa.Table[Any] | None
) -> tuple[str | None, tuple[str, ...]]:
    """Return the name of the violated constraint or its columns, if SQLite reports them."""
    _, _, subject = driver.diagnostics(error)["message"].partition(" constraint failed: ")
    if index := re.fullmatch(r"index '(.+)'", subject):
        return index[1], ()
    if driver.error_code(error) in CHECK_VIOLATION:
        return subject, ()
    return None, tuple(name.rpartition(".")[2] for name in subject.split(", ") if name)


def partial_index(*columns: str, where: str, unique: bool = False) -> sa.Index:
    """Return an index of only those rows for which `where`, a condition in SQL, holds."""
    return sa.Index(None, *columns, unique=unique, sqlite_where=sa.text(where))


def order_by(
    column: sa.SQLColumnExpression[object],
    *,
    descending: bool,
    nullable: bool,
) -> Sequence[sa.ColumnElement[object]]:
    """Return the clauses that sort by a column, with NULL greater than any value."""
    if not nullable:
        return [column.desc() if descending else column.asc()]
    return [column.desc().nulls_first() if descending else column.asc().nulls_last()]


def is_one_of(
    column: sa.SQLColumnExpression[object], values: Sequence[object]
) -> sa.ColumnElement[bool]:
    """Return the condition that a column has one of these values."""
    return column.in_(values)


async def upsert_rows(
    connection: AsyncConnection,
    table: sa.Table[Any],
    runs: AsyncIterable[tuple[Run, Sequence[str]]],
    *,
    on: Sequence[str],
    always: Mapping[str, object],
    only: Sequence[sa.ColumnElement[bool]],
) -> None:
    """Insert runs of rows, or give these columns to the rows that are the same `on` these others.

    `always` are values that any row gets that is there, but for those that it is given, if it meets
    `only`: others are left alone.
    """
    same, where = [table.c[name] for name in on], _condition(table, on)
    async for run, columns in runs:
        insert = sqlite.insert(table)
        changes: dict[str, object] = {**always, **{name: insert.excluded[name] for name in columns}}
        if columns:
            statement = insert.on_conflict_do_update(
                index_elements=same,
                index_where=where,
                set_=changes,
                where=sa.and_(*map(_spelled_out, only)) if only else None,
            )
        else:
            statement = insert.on_conflict_do_nothing(index_elements=same, index_where=where)
        for batch in run.batches:
            await connection.execute(statement, batch.mappings())


async def update_rows(
    connection: AsyncConnection,
    table: sa.Table[Any],
    runs: AsyncIterable[tuple[Run, Sequence[str]]],
    *,
    always: Mapping[str, object],
    only: Sequence[sa.ColumnElement[bool]],
) -> int:
    """Give these columns of runs to the rows that are the same in the others; how many were.

    `always` are values that each of them gets, but for those that it is given; those that do not
    meet `only` are left alone.
    """
    count = 0
    async for run, columns in runs:
        same = [column.key for column in run.columns if column.key not in columns]
        # Under its own name a column is given its value: the key is looked for under no column's.
        at = {name: f"{max(table.c.keys(), key=len)}_{name}" for name in same}
        changes: dict[str, object] = {
            **always,
            **{name: sa.bindparam(name, type_=table.c[name].type) for name in columns},
        }
        where = [table.c[name] == sa.bindparam(at[name]) for name in same]
        statement = sa.update(table).where(*where, *map(_spelled_out, only)).values(changes)
        for batch in run.batches:
            rows = [{at.get(name, name): x for name, x in row.items()} for row in batch.mappings()]
            count += (await connection.execute(statement, rows)).rowcount
    return count


def _spelled_out(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """The same, with a parameter for each value of an IN: many rows at once take no list."""

    def replace(element: object, **_: object) -> sa.Tuple | None:
        if not (_is_parameter(element) and element.expanding):
            return None
        return sa.tuple_(*(sa.literal(x, element.type) for x in element.effective_value or ()))

    return replacement_traverse(condition, {}, replace)


def _is_parameter(element: object) -> TypeGuard[sa.BindParameter[Any]]:
    return isinstance(element, sa.BindParameter)


async def prepare_migration(connection: AsyncConnection, timeout: float) -> None:
    """Prepare a connection for a migration, before it begins. `timeout` is in seconds.

    BEGIN IMMEDIATE is the lock: a second process waits for it. Foreign keys are off, because
    rebuilding a table drops the old table, and would delete the rows that refer to it. They are
    checked before the commit. https://www.sqlite.org/lang_altertable.html#otheralter
    """
    await connection.execution_options(sqlite_begin=None)
    await connection.exec_driver_sql(f"PRAGMA busy_timeout = {timeout * 1000:.0f}")
    await connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    await connection.rollback()
    await connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
    event.listen(connection.sync_connection, "commit", _check_foreign_keys)


async def connection_limit(connection: AsyncConnection) -> int | None:
    """Return the server's limit of connections: there is no server, and no limit."""
    return None


def _connect(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    # SQLite checks foreign keys only if each connection turns this on.
    cursor.execute("PRAGMA foreign_keys = ON")
    # Readers continue while another connection writes: https://www.sqlite.org/wal.html
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    options, info = connection.get_execution_options(), connection.info
    # It is sent only when it changes: a round trip to the connection's thread takes as long as a
    # short query.
    query_only = bool(options.get("sqlite_query_only"))
    if query_only != info.get("query_only", False):
        connection.exec_driver_sql(f"PRAGMA query_only = {query_only:d}")
        info["query_only"] = query_only
    # BEGIN IMMEDIATE takes the lock at once. A deferred BEGIN that writes later fails with
    # "database is locked", with any timeout. https://www.sqlite.org/lang_transaction.html
    if begin := options.get("sqlite_begin", "BEGIN IMMEDIATE"):
        connection.exec_driver_sql(begin)


def _check_transaction(context: ExceptionContext) -> None:
    # Some errors, for example of the disk, roll back the whole transaction. Each later statement
    # would then commit by itself, so drop the connection.
    # https://www.sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction
    connection = context.connection
    if not (connection and context.execution_context and connection.in_transaction()):
        return
    begin = connection.get_execution_options().get("sqlite_begin", "BEGIN IMMEDIATE")
    if begin and not connection.invalidated:
        raw: driver.RawConnection | None = connection.connection.driver_connection
        if raw and not raw.in_transaction:
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False


def _invalidate(
    connection: DBAPIConnection, record: ConnectionPoolEntry, error: BaseException | None
) -> None:
    raw: driver.RawConnection | None = connection.driver_connection
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return  # The garbage collector calls this, and nothing waits for the connection any more.
    if raw:
        # A close() that is cancelled stops the connection's thread, and a second close() would wait
        # for that thread for ever.
        # PRIVATE: aiosqlite Connection.stop: close() calls it, and a second call must do nothing
        raw.stop = cache(raw.stop)
        # An open cursor keeps the locks of a closed connection until the traceback that refers to
        # the cursor is freed. This rollback is queued before the close.
        rollback = loop.create_task(raw.rollback())
        # The event loop keeps only weak references to tasks. The record keeps this one alive.
        record.info["abandoning"] = loop.create_task(_abandon(raw, rollback))


async def _abandon(connection: driver.RawConnection, rollback: asyncio.Task[None]) -> None:
    # A cancelled statement continues in the connection's thread, so interrupt it. An idle
    # connection has rolled back within this time. An interrupt would then hit the rollback.
    if not (await asyncio.wait([rollback], timeout=0.05))[0]:
        with suppress(ValueError):
            await connection.interrupt()
    # The rollback fails if the connection is already closed.
    await asyncio.gather(rollback, return_exceptions=True)


def _check_foreign_keys(connection: sa.Connection) -> None:
    row = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if row:
        raise ValueError(f"after the migration {row[0]} refers to missing rows of {row[2]}")


def _condition(table: sa.Table[Any], on: Sequence[str]) -> sa.TextClause | None:
    """The condition of a partial index on these columns, which ON CONFLICT has to repeat."""
    indexes = [x for x in table.indexes if x.unique and set(x.columns.keys()) == set(on)]
    return indexes[0].dialect_options["sqlite"]["where"] if indexes else None
