"""What is particular to aiosqlite: how it connects, and what it tells of an error."""

from .settings import DatabaseSettings


def connect_arguments(settings: DatabaseSettings) -> dict[str, object]:
    """What sqlite3.connect() takes: a writer waits this many seconds for another to finish."""
    return {"timeout": settings.lock_timeout}


def error_code(error: BaseException) -> str | None:
    """SQLite's name of an error, as SQLITE_CONSTRAINT_UNIQUE; None if it is not SQLite's."""
    return getattr(error, "sqlite_errorname", None)


def diagnostics(error: BaseException) -> dict[str, str]:
    """What the database tells of an error, by name: with SQLite a `message` and no more."""
    return {"message": str(error)}
