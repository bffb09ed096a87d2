"""The differences of psycopg: how to connect, test and drop a connection, and its errors."""

import asyncio
import math
import os
import socket
import ssl
import traceback
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow
from psycopg.types.array import ListBinaryDumper
from psycopg.types.json import Json, Jsonb
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncConnection

from ..settings import DatabaseSettings
from .hosts import Hosts

# connect_arguments() merges `options` with the layer's own; Hosts reads the others.
IGNORED_PARAMETERS = ("options", "host", "port", "load_balance_hosts")

# The types of the database that COPY writes, as it does arrays of them, and those of their values.
_PYTHON_TYPES: Mapping[str, set[type]] = {
    "bool": {bool},
    "int2": {int},
    "int4": {int},
    "int8": {int},
    "float8": {float, int},
    "numeric": {Decimal, int},
    "text": {str},
    "varchar": {str},
    "bytea": {bytes, psycopg.Binary},
    "uuid": {UUID},
    "json": {Json},
    "jsonb": {Jsonb},
    "date": {date},
    "time": {time},
    "timestamp": {datetime},
    "timestamptz": {datetime},
    "interval": {timedelta},
}
# psycopg cuts larger integers to their last bits. It makes zero of a float that is too small for
# float4, which is why that is not here.
_LIMITS = {"int2": 2**15, "int4": 2**31}
COPIED = {*_PYTHON_TYPES, *(f"_{name}" for name in _PYTHON_TYPES)}

# Where systems keep their trusted authorities. The OpenSSL in psycopg's wheels does not know it.
_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


class Keys(list[Any]):
    """Keys to send in binary form: as text, each is searched for characters to quote.

    That would take as long as to delete the rows.
    """


# PRIVATE: psycopg ListBinaryDumper: psycopg's documentation names no dumpers of types
psycopg.adapters.register_dumper(Keys, ListBinaryDumper)


class RawConnection(psycopg.AsyncConnection[TupleRow]):
    """psycopg's connection, with a limit on the time that the server takes to answer."""

    answer_timeout = 0.0

    # PRIVATE: psycopg AsyncConnection.wait: psycopg has no client-side timeout for a statement
    async def wait(self, *arguments: Any, **options: Any) -> Any:
        """Wait for the server as psycopg does, but for `answer_timeout` seconds at most."""
        if not self.answer_timeout:
            return await super().wait(*arguments, **options)
        timer = asyncio.get_running_loop().call_later(self.answer_timeout, hang_up, self)
        try:
            return await super().wait(*arguments, **options)
        finally:
            timer.cancel()

    # These methods send nothing, but psycopg may yield to the event loop in them. A cancellation
    # there would lose the connection: SQLAlchemy has just taken it, and does not close a connection
    # that it could not set up. So they run here without yielding.
    async def set_autocommit(self, value: bool) -> None:
        """Set the attribute without yielding to the event loop."""
        deque(super().set_autocommit(value).__await__(), maxlen=0)

    async def set_read_only(self, value: bool | None) -> None:
        """Set the attribute without yielding to the event loop."""
        # SQLAlchemy resets it to False. BEGIN READ WRITE would ignore the server's own default.
        deque(super().set_read_only(value or None).__await__(), maxlen=0)

    async def set_isolation_level(self, value: psycopg.IsolationLevel | None) -> None:
        """Set the attribute without yielding to the event loop."""
        deque(super().set_isolation_level(value).__await__(), maxlen=0)


def connect_arguments(settings: DatabaseSettings, session: Mapping[str, str]) -> dict[str, object]:
    """Return the arguments of psycopg's connect(), with the server settings of the session.

    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
    """

    class Connection(RawConnection):
        answer_timeout = settings.command_timeout

    async def connect(*arguments: Any, **options: Any) -> RawConnection:
        try:
            return await Connection.connect(*arguments, **options)
        except asyncio.CancelledError as error:
            # A half-open connection is closed when its frames are freed. The error would keep them,
            # and so a connection on the server, until the next garbage collection.
            traceback.clear_frames(error.__traceback__)
            raise

    options = (f"-c {name}={value}" for name, value in session.items())
    arguments: dict[str, object] = {
        # PRIVATE: sqlalchemy async_creator_fn: async_creator, its public form, ignores the URL
        "async_creator_fn": partial(Hosts(settings.url).connect, connect),
        # psycopg accepts whole seconds, at least 2.
        "connect_timeout": math.ceil(settings.connect_timeout),
        "application_name": settings.application_name,
        "options": " ".join([*options, str(settings.url.query.get("options", ""))]),
        # They detect a server that is gone from the network, even during a long statement. The
        # first limits data that is not acknowledged, the others test the connection during a wait.
        "tcp_user_timeout": 5_000,
        "keepalives_idle": 5,
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "sslmode": settings.tls_mode,
    }
    if settings.tls_mode.startswith("verify"):
        arguments["sslrootcert"] = str(settings.tls_authority or _system_authorities())
    if settings.pooler == "pgbouncer_statementless":
        # The next transaction may have another server connection.
        arguments["prepare_threshold"] = None
    return arguments


async def ping(connection: RawConnection) -> None:
    """Test the connection in one round trip, outside a transaction."""
    before = connection.autocommit
    await connection.set_autocommit(True)
    await connection.execute("")
    await connection.set_autocommit(before)


def hang_up(connection: RawConnection) -> None:
    """Close the connection at once, without a message to the server. Waiting calls fail."""
    # Shut the socket down instead of closing it: libpq has to read the end of the stream, so that
    # waiting calls fail.
    with suppress(OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as twin:
        twin.shutdown(socket.SHUT_RDWR)


def reported(connection: Any, name: str) -> str | None:
    """Return the value that the server has reported for a parameter; None if it reported none."""
    value: str | None = connection.info.parameter_status(name)
    return value


def _system_authorities() -> Path:
    for file in (ssl.get_default_verify_paths().cafile, *_AUTHORITIES):
        if file and Path(file).is_file():
            return Path(file)
    raise ValueError("no file of trusted authorities was found: name one in DATABASE_TLS_CA_FILE")


def error_code(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error; None if the error is not from the server."""
    return getattr(error, "sqlstate", None)


def is_refusal(error: BaseException) -> bool:
    """Return False: the driver queues calls on a busy connection."""
    return False


def diagnostics(error: BaseException) -> dict[str, str]:
    """Return the fields of an error report: `constraint_name`, `message_detail`, ..."""
    source = getattr(error, "diag", None)
    names = ("constraint_name", "column_name", "message_detail", "source_function")
    report = {name: getattr(source, name, None) for name in names}
    return {name: text for name, text in report.items() if text}


def copies(kind: str, values: Sequence[Any]) -> bool:
    """Return whether COPY sends values of a type of the database as INSERT does.

    INSERT lets the server convert others, such as a text for a number. COPY sends them in binary
    form, which has to be that of the type.
    """
    given = [value for value in values if value is not None]
    if kind.startswith("_"):
        return copies(kind[1:], [*chain.from_iterable(given)])
    if not {*map(type, given)} <= _PYTHON_TYPES[kind]:
        return False
    if kind in ("time", "timestamp", "timestamptz"):
        return {x.tzinfo is not None for x in given} <= {kind == "timestamptz"}
    limit = _LIMITS.get(kind)
    return not limit or all(-limit <= x < limit for x in given)


async def copy_rows(
    connection: AsyncConnection,
    schema: str | None,
    table: str,
    columns: Mapping[str, str],
    rows: Iterable[tuple[object, ...]],
) -> None:
    """Write rows to columns of these types by one COPY.

    Raises:
        DataError: psycopg refuses a value. For the rest psycopg's own errors are raised.
    """
    raw: RawConnection | None = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    name = sql.Identifier(*filter(None, (schema, table)))
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    copying = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(name, names)
    types = [f"{x[1:]}[]" if x.startswith("_") else x for x in columns.values()]
    async with raw.cursor() as cursor, cursor.copy(copying) as copy:
        copy.set_types(types)
        try:
            for row in rows:
                await copy.write_row(row)
        except _REFUSALS as error:
            # A value that psycopg itself refuses has no code of the server's.
            raise DataError("COPY", None, error, hide_parameters=True) from error


# psycopg, or a function that it calls, raises these for a value that it cannot send.
_REFUSALS = (psycopg.DataError, psycopg.ProgrammingError, ValueError, TypeError, ArithmeticError)
