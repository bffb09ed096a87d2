"""The differences of asyncmy: how to connect, test and drop a connection, and its errors."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

import asyncmy

from ..settings import DatabaseSettings
from ..tls import create_context

IGNORED_PARAMETERS = ()


class RawConnection(Protocol):
    """The part of asyncmy.Connection that is used here."""

    async def connect(self) -> object:
        """Open the connection."""

    async def ping(self, reconnect: bool, /) -> object:
        """Test the connection."""

    def get_autocommit(self) -> object:
        """Return whether each statement commits by itself."""

    async def autocommit(self, value: bool, /) -> object:
        """Let each statement commit by itself, or not."""

    def close(self) -> None:
        """Close the connection at once."""


def connect_arguments(settings: DatabaseSettings, session: Mapping[str, str]) -> dict[str, object]:
    """Return the arguments of asyncmy.connect(), with the server settings of the session.

    https://github.com/long2ice/asyncmy/blob/dev/asyncmy/connection.pyx
    """
    create_connection = _connection_class()

    async def connect(*arguments: object, **options: Any) -> RawConnection:
        if password := options.get("password"):
            # asyncmy encodes a password as Latin-1, and the server expects UTF-8.
            options["password"] = password.encode()
        connection: RawConnection = create_connection(*arguments, **options)
        # asyncmy limits only the TCP connection. A server may accept it and never answer.
        async with asyncio.timeout(settings.connect_timeout):
            await connection.connect()
        return connection

    return {
        # PRIVATE: sqlalchemy async_creator_fn: async_creator, its public form, ignores the URL
        "async_creator_fn": connect,
        "charset": "utf8mb4",
        "connect_timeout": settings.connect_timeout,
        "read_timeout": settings.command_timeout or None,
        # The driver sends its attributes in at most 250 bytes, and needs some for others.
        "program_name": settings.application_name.encode()[:128].decode(errors="ignore"),
        "init_command": f"SET {', '.join(f'{name} = {value}' for name, value in session.items())}",
        "ssl": create_context(settings.tls_mode, settings.tls_authority),
    }


def _connection_class() -> Any:
    """Return a subclass of asyncmy.Connection that closes its socket at once."""
    # It is only partly typed.
    base: Any = asyncmy.Connection

    def close(self: Any) -> None:
        # PRIVATE: asyncmy Connection._transport: close() waits until the server has got everything
        if self._transport:
            self._transport.abort()
        base.close(self)

    async def ensure_closed(self: Any) -> None:
        # asyncmy waits until the server closes TLS, and until it has got everything.
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await base.ensure_closed(self)
        self.close()

    return type("Connection", (base,), {"close": close, "ensure_closed": ensure_closed})


async def ping(connection: RawConnection) -> None:
    """Test the connection in one round trip, outside a transaction."""
    await connection.ping(False)


def hang_up(connection: RawConnection) -> None:
    """Close the connection at once, without a message to the server. Waiting calls fail."""
    connection.close()


def limit(connection: Any, seconds: float) -> None:
    """Set how long the connection waits for an answer from now on."""
    # PRIVATE: asyncmy Connection._read_timeout: a COMMIT may take longer than a statement
    connection._read_timeout = seconds


def is_streaming(connection: object) -> bool:
    """Return whether a stream is being read on the connection."""
    # PRIVATE: asyncmy Connection._result: a stream that is still open has no public name
    result = getattr(connection, "_result", None)
    # PRIVATE: asyncmy MySQLResult.unbuffered_active: see the line above
    return bool(getattr(result, "unbuffered_active", False))


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
