"""The differences of asyncmy: how to connect, test and drop a connection, and its errors."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import asyncmy

from ..settings import DatabaseSettings
from ..tls import create_context

IGNORED_PARAMETERS = ()


class RawConnection(Protocol):
    """The part of asyncmy.Connection that is used here."""

    async def ping(self, reconnect: bool, /) -> object:
        """Test the connection."""

    def close(self) -> None:
        """Close the connection at once."""


def connect_arguments(settings: DatabaseSettings, session: Mapping[str, str]) -> dict[str, object]:
    """Return the arguments of asyncmy.connect(), with the server settings of the session.

    https://github.com/long2ice/asyncmy/blob/dev/asyncmy/connection.pyx
    """
    # connect() is only partly typed.
    driver: Any = asyncmy

    async def connect(*arguments: object, **options: object) -> RawConnection:
        # asyncmy limits only the TCP connection. A server may accept it and never answer.
        async with asyncio.timeout(settings.connect_timeout):
            connection: RawConnection = await driver.connect(*arguments, **options)
        return connection

    return {
        # PRIVATE: sqlalchemy async_creator_fn: async_creator, its public form, ignores the URL
        "async_creator_fn": connect,
        "charset": "utf8mb4",
        "connect_timeout": settings.connect_timeout,
        "read_timeout": settings.command_timeout or None,
        "program_name": settings.application_name,
        "init_command": f"SET {', '.join(f'{name} = {value}' for name, value in session.items())}",
        "ssl": create_context(settings.tls_mode, settings.tls_authority),
    }


async def ping(connection: RawConnection) -> None:
    """Test the connection in one round trip, outside a transaction."""
    await connection.ping(False)


def hang_up(connection: RawConnection) -> None:
    """Close the connection at once, without a message to the server. Waiting calls fail."""
    connection.close()


def error_code(error: BaseException) -> str | None:
    """Return the number of an error, of the server or the client; None for other errors."""
    code = error.args[0] if error.args else None
    return str(code) if isinstance(code, int) else None


def is_refusal(error: BaseException) -> bool:
    """Return False: the driver sends at once on a busy connection, and mixes up the answers."""
    return False


def diagnostics(error: BaseException) -> dict[str, str]:
    """Return the fields of an error report: only `message`."""
    return {"message": str(error.args[1])} if len(error.args) > 1 else {"message": str(error)}
