"""What is particular to asyncpg: how it connects, is asked and dropped, and tells of an error."""

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

# What libpq's URLs say to the server, and asyncpg takes in another place.
_SERVER_PARAMETERS = ("application_name", "options")
# Parameters of a URL that are libpq's, and that asyncpg does without.
IGNORED_PARAMETERS = (
    *_SERVER_PARAMETERS,
    *("channel_binding", "gssencmode", "connect_timeout", "tcp_user_timeout", "keepalives"),
    *("keepalives_idle", "keepalives_interval", "keepalives_count"),
)


class RawConnection(Protocol):
    """What is used here of asyncpg.Connection."""

    async def execute(self, query: str, /) -> str: ...

    def terminate(self) -> None: ...


def connect_arguments(settings: DatabaseSettings, session: Mapping[str, str]) -> dict[str, object]:
    """What asyncpg.connect() takes, with what is to be set on the server for the session.

    https://magicstack.github.io/asyncpg/current/api/index.html#connection
    """
    query = settings.url.query
    asked = {name: query[name] for name in _SERVER_PARAMETERS if name in query}
    arguments: dict[str, object] = {
        "timeout": settings.connect_timeout,
        "command_timeout": settings.command_timeout or None,
        "ssl": create_context(settings.tls_mode, settings.tls_authority) or False,
        # A pooler takes the name, and refuses all other parameters that it does not know.
        "server_settings": {"application_name": settings.application_name, **session, **asked},
    }
    if settings.pooler == "pgbouncer_statementless":
        # Without names a prepared statement ends with its use: the next transaction may be on
        # another connection to the server, and none is left behind on this one.
        arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    return arguments


async def ping(connection: RawConnection) -> None:
    """One round trip to the server and back, outside a transaction."""
    await connection.execute("SELECT")


def hang_up(connection: RawConnection) -> None:
    """Close the connection at once, without a word to the server; who waits on it gets an error."""
    connection.terminate()


def error_code(error: BaseException) -> str | None:
    """The SQLSTATE of an error; None if it is not the server's."""
    return getattr(error, "sqlstate", None)


def is_refusal(error: BaseException) -> bool:
    """Whether a connection that was in use refused to do more: nothing was sent."""
    return type(getattr(error, "driver_exception", error)).__name__ == "InterfaceError"


def diagnostics(error: BaseException) -> dict[str, str]:
    """What the server tells of an error, by name: `constraint_name`, `message_detail`, ..."""
    # asyncpg sees it by itself, and SQLAlchemy then has no error of the server's to tell of.
    if type(error).__name__ == "InvalidCachedStatementError":
        return {"source_function": "RevalidateCachedQuery"}
    # SQLAlchemy wraps asyncpg's errors; a COPY on the raw connection raises them bare.
    source = getattr(error, "driver_exception", error)
    told = {
        "constraint_name": getattr(source, "constraint_name", None),
        "column_name": getattr(source, "column_name", None),
        "message_detail": getattr(source, "detail", None),
        "source_function": getattr(source, "server_source_function", None),
    }
    return {name: text for name, text in told.items() if text}


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
