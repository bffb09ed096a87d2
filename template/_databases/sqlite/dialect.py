"""The differences of SQLite: types, error codes, and how a transaction begins."""

import asyncio
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql import operators, visitors

from ..settings import DRIVER, DatabaseSettings
from . import driver

# SQLite stores text. Six digits of a second sort like those that Python writes.
TIMESTAMP = sa.DateTime()
NOW = sa.text("(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')")
JSON = sa.JSON()
# SQLite stores floats, which ExactDecimal rounds. They hold 15 digits.
NATIVE_DECIMAL = False
DECIMAL_DIGITS = 15
# Only a column declared INTEGER counts up by itself. It holds 64 bits.
BIGINT_KEY = sa.Integer()
# How the database counts such a key: by itself.
IDENTITY: tuple[sa.Identity, ...] = ()

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

# The seconds from the start of the year 1 to 1970.
_YEAR_1 = 62_135_596_800

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
# In the `info` of a migration's connection: a part of the revision is committed.
COMMITTED = "committed"
# SQLite does not tell who holds a lock.
LOCK_HOLDERS = "SELECT 'another process'"
# Other tables with a foreign key to a table: also the copy that a batch makes of it.
_REFERRING = """
    SELECT 1 FROM sqlite_master, pragma_foreign_key_list(sqlite_master.name) AS key
    WHERE key."table" = ? COLLATE NOCASE AND sqlite_master.name <> ? COLLATE NOCASE
"""


# Advice for the reader of an error, by the beginning of its name.
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
# PostgreSQL alone has statistics that `analyze` reads.
ANALYSES: dict[str, str] = {}


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
    event.listen(engine.sync_engine, "connect", _connect, insert=True)  # before SQLAlchemy's own
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


def only_reads(url: sa.URL) -> sa.ColumnElement[bool]:
    """Return false: there is no server that could refuse writes."""
    return sa.false()


def is_read_only(connection: sa.Connection) -> bool:
    """Return whether the transaction was begun for reading only."""
    return bool(connection.get_execution_options().get("sqlite_query_only"))


def is_demoted(connection: sa.Connection, error: BaseException) -> bool:
    """Return False: there is no server."""
    return False


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


def add_moments(expression: sa.BinaryExpression[Any]) -> sa.ColumnElement[Any]:
    """Return the sum or difference of datetimes and intervals, to the microsecond.

    SQLite has text for a datetime. SQLAlchemy stores an interval as the datetime that is as far
    from 1970.
    """

    def microseconds(moment: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
        seconds = sa.cast(sa.func.strftime("%s", sa.func.substr(moment, 1, 19)), sa.Integer)
        return seconds * 1_000_000 + sa.cast(sa.func.substr(moment, 21, 6), sa.Integer)

    total = expression.operator(microseconds(expression.left), microseconds(expression.right))
    # From the year 1, since a remainder of a negative number is negative.
    total = total + _YEAR_1 * 1_000_000
    text = sa.func.strftime("%Y-%m-%d %H:%M:%S", total // 1_000_000 - _YEAR_1, "unixepoch")
    fraction = sa.func.printf(".%06d", total % 1_000_000)
    return text.op("||", return_type=expression.type)(fraction)


def calculate(operation: object, expression: Any, scale: int | None) -> Any:
    """Return a calculation with decimals as exact as floats allow.

    `scale` is the number of digits after the point, None if it is not known.
    """
    kind = expression.type
    if operation is operators.truediv:
        # SQLite stores 5.00 as an integer, and 5 / 2 is 2.
        dividend = sa.literal_column("1.0").op("*")(expression.left)
        return dividend.op("/", return_type=kind)(expression.right)
    if operation is operators.mod:
        # The operator % takes only integers.
        unit: sa.ColumnElement[float] = sa.literal_column(f"1e{scale or 6}")
        operands = (expression.left, expression.right)
        units = [sa.cast(sa.func.round(x.op("*")(unit)), sa.Integer) for x in operands]
        return units[0].op("%")(units[1]).op("/", return_type=kind)(unit)
    return expression if scale is None else sa.func.round(expression, scale, type_=kind)


def is_one_of(
    column: sa.SQLColumnExpression[object], values: Sequence[object]
) -> sa.ColumnElement[bool]:
    """Return the condition that a column has one of these values."""
    return column.in_(values)


def upsert(
    table: sa.Table[Any],
    on: Sequence[str],
    given: Sequence[str],
    renewed: Mapping[str, object],
    criteria: Sequence[sa.ColumnElement[bool]],
) -> sa.Insert:
    """Return an INSERT that changes a row with the same values `on` these columns.

    A row that meets the criteria takes the `given` columns of the new one, and what is `renewed`.
    """
    insert, indexes = sqlite.insert(table), (x for x in table.indexes if x.unique)
    same = next((x for x in indexes if {*x.columns.keys()} == {*on}), None)
    target: Any = {
        "index_elements": [table.c[name] for name in on],
        # ON CONFLICT has to repeat the condition of a partial index.
        "index_where": None if same is None else same.dialect_options["sqlite"]["where"],
    }
    if not given:
        return insert.on_conflict_do_nothing(**target)
    values = {name: insert.excluded[name] for name in given} | dict(renewed)
    where = sa.and_(*criteria) if criteria else None
    return insert.on_conflict_do_update(**target, set_=values, where=where)


def takes_many(statement: sa.Insert) -> bool:
    """Return whether a statement takes many rows at once: not with an IN, which has a list."""
    parts = visitors.iterate(statement)
    return not any(isinstance(part, sa.BindParameter) and part.expanding for part in parts)


async def lock_problem(connection: AsyncConnection, settings: DatabaseSettings) -> str | None:
    """Return None: there is no such lock."""


async def prepare_migration(connection: AsyncConnection, settings: DatabaseSettings) -> None:
    """Prepare a connection for a migration, before it begins.

    BEGIN IMMEDIATE is the lock: a second process waits for it. Foreign keys are off, because
    rebuilding a table drops the old table, and would delete the rows that refer to it. They are
    checked before the commit. https://www.sqlite.org/lang_altertable.html#otheralter
    """
    await connection.execution_options(sqlite_begin=None)
    timeout = settings.migration_timeout * 1000
    await connection.exec_driver_sql(f"PRAGMA busy_timeout = {timeout:.0f}")
    await connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    await connection.rollback()
    await connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
    event.listen(connection.sync_connection, "commit", _check_foreign_keys)


def guard_migration(connection: sa.Connection) -> None:
    """Guard a migration on a connection of the program: no row that refers to a table may go."""
    event.listen(connection, "before_cursor_execute", _refuse_drop)


def invalid_indexes(connection: sa.Connection) -> str:
    """Return a sentence about the indexes that an interrupted build left: here it leaves none."""
    return ""


async def connection_limit(connection: AsyncConnection) -> int | None:
    """Return the server's limit of connections: there is no server, and no limit."""
    return None


def _connect(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    raw: driver.RawConnection = connection.driver_connection
    # A cancelled close() ends the connection's thread. A second close() would wait for it for ever.
    # PRIVATE: aiosqlite Connection.stop: close() calls it, and a second call must do nothing
    raw.stop = cache(raw.stop)
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
        # An open cursor keeps the locks of a closed connection until the traceback that refers to
        # the cursor is freed. This rollback is queued before the close.
        rollback = loop.create_task(raw.rollback())
        # The event loop keeps only weak references to tasks. The record keeps this one alive.
        record.info["abandoning"] = loop.create_task(_abandon(raw, rollback))


async def _abandon(connection: driver.RawConnection, rollback: asyncio.Task[None]) -> None:
    # A cancelled statement continues in the connection's thread, so interrupt it. An idle
    # connection has rolled back within this time. An interrupt would then hit the rollback.
    if not (await asyncio.wait([rollback], timeout=0.05))[0]:
        with suppress(sqlite3.ProgrammingError, ValueError):  # It has been closed.
            await connection.interrupt()
    # The rollback fails if the connection is already closed.
    await asyncio.gather(rollback, return_exceptions=True)


def _refuse_drop(connection: sa.Connection, cursor: object, statement: str, *_: object) -> None:
    drop = re.match(r"\s*DROP TABLE (?:IF EXISTS )?(.+)", statement, re.IGNORECASE)
    # Inside a transaction the pragma could not be changed.
    if drop and connection.exec_driver_sql("PRAGMA foreign_keys").scalar():
        table = drop[1].rpartition(".")[2].strip('" ;')
        if connection.exec_driver_sql(_REFERRING, (table, table)).first():
            raise ValueError(
                f"dropping {table} would delete the rows that refer to it, because foreign keys are"
                " on: migrate with `await migrate.upgrade(...)`, or hand in a connection on which"
                " PRAGMA foreign_keys = OFF was executed before its transaction began"
            )


def _check_foreign_keys(connection: sa.Connection) -> None:
    row = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if row:
        raise ValueError(f"after the migration {row[0]} refers to missing rows of {row[2]}")
