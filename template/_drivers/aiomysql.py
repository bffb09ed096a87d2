"""The differences of aiomysql: how to connect, test and drop a connection, and its errors."""

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

from ..settings import DatabaseSettings
from ..tls import create_context

# aiomysql has no types.
_aiomysql: Any = import_module("aiomysql")

IGNORED_PARAMETERS = ()

# The server offers TLS: CLIENT_SSL of the protocol.
_TLS = 0x800


class RawConnection(Protocol):
    """The part of aiomysql.Connection that is used here."""

    async def ping(self, reconnect: bool = True, /) -> object:
        """Test the connection, or open it."""

    def get_autocommit(self) -> object:
        """Return whether each statement commits by itself."""

    async def autocommit(self, value: bool, /) -> object:
        """Let each statement commit by itself, or not."""

    def close(self) -> None:
        """Close the connection at once."""


def connect_arguments(settings: DatabaseSettings, session: Mapping[str, str]) -> dict[str, object]:
    """Return the arguments of aiomysql.Connection(), with the server settings of the session.

    https://aiomysql.readthedocs.io/en/stable/connection.html
    """
    create_connection = _connection_class(settings.command_timeout)

    async def connect(*arguments: object, **options: Any) -> RawConnection:
        if password := options.get("password"):
            # aiomysql encodes a password as Latin-1, and the server expects UTF-8.
            options["password"] = password.encode().decode("latin-1")
        connection: RawConnection = create_connection(*arguments, **options)
        try:
            # aiomysql limits only the TCP connection. A server may accept it and never answer.
            async with asyncio.timeout(settings.connect_timeout):
                await connection.ping()
        except BaseException:
            connection.close()
            raise
        return connection

    return {
        # PRIVATE: sqlalchemy async_creator_fn: async_creator, its public form, ignores the URL
        "async_creator_fn": connect,
        "charset": "utf8mb4",
        # The driver sends its attributes in at most 250 bytes, and needs some for others.
        "program_name": settings.application_name.encode()[:128].decode(errors="ignore"),
        "init_command": f"SET {', '.join(f'{name} = {value}' for name, value in session.items())}",
        "ssl": create_context(settings.tls_mode, settings.tls_authority),
    }


def _connection_class(timeout: float) -> Any:
    """Return a subclass of aiomysql.Connection that limits how long it waits for an answer.

    It closes its socket at once, and refuses a server without TLS if TLS is required.

    Args:
        timeout: The limit in seconds; 0 means no limit.
    """
    base = _aiomysql.Connection

    def close(self: Any) -> None:
        # PRIVATE: aiomysql Connection._writer: close() waits until the server has got everything
        if self._writer:
            self._writer.transport.abort()
        base.close(self)

    async def read_packet(self: Any, *arguments: object) -> object:
        try:
            async with asyncio.timeout(self.answer_timeout or None):
                # PRIVATE: aiomysql Connection._read_packet: aiomysql has no timeout for an answer
                return await base._read_packet(self, *arguments)
        except TimeoutError as error:
            raise _aiomysql.OperationalError(
                2013, f"no answer within {self.answer_timeout:g} s"
            ) from error

    async def authenticate(self: Any) -> None:
        # PRIVATE: aiomysql Connection._ssl_context: see the next line
        if self._ssl_context and not self.server_capabilities & _TLS:
            # aiomysql would continue in plain text.
            raise _aiomysql.OperationalError(2026, "the server does not support TLS")
        # PRIVATE: aiomysql Connection._request_authentication: it sends the password
        await base._request_authentication(self)

    def escape(self: Any, value: object) -> str:
        # PyMySQL 1.2.3 took away what aiomysql calls for bytes:
        # https://github.com/aio-libs/aiomysql/issues/1080
        quoted: str = (
            f"_binary X'{value.hex()}'" if isinstance(value, bytes) else base.escape(self, value)
        )
        return quoted

    methods = {
        "answer_timeout": timeout,
        "close": close,
        "_read_packet": read_packet,
        "_request_authentication": authenticate,
        "escape": escape,
        # __del__ reads it, also if the constructor refused an argument.
        "_writer": None,
    }
    return type("Connection", (base,), methods)


async def ping(connection: RawConnection) -> None:
    """Test the connection in one round trip, outside a transaction."""
    await connection.ping(False)


def hang_up(connection: RawConnection) -> None:
    """Close the connection at once, without a message to the server. Waiting calls fail."""
    connection.close()


def limit(connection: Any, seconds: float) -> None:
    """Set how long the connection waits for an answer from now on."""
    connection.answer_timeout = seconds


def is_streaming(connection: object) -> bool:
    """Return whether a stream is being read on the connection."""
    # PRIVATE: aiomysql Connection._result: a stream that is still open has no public name
    result = getattr(connection, "_result", None)
    # PRIVATE: aiomysql MySQLResult.unbuffered_active: see the line above
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
