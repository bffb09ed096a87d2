"""What is particular to psycopg: how it connects, is asked and dropped, and tells of an error."""

import asyncio
import math
import os
import socket
import ssl
import traceback
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.abc import RV, PQGen
from psycopg.rows import TupleRow
from psycopg.types.array import ListBinaryDumper
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncConnection

from ..settings import DatabaseSettings
from .rows import Keys, Run, needs_sql

# In a URL they would take the place of ours.
IGNORED_PARAMETERS = ("options",)

# Where systems keep the authorities that they trust; OpenSSL in psycopg's wheels does not know.
_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


# A list goes as text, each item searched for what must be quoted: that takes as long as to delete
# the rows.
psycopg.adapters.register_dumper(Keys, ListBinaryDumper)


class RawConnection(psycopg.AsyncConnection[TupleRow]):
    """psycopg's connection, which hangs up on a server that is silent for too long."""

    answer_timeout = 0.0

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = 0.1,
        timeout: float | None = None,
    ) -> RV:
        if not self.answer_timeout:
            return await super().wait(gen, interval, timeout)
        timer = asyncio.get_running_loop().call_later(self.answer_timeout, hang_up, self)
        try:
            return await super().wait(gen, interval, timeout)
        finally:
            timer.cancel()

    # Nothing is sent here. Where psycopg would yet let others run, a cancellation would lose the
    # connection: SQLAlchemy has just taken it, and closes none that it could not set up.
    async def set_autocommit(self, value: bool) -> None:
        deque(self._set_autocommit_gen(value), maxlen=0)

    async def set_read_only(self, value: bool | None) -> None:
        deque(self._set_read_only_gen(value), maxlen=0)

    async def set_isolation_level(self, value: psycopg.IsolationLevel | None) -> None:
        deque(self._set_isolation_level_gen(value), maxlen=0)


def connect_arguments(settings: DatabaseSettings, session: Mapping[str, str]) -> dict[str, object]:
    """What psycopg's connect() takes, with what is to be set on the server for the session.

    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
    """

    class Connection(RawConnection):
        answer_timeout = settings.command_timeout

    async def connect(*where: Any, **options: Any) -> RawConnection:
        try:
            return await Connection.connect(*where, **options)
        except asyncio.CancelledError as error:
            # What is connected by half is closed with these frames: the error would keep them until
            # Python looks for garbage, and the server a connection for each.
            traceback.clear_frames(error.__traceback__)
            raise

    options = (f"-c {name}={value}" for name, value in session.items())
    arguments: dict[str, object] = {
        "async_creator_fn": connect,
        # Whole seconds, and never less than two.
        "connect_timeout": math.ceil(settings.connect_timeout),
        "application_name": settings.application_name,
        "options": " ".join([*options, str(settings.url.query.get("options", ""))]),
        # Who has vanished from the network is noticed here, even where a statement may take long:
        # what is sent unheard gives up, and a wait for an answer asks whether anyone is there.
        "tcp_user_timeout": 5_000,
        "keepalives_idle": 5,
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "sslmode": settings.tls_mode,
    }
    if settings.tls_mode.startswith("verify"):
        arguments["sslrootcert"] = str(settings.tls_authority or _system_authorities())
    if settings.pooler == "pgbouncer_statementless":
        # The next transaction may be on another connection to the server.
        arguments["prepare_threshold"] = None
    return arguments


async def ping(connection: RawConnection) -> None:
    """One round trip to the server and back, outside a transaction."""
    before = connection.autocommit
    await connection.set_autocommit(True)
    await connection.execute("")
    await connection.set_autocommit(before)


def hang_up(connection: RawConnection) -> None:
    """Close the connection at once, without a word to the server; who waits on it gets an error."""
    # Not by closing it: libpq must find the end of the stream, to tell those who wait.
    with suppress(OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as twin:
        twin.shutdown(socket.SHUT_RDWR)


def _system_authorities() -> Path:
    known = (ssl.get_default_verify_paths().cafile, *_AUTHORITIES)
    for file in known:
        if file and Path(file).is_file():
            return Path(file)
    raise ValueError("no file of trusted authorities was found: name one in DATABASE_TLS_CA_FILE")


def error_code(error: BaseException) -> str | None:
    """The SQLSTATE of an error; None if it is not the server's."""
    return getattr(error, "sqlstate", None)


def is_refusal(error: BaseException) -> bool:
    """Never: what is asked of a connection waits for its turn."""
    return False


def diagnostics(error: BaseException) -> dict[str, str]:
    """What the server tells of an error, by name: `constraint_name`, `message_detail`, ..."""
    source = getattr(error, "diag", None)
    names = ("constraint_name", "column_name", "message_detail", "source_function")
    told = {name: getattr(source, name, None) for name in names}
    return {name: text for name, text in told.items() if text}


# What psycopg, or what it calls, raises for a value that it cannot send.
_REFUSALS = (psycopg.DataError, psycopg.ProgrammingError, ValueError, TypeError, AttributeError)


async def insert_rows(connection: AsyncConnection, table: sa.TableClause, run: Run) -> None:
    """Insert a run of rows: by one COPY, where that can do it.

    What it raises is the driver's own error.
    """
    if needs_sql(table, run.columns):
        for batch in run.batches:
            await connection.execute(sa.insert(table), batch.mappings())
        return
    raw: RawConnection | None = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    quote = connection.dialect.identifier_preparer.quote
    name = ".".join(quote(part) for part in (table.schema, table.name) if part)
    names = ", ".join(quote(column.name) for column in run.columns)
    copying = f"COPY {name} ({names}) FROM STDIN".encode()
    async with raw.cursor() as cursor, cursor.copy(copying) as copy:
        for batch in run.batches:
            rows = batch.tuples(connection.dialect)
            try:
                for row in rows:
                    await copy.write_row(row)
            except _REFUSALS as error:
                # A value that psycopg itself refuses has no code of the server's.
                raise DataError("COPY", None, error, hide_parameters=True) from error
