"""What is particular to asyncmy: how it connects, is asked and dropped, and tells of an error."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import asyncmy
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..settings import DatabaseSettings
from ..tls import create_context
from .rows import Run

IGNORED_PARAMETERS = ()


class RawConnection(Protocol):
    """What is used here of asyncmy.Connection."""

    async def ping(self, reconnect: bool, /) -> object: ...

    def close(self) -> None: ...


def connect_arguments(settings: DatabaseSettings, session: Mapping[str, str]) -> dict[str, object]:
    """What asyncmy.connect() takes, with what is to be set on the server for the session.

    https://github.com/long2ice/asyncmy/blob/dev/asyncmy/connection.pyx
    """
    # Not all that it takes has a type.
    driver: Any = asyncmy

    async def connect(*where: object, **options: object) -> RawConnection:
        # Its own limit is on the network alone: who accepts a connection may yet say nothing.
        async with asyncio.timeout(settings.connect_timeout):
            connection: RawConnection = await driver.connect(*where, **options)
        return connection

    return {
        "async_creator_fn": connect,
        "charset": "utf8mb4",
        "connect_timeout": settings.connect_timeout,
        "read_timeout": settings.command_timeout or None,
        "program_name": settings.application_name,
        "init_command": f"SET {', '.join(f'{name} = {value}' for name, value in session.items())}",
        "ssl": create_context(settings.tls_mode, settings.tls_authority),
    }


async def ping(connection: RawConnection) -> None:
    """One round trip to the server and back, outside a transaction."""
    await connection.ping(False)


def hang_up(connection: RawConnection) -> None:
    """Close the connection at once, without a word to the server; who waits on it gets an error."""
    connection.close()


def error_code(error: BaseException) -> str | None:
    """The server's or the client's number of an error; None if it has none."""
    code = error.args[0] if error.args else None
    return str(code) if isinstance(code, int) else None


def is_refusal(error: BaseException) -> bool:
    """Never: it sends at once, and then cannot tell the answers apart."""
    return False


def diagnostics(error: BaseException) -> dict[str, str]:
    """What the server tells of an error, by name: with MySQL a `message` and no more."""
    return {"message": str(error.args[1])} if len(error.args) > 1 else {"message": str(error)}


async def insert_rows(connection: AsyncConnection, table: sa.TableClause, run: Run) -> None:
    """Insert a run of rows in the fastest way that this driver has."""
    for batch in run.batches:
        await connection.execute(sa.insert(table), batch.mappings())
