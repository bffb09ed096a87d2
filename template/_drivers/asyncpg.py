"""The differences of asyncpg: how to connect, test and drop a connection, and its errors."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncConnection

from ..settings import DatabaseSettings
from ..tls import create_context
from .hosts import Hosts

# asyncpg has no types.
_asyncpg: Any = import_module("asyncpg")

# Parameters of libpq for the server. asyncpg expects them in `server_settings`.
_SERVER_PARAMETERS = ("application_name", "options")
# Parameters of libpq that asyncpg does not know.
IGNORED_PARAMETERS = (
    # Hosts reads these.
    *("host", "port", "load_balance_hosts"),
    *_SERVER_PARAMETERS,
    *("channel_binding", "gssencmode", "connect_timeout", "tcp_user_timeout", "keepalives"),
    *("keepalives_idle", "keepalives_interval", "keepalives_count"),
)
# The types of the database that COPY writes, as it does arrays of them. float4 is not among them:
# asyncpg makes zero of a float that is too small for it, and INSERT raises an error.
_TYPES = (
    "bool int2 int4 int8 float8 numeric text varchar bpchar bytea uuid json jsonb inet cidr"
    " date time timetz timestamp timestamptz interval"
    " int4range int8range numrange daterange tsrange tstzrange"
)
COPIED = {x for name in _TYPES.split() for x in (name, f"_{name}")}


class Keys(list[Any]):
    """Keys to send: asyncpg sends any list in binary form."""


class RawConnection(Protocol):
    """The part of asyncpg.Connection that is used here."""

    async def execute(self, query: str, /) -> object:
        """Run a statement."""

    def terminate(self) -> None:
        """Close the connection at once."""

    async def copy_records_to_table(
        self,
        table_name: str,
        *,
        records: Iterable[tuple[object, ...]],
        columns: Sequence[str],
        schema_name: str | None,
    ) -> str:
        """Write rows to a table by COPY."""
        ...


def connect_arguments(settings: DatabaseSettings, session: Mapping[str, str]) -> dict[str, object]:
    """Return the arguments of asyncpg.connect(), with the server settings of the session.

    https://magicstack.github.io/asyncpg/current/api/index.html#connection
    """
    query = settings.url.query
    parameters = {name: query[name] for name in _SERVER_PARAMETERS if name in query}
    arguments: dict[str, object] = {
        # PRIVATE: sqlalchemy async_creator_fn: async_creator, its public form, ignores the URL
        "async_creator_fn": partial(Hosts(settings.url).connect, _asyncpg.connect),
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


def reported(connection: Any, name: str) -> str | None:
    """Return the value that the server has reported for a parameter; None if it reported none."""
    value: str | None = getattr(connection.get_settings(), name, None)
    return value


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


def copies(kind: str, values: Sequence[Any]) -> bool:
    """Return True: COPY and INSERT send all values of a type in the same way."""
    return True


async def copy_rows(
    connection: AsyncConnection,
    schema: str | None,
    table: str,
    columns: Mapping[str, str],
    rows: Iterable[tuple[object, ...]],
) -> None:
    """Write rows to columns of these types by one COPY.

    Raises:
        DataError: asyncpg refuses a value. For the rest asyncpg's own errors are raised.
    """
    raw: RawConnection | None = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    try:
        names = [*columns]
        await raw.copy_records_to_table(table, schema_name=schema, columns=names, records=rows)
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        # A value that asyncpg itself refuses: its message may hold the value.
        raise DataError("COPY", None, error, hide_parameters=True) from error
