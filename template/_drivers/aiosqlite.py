"""The differences of aiosqlite: its connection arguments and its errors."""

from collections.abc import Callable, Mapping
from typing import Protocol

from ..settings import DatabaseSettings

IGNORED_PARAMETERS = ()


class RawConnection(Protocol):
    """The part of aiosqlite.Connection that the layer uses."""

    stop: Callable[[], object]

    @property
    def in_transaction(self) -> object:
        """Return whether a transaction is open."""

    async def interrupt(self) -> None:
        """Interrupt the statement that is running."""

    async def rollback(self) -> None:
        """Roll back."""


def connect_arguments(settings: DatabaseSettings, session: Mapping[str, str]) -> dict[str, object]:
    """Return the arguments of sqlite3.connect(): seconds that a writer waits for another one."""
    return {"timeout": settings.lock_timeout}


async def ping(connection: RawConnection) -> None:
    """Do nothing: a file needs no test."""


def hang_up(connection: RawConnection) -> None:
    """Do nothing: there is no network connection."""


def error_code(error: BaseException) -> str | None:
    """Return SQLite's name of an error, such as SQLITE_CONSTRAINT_UNIQUE; None for other errors."""
    return getattr(error, "sqlite_errorname", None)


def is_refusal(error: BaseException) -> bool:
    """Return False: the driver queues calls on a busy connection."""
    return False


def diagnostics(error: BaseException) -> dict[str, str]:
    """Return the fields of an error report: only `message`."""
    return {"message": str(error)}
