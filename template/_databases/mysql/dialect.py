"""The differences of MySQL and MariaDB: types, error codes, transactions, locks."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql import visitors
from sqlalchemy.util import await_

from .. import errors
from ..settings import DatabaseSettings
from . import driver

TIMESTAMP = DATETIME(fsp=6)
# It returns UTC in any time zone of the session.
NOW = sa.text("(utc_timestamp(6))")
JSON = sa.JSON()
NATIVE_DECIMAL = True
DECIMAL_DIGITS = 65
BIGINT_KEY = sa.BigInteger()
# How the database counts such a key: by itself.
IDENTITY: tuple[sa.Identity, ...] = ()

# https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
# https://mariadb.com/docs/server/reference/error-codes
UNIQUE_VIOLATION = frozenset({"1062", "1586"})
FOREIGN_KEY_VIOLATION = frozenset({"1216", "1452"})
STILL_REFERENCED = frozenset({"1217", "1451"})
NOT_NULL_VIOLATION = frozenset({"1048", "1364"})
CHECK_VIOLATION = frozenset({"3819", "4025"})
# Too large, too long, truncated, wrong type.
INVALID_VALUE = frozenset({"1264", "1265", "1292", "1366", "1406", "1411", "1690"})
SERIALIZATION_FAILURE = frozenset({"1020"})
DEADLOCK = frozenset({"1213"})
LOCK_TIMEOUT = frozenset({"1205", "3572"})
QUERY_TIMEOUT = frozenset({"1317", "1969", "3024"})
READ_ONLY = frozenset({"1290", "1792", "1836"})
# Too many connections, wrong database or password, no server, a node outside of its cluster.
UNAVAILABLE = frozenset({"1040", "1044", "1045", "1047", "1049", "1203", "2003"})
# The server shut down, left its cluster, or closed the connection: killed, lost, or idle too long.
DISCONNECTED = frozenset({"1047", "1053", "1927", "2006", "2013", "2014", "2055", "4031"})
# The seconds that the answer to COMMIT may take. In a Galera cluster it waits for 5 s or more until
# the others agree that a node is dead.
_COMMIT_TIMEOUT = 20
# After an error the transaction continues without that statement.
ERROR_ABORTS = False
# Codes of errors that roll back the whole transaction, even inside a savepoint.
ENDS_TRANSACTION = SERIALIZATION_FAILURE | DEADLOCK

KEYS_PER_STATEMENT = 30_000

ENGINE_OPTIONS: dict[str, object] = {}
# Execution options of a connection on which each statement commits by itself.
AUTOCOMMIT: dict[str, object] = {"mysql_autocommit": True}
# Each DDL statement commits, so a migration that fails half-way stays half done.
TRANSACTIONAL_DDL = False
RENDER_AS_BATCH = False

# Advice for the reader of an error, by its code.
ADVICE = {
    "1045": "correct the user or the password in DATABASE_URL or DATABASE_PASSWORD",
    "1044": "grant the user the rights to this database",
    "1047": "this node of the cluster is not ready: use another one, or wait until it has joined",
    "1049": "create the database, or correct its name in DATABASE_URL",
    "1040": "run `doctor`: the processes need more connections than the server allows",
    "2003": "start the server, or correct the host and port in DATABASE_URL",
}

# A lock's name has at most 64 characters. SHA2, because MySQL 9.6 removed MD5.
_LOCK = sa.func.concat("migrate ", sa.func.sha2(sa.func.database(), 224))
# The calls that take and release the lock of this database's migrations.
MIGRATION_LOCK: tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]] | None = (
    sa.func.get_lock(_LOCK, 0),
    sa.func.release_lock(_LOCK),
)
# In the `info` of a migration's connection: a part of the revision is committed.
COMMITTED = "committed"
# The oldest transactions, in words.
LOCK_HOLDERS = """
    SELECT concat('connection ', id, ' (', command, ', in a transaction since ', trx_started, ')')
    FROM information_schema.innodb_trx
    JOIN information_schema.processlist ON id = trx_mysql_thread_id
    WHERE db = database() AND id <> connection_id() ORDER BY trx_started LIMIT 3
"""
# PostgreSQL alone has statistics that `analyze` reads.
ANALYSES: dict[str, str] = {}


def locate(url: sa.URL) -> str:
    """Return the URL without its password.

    Raises:
        ValueError: The URL names no database.
    """
    if not url.database:
        example = url.set(database="the_database")
        raise ValueError(f"DATABASE_URL names no database: write {example}")
    return str(url)


def missing(url: sa.URL) -> str | None:
    """Return what has to be created before connecting: for a server always None."""
    return None


def session_settings(settings: DatabaseSettings) -> dict[str, str]:
    """Return the server settings of each connection."""
    # The server accepts whole seconds, at least one.
    lock = math.ceil(settings.lock_timeout)
    statement, idle = settings.statement_timeout, math.ceil(settings.idle_in_transaction_timeout)
    # MariaDB limits any statement and an idle transaction, MySQL only a SELECT. Each server reads
    # the other's settings as a comment.
    mariadb = f"/*M!, max_statement_time = {statement}, idle_transaction_timeout = {idle} */"
    mysql = f"/*!80000, max_execution_time = {statement * 1000:.0f} */"
    return {
        # The server's clock and dates are then UTC.
        "time_zone": "'+00:00'",
        # A value that does not fit is refused, not changed.
        "sql_mode": "CONCAT(@@sql_mode, ',TRADITIONAL')",
        "innodb_lock_wait_timeout": f"{lock}",
        # The wait for a table that another session alters.
        "lock_wait_timeout": f"{lock} {mariadb} {mysql}",
    }


def attach(engine: AsyncEngine, settings: DatabaseSettings) -> None:
    """Add the listeners that set autocommit, begin each transaction, and guard open streams."""
    event.listen(engine.sync_engine, "engine_connect", _set_autocommit)
    event.listen(engine.sync_engine, "begin", _begin)
    event.listen(engine.sync_engine, "before_cursor_execute", _refuse_during_a_stream)
    if 0 < settings.command_timeout < _COMMIT_TIMEOUT:
        limits = (("begin", settings.command_timeout), ("commit", _COMMIT_TIMEOUT))
        for name, seconds in limits:
            event.listen(engine.sync_engine, name, partial(_limit, seconds))


def reader_options(settings: DatabaseSettings) -> dict[str, object]:
    """Return the execution options of a reader: autocommit, and the database refuses writes."""
    return {**AUTOCOMMIT, "mysql_read_only_default": True}


def transaction_options(isolation_level: str | None, read_only: bool) -> dict[str, object]:
    """Return the execution options of a transaction.

    Raises:
        ValueError: MySQL has no such isolation level.
    """
    levels = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
    if isolation_level not in (None, *levels):
        raise ValueError(f"the isolation levels are {', '.join(levels)}: not {isolation_level}")
    # All reads see one snapshot, at any default level of the server.
    level = isolation_level or ("REPEATABLE READ" if read_only else None)
    modes = [f"ISOLATION LEVEL {level}"] * bool(level) + ["READ ONLY"] * read_only
    return {"mysql_transaction": ", ".join(modes)} if modes else {}


def only_reads(url: sa.URL) -> sa.ColumnElement[bool]:
    """Return the expression for "the server refuses writes"."""
    # MariaDB 12 has names for the values of the first.
    return sa.literal_column(
        "CONCAT(@@global.read_only) NOT IN ('0', 'OFF') OR @@global.innodb_read_only", sa.Boolean()
    )


def is_read_only(connection: sa.Connection) -> bool:
    """Return whether the transaction was begun for reading only."""
    return str(connection.get_execution_options().get("mysql_transaction")).endswith("READ ONLY")


def is_demoted(connection: sa.Connection, error: BaseException) -> bool:
    """Return whether a write failed because the server itself only reads, as a replica does.

    A unit that asked for reading is refused by any server.
    """
    if driver.error_code(error) not in ("1290", "1836"):
        return False
    if connection.info.get("read_only_default") or is_read_only(connection):
        return False
    # 1290 names the option of the server that forbids the statement; there are others.
    message = driver.diagnostics(error)["message"]
    return driver.error_code(error) == "1836" or "read-only" in message


def is_stale_statement(error: BaseException) -> bool:
    """Return whether a table was altered after the snapshot: the next try takes a new one."""
    return driver.error_code(error) == "1412"


def violation(
    error: BaseException, table: sa.Table[Any] | None
) -> tuple[str | None, tuple[str, ...]]:
    """Return the name of the violated constraint and its columns, if the server reports them."""
    message = driver.diagnostics(error)["message"]
    code = driver.error_code(error) or ""
    if code in FOREIGN_KEY_VIOLATION | STILL_REFERENCED:
        key = re.search(r"CONSTRAINT `([^`]+)` FOREIGN KEY \(([^)]+)\)", message)
        return (key[1], tuple(re.findall(r"`([^`]+)`", key[2]))) if key else (None, ())
    if code in UNIQUE_VIOLATION:
        # The value comes first, and may contain quotes. MySQL writes table.key, MariaDB only key.
        key = re.search(r"'(?:[^'.]+\.)?([^'.]+)'$", message)
        if key and key[1] == "PRIMARY" and table is not None:
            # MySQL ignores the name that was given to a primary key.
            primary_key = table.primary_key.name
            return str(primary_key) if primary_key else None, ()
        return key and key[1], ()
    name = re.search(r"['`]([^'`]+)['`]", message)
    if code in NOT_NULL_VIOLATION:
        return None, (name[1],) if name else ()
    return name and name[1], ()


def partial_index(*columns: str, where: str, unique: bool = False) -> sa.Index:
    """Return an index of only those rows for which `where`, a condition in SQL, holds.

    MySQL has no partial indexes. If the index is not unique, it covers all rows. If it is unique,
    it covers a generated column, `<last column>_or_null`, which is NULL where the condition does
    not hold: NULLs are never equal.
    https://dev.mysql.com/doc/refman/8.4/en/create-table-secondary-indexes.html
    """
    if not unique:
        return sa.Index(None, *columns)
    *others, last = columns
    generated = f"{last}_or_null"
    index = sa.Index(None, *others, generated, unique=True, info={"columns": columns})

    def add_column(index: sa.Index, table: sa.Table) -> None:
        value = sa.Computed(f"CASE WHEN {where} THEN {last} END", persisted=False)
        table.append_column(sa.Column(generated, table.c[last].type, value))
        # The same name as on the other databases.
        index.name = sa.quoted_name(f"ix_{table.name}_{'_'.join(columns)}", None)

    event.listen(index, "before_parent_attach", add_column)
    return index


def order_by(
    column: sa.SQLColumnExpression[object],
    *,
    descending: bool,
    nullable: bool,
) -> Sequence[sa.ColumnElement[object]]:
    """Return the clauses that sort by a column, with NULL greater than any value."""
    clause = column.desc() if descending else column.asc()
    # MySQL itself sorts NULL below any value.
    null = sa.func.isnull(column)
    return [null.desc() if descending else null.asc(), clause] if nullable else [clause]


def add_moments(expression: sa.BinaryExpression[Any]) -> sa.ColumnElement[Any]:
    """Return the sum or difference of datetimes and intervals, to the microsecond.

    SQLAlchemy stores an interval as the datetime that is as far from 1970.
    """
    unit, start = sa.text("MICROSECOND"), sa.text("CAST('1970-01-01' AS DATETIME(6))")
    moments = (expression.left, expression.right)
    spans = [sa.func.timestampdiff(unit, start, x, type_=sa.BigInteger()) for x in moments]
    return sa.func.timestampadd(unit, expression.operator(*spans), start, type_=expression.type)


def calculate(operation: object, expression: Any, scale: int | None) -> Any:
    """Return a calculation with decimals as it is."""
    return expression


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
    """Return an INSERT that changes a row with the same values in any unique columns.

    A row that meets the criteria takes the `given` columns of the new one, and what is `renewed`.
    """
    insert, met = mysql.insert(table), sa.and_(sa.true(), *criteria)
    # Without a change the row is left as it is.
    values: dict[str, Any] = {name: table.c[name] for name in on}
    if given:
        values = {name: insert.inserted[name] for name in given} | dict(renewed)
    if criteria:
        values = {name: sa.case((met, x), else_=table.c[name]) for name, x in values.items()}
    # MySQL sets columns in turn: those of the criteria come last, to be compared unchanged.
    asked = {x.key for x in visitors.iterate(met) if isinstance(x, sa.Column)}
    return insert.on_duplicate_key_update(sorted(values.items(), key=lambda x: x[0] in asked))


def takes_many(statement: sa.Insert) -> bool:
    """Return whether a statement takes many rows at once.

    The drivers send what follows VALUES as it is: without parameters, each % doubled.
    """
    dialect = mysql.dialect(paramstyle="format")
    text = str(statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True}))
    return "%" not in text.partition(" ON DUPLICATE KEY UPDATE ")[2]


async def lock_problem(connection: AsyncConnection, settings: DatabaseSettings) -> str | None:
    """Return why MIGRATION_LOCK would not keep other processes from migrating, or None."""
    assert MIGRATION_LOCK
    try:
        # The connection is closed next, which releases the lock.
        await connection.scalar(sa.select(MIGRATION_LOCK[0]))
    except DBAPIError as error:
        if error.orig is None or driver.error_code(error.orig) != "1235":
            raise
        return (
            "the server refuses GET_LOCK (1235), the lock of a migration: write the migration by"
            " `alembic upgrade head --sql`, and execute that once"
        )
    variable = (await connection.execute(sa.text("SHOW VARIABLES LIKE 'wsrep_on'"))).first()
    if settings.migration_url or not variable or variable[1] != "ON":
        return None
    return (
        "DATABASE_MIGRATION_URL is missing: the lock of a migration holds in one node of a Galera"
        " cluster, so name one node there, the same for all processes"
    )


async def prepare_migration(connection: AsyncConnection, settings: DatabaseSettings) -> None:
    """Prepare a connection for a migration, before it begins: note what is committed.

    Each statement that is not a read commits by itself.
    """

    def note(sync: sa.Connection, cursor: object, statement: str, *_: object) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "SHOW", "DESCRIBE")):
            sync.info[COMMITTED] = True
        # SQLAlchemy turns this on to inspect a table, and leaves it on: errors are not translated.
        sync.execution_options(skip_user_error_events=False)

    event.listen(connection.sync_connection, "after_cursor_execute", note)


def guard_migration(connection: sa.Connection) -> None:
    """Guard a migration on a connection of the program: nothing is needed."""


def invalid_indexes(connection: sa.Connection) -> str:
    """Return a sentence about the indexes that an interrupted build left: here it leaves none."""
    return ""


async def connection_limit(connection: AsyncConnection) -> int | None:
    """Return the server's limit of connections; it keeps one more for an administrator."""
    return int((await connection.execute(sa.text("SELECT @@max_connections"))).scalar_one())


def _set_autocommit(connection: sa.Connection) -> None:
    # SQLAlchemy's isolation level AUTOCOMMIT takes four round trips. If the connection is lost in
    # one of them, the pool does not get it back, and the error is not translated.
    options, info = connection.get_execution_options(), connection.info
    raw: driver.RawConnection | None = connection.connection.driver_connection
    if raw is None or "isolation_level" in options:
        return
    current = bool(raw.get_autocommit())
    default = info.setdefault("autocommit", current)
    autocommit = bool(options.get("mysql_autocommit", default))
    if autocommit != current:
        try:
            await_(raw.autocommit(autocommit))
        except BaseException as error:
            connection.invalidate(error)
            if isinstance(error, Exception):
                raise errors.Unavailable("the connection to the database was lost") from error
            raise


def _limit(seconds: float, connection: sa.Connection) -> None:
    driver.limit(connection.connection.driver_connection, seconds)


def _begin(connection: sa.Connection) -> None:
    options, info = connection.get_execution_options(), connection.info
    read_only = bool(options.get("mysql_read_only_default"))
    # It is sent only when it changes, because it costs a round trip.
    if read_only != info.get("read_only_default", False):
        mode = "READ ONLY" if read_only else "READ WRITE"
        connection.exec_driver_sql(f"SET SESSION TRANSACTION {mode}")
        info["read_only_default"] = read_only
    # It holds for the next transaction only, so nothing has to be reset.
    if modes := options.get("mysql_transaction"):
        connection.exec_driver_sql(f"SET TRANSACTION {modes}")


def _refuse_during_a_stream(connection: sa.Connection, *execution: object) -> None:
    # A connection sends one result at a time. For a second statement the driver discards the rest
    # of an open stream, and only warns.
    if driver.is_streaming(connection.connection.driver_connection):
        raise InvalidRequestError(
            "a stream is open on this connection, and MySQL sends one result at a time: leave the"
            " stream first, read in batches(), or use another session"
        )
