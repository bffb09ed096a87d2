"""What is particular to aiosqlite: how it connects, and what it tells of an error."""

from collections.abc import Mapping
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..settings import DatabaseSettings
from .rows import Run

IGNORED_PARAMETERS = ()


class RawConnection(Protocol):
    """What is used here of aiosqlite.Connection: nothing."""


def connect_arguments(settings: DatabaseSettings, session: Mapping[str, str]) -> dict[str, object]:
    """What sqlite3.connect() takes: a writer waits this many seconds for another to finish."""
    return {"timeout": settings.lock_timeout}


async def ping(connection: RawConnection) -> None:
    """Nothing: a file does not go away by itself."""


def hang_up(connection: RawConnection) -> None:
    """Nothing: there is nobody at the other end."""


def error_code(error: BaseException) -> str | None:
    """SQLite's name of an error, as SQLITE_CONSTRAINT_UNIQUE; None if it is not SQLite's."""
    return getattr(error, "sqlite_errorname", None)


def is_refusal(error: BaseException) -> bool:
    """Never: what is asked of a connection waits for its turn."""
    return False


def diagnostics(error: BaseException) -> dict[str, str]:
    """What the database tells of an error, by name: with SQLite a `message` and no more."""
    return {"message": str(error)}


async def insert_rows(connection: AsyncConnection, table: sa.TableClause, run: Run) -> None:
    """Insert a run of rows in the fastest way that this driver has."""
    for batch in run.batches:
        await connection.execute(sa.insert(table), batch.mappings())
