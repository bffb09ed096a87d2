"""The differences of PostgreSQL: types, error codes, transactions, locks."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql import visitors

from ..settings import DatabaseSettings
from ..tls import mode_of, parse_mode
from . import driver

TIMESTAMP = sa.DateTime(timezone=True)
NOW = sa.func.now()
JSON = JSONB()
NATIVE_DECIMAL = True
DECIMAL_DIGITS = 1000
BIGINT_KEY = sa.BigInteger()
# How the database counts such a key.
IDENTITY: tuple[sa.Identity, ...] = (sa.Identity(),)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
UNIQUE_VIOLATION = frozenset({"23505", "23P01"})
FOREIGN_KEY_VIOLATION = frozenset({"23503"})
# Only for ON DELETE RESTRICT. Otherwise both directions have the code 23503.
STILL_REFERENCED = frozenset({"23001"})
NOT_NULL_VIOLATION = frozenset({"23502"})
CHECK_VIOLATION = frozenset({"23514"})
# Too long, too large, wrong type, wrong encoding. 22000 is asyncpg's, for what it cannot convert.
INVALID_VALUE = frozenset(
    {"22000", "22001", "22003", "22007", "22008", "22018", "22021", "22026", "2200H"}
    | {"22P02", "22P03", "22P05", "22023", "22030", "22032"}
)
SERIALIZATION_FAILURE = frozenset({"40001"})
DEADLOCK = frozenset({"40P01"})
LOCK_TIMEOUT = frozenset({"55P03"})
QUERY_TIMEOUT = frozenset({"57014"})
READ_ONLY = frozenset({"25006"})
# Starting or stopping, too many connections, wrong database or password.
UNAVAILABLE = frozenset({"57P03", "53300", "3D000", "28000", "28P01", "08001", "08004"})
# The server closed a connection that was in use, or was idle in a transaction for too long. After
# the last two codes nobody knows whether a COMMIT took effect.
DISCONNECTED = frozenset(
    {"57P01", "57P02", "57P04", "57P05", "25P03", "08000", "08003", "08006", "08007", "40003"}
)
# After an error the server answers COMMIT with a rollback, and without an error.
ERROR_ABORTS = True
# Codes of errors that roll back the whole transaction, even inside a savepoint: none.
ENDS_TRANSACTION = frozenset[str]()

# An array is one parameter, so only memory sets this limit.
KEYS_PER_STATEMENT = 30_000

ENGINE_OPTIONS: dict[str, object] = {}
# Execution options of a connection on which each statement commits by itself.
AUTOCOMMIT: dict[str, object] = {"isolation_level": "AUTOCOMMIT"}
TRANSACTIONAL_DDL = True
RENDER_AS_BATCH = False

# Advice for the reader of an error, by its code.
ADVICE = {
    "28P01": "correct the user or the password in DATABASE_URL or DATABASE_PASSWORD",
    "28000": "allow the user in the server's pg_hba.conf, or set DATABASE_TLS=require",
    "3D000": "create the database, or correct its name in DATABASE_URL",
    "53300": "run `doctor`: the processes need more connections than the server allows",
    "57P03": "wait: the server is starting up or shutting down",
}

# The calls that take and release the lock of migrations. The number is arbitrary.
MIGRATION_LOCK: tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]] | None = (
    sa.func.pg_try_advisory_lock(7_203_114_902),
    sa.func.pg_advisory_unlock(7_203_114_902),
)
# In the `info` of a migration's connection: a part of the revision is committed.
COMMITTED = "committed"
# The oldest transactions that have locked a table, in words.
LOCK_HOLDERS = """
    SELECT format('pid %s (%s since %s)', pid, state, xact_start) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid IN
        (SELECT pid FROM pg_locks WHERE granted AND relation >= 16384)
    ORDER BY xact_start LIMIT 3
"""
# A build that runs looks the same.
_INVALID_INDEXES = sa.text("""
    SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid
    AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index)
""")
# Causes of slow queries, by a name: statements for a message and an advice in each row.
ANALYSES = {
    "unused index": """
        SELECT format('%s of %s (%s) was never read', indexrelid::regclass, relid::regclass,
            pg_size_pretty(pg_relation_size(indexrelid))),
            'drop it in a migration, unless a replica or a rare report needs it'
        FROM pg_stat_user_indexes JOIN pg_index USING (indexrelid)
        WHERE idx_scan = 0 AND NOT indisunique AND pg_relation_size(indexrelid) > 100000
    """,
    "duplicate index": """
        SELECT format('%s of %s are alike', string_agg(indexrelid::regclass::text, ', '
            ORDER BY indexrelid), indrelid::regclass), 'drop all but one of them in a migration'
        FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE relnamespace <> 'pg_catalog'::regnamespace
        GROUP BY indrelid, indkey::text, indclass::text, indcollation::text, indoption::text,
            relam, coalesce(pg_get_expr(indexprs, indrelid), ''),
            coalesce(pg_get_expr(indpred, indrelid), '')
        HAVING count(*) > 1
    """,
    "table scan": """
        SELECT format('%s (%s rows) was read as a whole %s times, and by an index %s times',
            relid::regclass, n_live_tup, seq_scan, coalesce(idx_scan, 0)),
            'find the statement by EXPLAIN, and add an index of the columns in its WHERE'
        FROM pg_stat_user_tables
        WHERE n_live_tup > 10000 AND seq_scan > 100 AND seq_scan > coalesce(idx_scan, 0)
        ORDER BY seq_tup_read DESC LIMIT 5
    """,
    "slow statement": """
        SELECT format('%s s in all, %s calls: %s', round(total_exec_time / 1000), calls,
            left(regexp_replace(query, '\\s+', ' ', 'g'), 200)),
            'look at it by EXPLAIN (ANALYZE, BUFFERS), or call it less often'
        FROM pg_stat_statements JOIN pg_database ON pg_database.oid = dbid
        WHERE datname = current_database() ORDER BY total_exec_time DESC LIMIT 5
    """,
}


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
    """Return the server settings of each connection: none behind a pooler, which refuses them."""
    return _server_settings(settings) if settings.pooler == "none" else {}


def _check_environment(settings: DatabaseSettings) -> None:
    """Raise ValueError if a variable of libpq contradicts the settings."""
    url = settings.url
    if not url.host and url.query.keys().isdisjoint({"host", "hostaddr", "service"}):
        for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE"):
            if os.environ.get(name):
                raise ValueError(
                    f"DATABASE_URL names no host, and {name} names one: write the host into"
                    " DATABASE_URL, because it decides about TLS"
                )
    word = os.environ.get("PGSSLMODE")
    chosen = settings.tls or mode_of(url)
    if word and not chosen and parse_mode(word) not in (None, settings.tls_mode):
        raise ValueError(
            f"PGSSLMODE is {word}, and connections to this URL use {settings.tls_mode}: set"
            " DATABASE_TLS, which is read instead of PGSSLMODE"
        )


def attach(engine: AsyncEngine, settings: DatabaseSettings) -> None:
    """Add the listeners that begin each transaction of an engine.

    Raises:
        ValueError: A variable of libpq contradicts the settings.
    """
    _check_environment(settings)
    # Before SQLAlchemy's own listener, which asks for the version.
    event.listen(engine.sync_engine, "connect", _refuse_cockroachdb, insert=True)
    if settings.pooler == "none":
        event.listen(engine.sync_engine, "begin", _begin)
        return
    # Behind a pooler each transaction may have another server connection, so each sets the limits.
    values = _server_settings(settings).items()
    calls = (f"set_config('{name}', '{value}', true)" for name, value in values)
    statement = f"SELECT {', '.join(calls)}, current_setting('transaction_read_only')"

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            *_, read_only = connection.exec_driver_sql(statement).one()
            connection.info["only_reads"] = read_only == "on"


def _refuse_cockroachdb(connection: AdaptedConnection, record: object) -> None:
    raw: Any = connection.driver_connection
    if driver.reported(raw, "crdb_version"):
        driver.hang_up(raw)
        raise ValueError(
            "the server is CockroachDB, which is not supported: its dialect for SQLAlchemy requires"
            " SQLAlchemy below 2.1"
        )


def _server_settings(settings: DatabaseSettings) -> dict[str, str]:
    limits = {
        "lock_timeout": settings.lock_timeout,
        "statement_timeout": settings.statement_timeout,
        "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout,
    }
    milliseconds = {name: f"{seconds * 1000:.0f}" for name, seconds in limits.items()}
    # In a time zone with summer time a day may have 23 hours: Python's timedelta(days=1) has 24.
    return {**milliseconds, "timezone": "UTC"}


def reader_options(settings: DatabaseSettings) -> dict[str, object]:
    """Return the execution options of a reader: autocommit, and the database refuses writes."""
    # Behind a pooler the time limits hold only inside a transaction.
    if settings.pooler != "none":
        return {"postgresql_readonly": True}
    return {**AUTOCOMMIT, "postgresql_read_only_default": True}


def transaction_options(isolation_level: str | None, read_only: bool) -> dict[str, object]:
    """Return the execution options of a transaction.

    Raises:
        ValueError: PostgreSQL has no such isolation level.
    """
    levels = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
    if isolation_level not in (None, *levels):
        raise ValueError(f"the isolation levels are {', '.join(levels)}: not {isolation_level}")
    # At the default level, READ COMMITTED, each statement has a snapshot of its own.
    level = isolation_level or ("REPEATABLE READ" if read_only else None)
    options: dict[str, object] = {"isolation_level": level} if level else {}
    return options | ({"postgresql_readonly": True} if read_only else {})


def only_reads(url: sa.URL) -> sa.ColumnElement[bool]:
    """Return the expression for "the server refuses writes": false if the URL accepts that."""
    if url.query.get("target_session_attrs", "read-write") in ("read-write", "primary"):
        return sa.literal_column("current_setting('transaction_read_only') = 'on'", sa.Boolean())
    return sa.false()


def is_read_only(connection: sa.Connection) -> bool:
    """Return whether the transaction was begun for reading only."""
    return bool(connection.get_execution_options().get("postgresql_readonly"))


def is_demoted(connection: sa.Connection, error: BaseException) -> bool:
    """Return whether a write failed because the server itself only reads, as a standby does.

    A unit that asked for reading is refused by any server.
    """
    # A standby refuses SERIALIZABLE as a feature that it does not have.
    if driver.error_code(error) not in (*READ_ONLY, "0A000"):
        return False
    info = connection.info
    if info.get("read_only_default") or is_read_only(connection):
        return False
    # A pooler reports values as old as its first connection to the server: see attach().
    if "only_reads" in info:
        return bool(info["only_reads"])
    raw = connection.connection.driver_connection
    return "on" in (driver.reported(raw, name) for name in _READ_ONLY_PARAMETERS)


# A server reports them with each change, from PostgreSQL 14 on:
# https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-ASYNC
_READ_ONLY_PARAMETERS = ("in_hot_standby", "default_transaction_read_only")


def is_stale_statement(error: BaseException) -> bool:
    """Return whether a table was altered under a prepared statement: the next try succeeds."""
    return driver.diagnostics(error).get("source_function") == "RevalidateCachedQuery"


def violation(
    error: BaseException, table: sa.Table[Any] | None
) -> tuple[str | None, tuple[str, ...]]:
    """Return the name of the violated constraint and its columns, as the server reports them."""
    report = driver.diagnostics(error)
    name, detail = report.get("constraint_name"), report.get("message_detail", "")
    if column := report.get("column_name"):
        return name, (column,)
    if driver.error_code(error) in CHECK_VIOLATION:
        # The detail shows the row, and its values may look like a list of columns.
        return name, ()
    # "Key (tenant_id, email)=(1, a@example.com) already exists", in any language.
    key = re.match(r"[^(]*\(([\w\s,]+)\)=\(", detail)
    return name, tuple(key[1].split(", ")) if key else ()


def partial_index(*columns: str, where: str, unique: bool = False) -> sa.Index:
    """Return an index of only those rows for which `where`, a condition in SQL, holds."""
    return sa.Index(None, *columns, unique=unique, postgresql_where=sa.text(where))


def order_by(
    column: sa.SQLColumnExpression[object],
    *,
    descending: bool,
    nullable: bool,
) -> Sequence[sa.ColumnElement[object]]:
    """Return the clauses that sort by a column, with NULL greater than any value."""
    return [column.desc() if descending else column.asc()]


def add_moments(expression: sa.BinaryExpression[Any]) -> sa.ColumnElement[Any]:
    """Return the sum or difference of datetimes and intervals as it is."""
    return expression


def calculate(operation: object, expression: Any, scale: int | None) -> Any:
    """Return a calculation with decimals as it is."""
    return expression


def is_one_of(
    column: sa.SQLColumnExpression[object], values: Sequence[object]
) -> sa.ColumnElement[bool]:
    """Return the condition that a column has one of these values."""
    # An array is one parameter, so the number of values has no limit.
    # PRIVATE: sqlalchemy UnaryExpression.element: a SQLColumnExpression itself has no `type`
    element: sa.ColumnElement[object] = column.asc().element
    array: sa.ColumnElement[Any] = sa.literal(values, _KeyArray(element.type))
    return column == sa.any_(array)


class _KeyArray(sa.TypeDecorator[Sequence[object]]):
    """An array of keys, which a driver may send in another way than other lists."""

    impl = ARRAY
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        process: Any = super().bind_processor(dialect)

        def keys(value: object) -> list[object]:
            return driver.Keys(process(value))

        return keys


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
    insert, indexes = postgresql.insert(table), (x for x in table.indexes if x.unique)
    same = next((x for x in indexes if {*x.columns.keys()} == {*on}), None)
    target: Any = {
        "index_elements": [table.c[name] for name in on],
        # ON CONFLICT has to repeat the condition of a partial index.
        "index_where": None if same is None else same.dialect_options["postgresql"]["where"],
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
    """Return None: the lock holds in the whole server."""


async def prepare_migration(connection: AsyncConnection, settings: DatabaseSettings) -> None:
    """Prepare a connection for a migration, before it begins: limit its waits for locks.

    Others queue behind a waiting ALTER TABLE, so it gives up soon. CREATE INDEX CONCURRENTLY, in an
    autocommit_block(), blocks nobody, and leaves an invalid index if it gives up.
    """

    def limit(sync: sa.Connection) -> None:
        autocommit = sync.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
        seconds = settings.migration_timeout if autocommit else settings.lock_timeout
        sync.exec_driver_sql(f"SET lock_timeout = {seconds * 1000:.0f}")
        if autocommit:
            sync.info[COMMITTED] = True

    event.listen(connection.sync_connection, "begin", limit)


def guard_migration(connection: sa.Connection) -> None:
    """Guard a migration on a connection of the program: nothing is needed."""


def invalid_indexes(connection: sa.Connection) -> str:
    """Return a sentence about the indexes that an interrupted build left, or an empty text."""
    names = ", ".join(connection.scalars(_INVALID_INDEXES))
    return names and f"{names}: invalid, because the build was interrupted"


async def connection_limit(connection: AsyncConnection) -> int | None:
    """Return the server's limit of connections, without those reserved for administrators."""
    limits = sa.text(
        "SELECT name, setting::int FROM pg_settings WHERE name IN"
        " ('max_connections', 'superuser_reserved_connections', 'reserved_connections')"
    )
    rows = await connection.execute(limits)
    return sum(int(value if name == "max_connections" else -value) for name, value in rows)


def _begin(connection: sa.Connection) -> None:
    options, info = connection.get_execution_options(), connection.info
    read_only = bool(options.get("postgresql_read_only_default"))
    # It is sent only when it changes, because it costs a round trip.
    if read_only == info.get("read_only_default", False) or options.get("postgresql_readonly"):
        return
    # It is sent outside a transaction: a rollback would undo it, and the default takes effect only
    # for the next transaction.
    adapted = connection.connection.dbapi_connection
    assert adapted
    autocommit = bool(adapted.autocommit)
    adapted.autocommit = True
    try:
        # The server's own default may be on: after a switch-over, or for a role that only reads.
        value = "on" if read_only else "DEFAULT"
        connection.exec_driver_sql(f"SET default_transaction_read_only = {value}")
    except BaseException:
        # The connection is still in autocommit: it would commit each statement of the next
        # transaction by itself.
        connection.invalidate()
        raise
    adapted.autocommit = autocommit
    info["read_only_default"] = read_only
