"""The differences of asyncpg: how to connect, test and drop a connection, and its errors."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.ranges import AbstractRange
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncConnection

from ..settings import DatabaseSettings
from ..tls import create_context
from .rows import Run, needs_sql

# Parameters of libpq for the server. asyncpg expects them in `server_settings`.
_SERVER_PARAMETERS = ("application_name", "options")
# Parameters of libpq that asyncpg does not know.
IGNORED_PARAMETERS = (
    *_SERVER_PARAMETERS,
    *("channel_binding", "gssencmode", "connect_timeout", "tcp_user_timeout", "keepalives"),
    *("keepalives_idle", "keepalives_interval", "keepalives_count"),
)


class RawConnection(Protocol):
    """The part of asyncpg.Connection that is used here."""

    async def execute(self, query: str, /) -> object:
        """Run a statement."""

    def terminate(self) -> None:
        """Close the connection at once."""


def connect_arguments(settings: DatabaseSettings, session: Mapping[str, str]) -> dict[str, object]:
    """Return the arguments of asyncpg.connect(), with the server settings of the session.

    https://magicstack.github.io/asyncpg/current/api/index.html#connection
    """
    query = settings.url.query
    parameters = {name: query[name] for name in _SERVER_PARAMETERS if name in query}
    arguments: dict[str, object] = {
        "timeout": settings.connect_timeout,
        "command_timeout": settings.command_timeout or None,
        "ssl": create_context(settings.tls_mode, settings.tls_authority) or False,
        # A pooler accepts application_name, and refuses other parameters.
        "server_settings": {"application_name": settings.application_name, **session, **parameters},
    }
    if settings.pooler == "pgbouncer_statementless":
        # Without a cache each prepared statement is unnamed, and ends with its use. The next
        # transaction may have another server connection.
        arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    return arguments


async def ping(connection: RawConnection) -> None:
    """Test the connection in one round trip, outside a transaction."""
    await connection.execute("SELECT")


def hang_up(connection: RawConnection) -> None:
    """Close the connection at once, without a message to the server. Waiting calls fail."""
    connection.terminate()


def error_code(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error; None if the error is not from the server."""
    return getattr(error, "sqlstate", None)


def is_refusal(error: BaseException) -> bool:
    """Return whether a busy connection refused the call: nothing was sent."""
    return type(getattr(error, "driver_exception", error)).__name__ == "InterfaceError"


def diagnostics(error: BaseException) -> dict[str, str]:
    """Return the fields of an error report: `constraint_name`, `message_detail`, ..."""
    # asyncpg itself detects a stale statement, so the server has sent no report.
    if type(error).__name__ == "InvalidCachedStatementError":
        return {"source_function": "RevalidateCachedQuery"}
    # SQLAlchemy wraps asyncpg's errors. A COPY on the raw connection raises them unwrapped.
    source = getattr(error, "driver_exception", error)
    # PRIVATE: asyncpg PostgresMessage: the attributes of errors, named after the protocol's fields
    report = {
        "constraint_name": getattr(source, "constraint_name", None),
        "column_name": getattr(source, "column_name", None),
        "message_detail": getattr(source, "detail", None),
        "source_function": getattr(source, "server_source_function", None),
    }
    return {name: text for name, text in report.items() if text}


async def insert_rows(connection: AsyncConnection, table: sa.TableClause, run: Run) -> None:
    """Insert a run of rows: by one COPY, where that can do it.

    What it raises is the driver's own error.
    """
    copied = all(_is_copied(column.type, connection.dialect) for column in run.columns)
    if needs_sql(table, run.columns) or not copied:
        for batch in run.batches:
            await connection.execute(sa.insert(table), batch.mappings())
        return
    raw: _Connection | None = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    of_the_rows: list[Exception] = []

    def batches() -> Iterator[Iterable[tuple[object, ...]]]:
        try:
            for batch in run.batches:
                yield batch.tuples(connection.dialect)
        except Exception as error:
            # The caller's own, or told already: it passes as it is.
            of_the_rows.append(error)
            raise

    try:
        await raw.copy_records_to_table(
            table.name,
            schema_name=table.schema,
            columns=[column.name for column in run.columns],
            records=chain.from_iterable(batches()),
        )
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        if error in of_the_rows:
            raise
        # A value that asyncpg itself refuses: what it says may hold the value.
        raise DataError("COPY", None, error, hide_parameters=True) from error


# What asyncpg has a binary form of, which is all that COPY takes: any other goes by INSERT.
_COPIED = (
    *(sa.String, sa.Integer, sa.Numeric, sa.Float, sa.Boolean, sa.LargeBinary, sa.Uuid, sa.JSON),
    *(sa.Date, sa.Time, sa.DateTime, sa.Interval, sa.Enum, postgresql.BYTEA, postgresql.INTERVAL),
    *(postgresql.INET, postgresql.CIDR, AbstractRange),
)


def _is_copied(kind: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> bool:
    known = kind.dialect_impl(dialect)
    while isinstance(known, sa.TypeDecorator):
        known = known.impl_instance.dialect_impl(dialect)
    # An array's.
    element: sa.types.TypeEngine[Any] | None = getattr(known, "item_type", None)
    if element is not None:
        return _is_copied(element, dialect)
    return isinstance(known, _COPIED) and not isinstance(known, postgresql.CITEXT)


class _Connection(Protocol):
    async def copy_records_to_table(
        self,
        table_name: str,
        *,
        records: Iterable[tuple[object, ...]],
        columns: Sequence[str],
        schema_name: str | None,
    ) -> str: ...
