"""What is particular to asyncpg: how it connects, is asked and dropped, and tells of an error."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from .rows import Run, needs_sql
from .settings import DatabaseSettings
from .tls import create_context

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
    if needs_sql(table, run.columns) or any(isinstance(x.type, _NOT_BINARY) for x in run.columns):
        for batch in run.batches:
            await connection.execute(sa.insert(table), batch.mappings())
        return
    raw: _Connection | None = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    await raw.copy_records_to_table(
        table.name,
        schema_name=table.schema,
        columns=[column.name for column in run.columns],
        records=chain.from_iterable(batch.tuples(connection.dialect) for batch in run.batches),
    )


# asyncpg knows no binary form of them, and COPY takes no other.
_NOT_BINARY = (postgresql.CITEXT, postgresql.HSTORE, postgresql.MONEY, postgresql.TSVECTOR)


class _Connection(Protocol):
    async def copy_records_to_table(
        self,
        table_name: str,
        *,
        records: Iterable[tuple[object, ...]],
        columns: Sequence[str],
        schema_name: str | None,
    ) -> str: ...
