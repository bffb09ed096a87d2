"""What is particular to asyncpg: how it connects, and what it tells of an error."""

from .settings import DatabaseSettings


def connect_arguments(settings: DatabaseSettings) -> dict[str, object]:
    """What asyncpg.connect() takes; times in seconds, but for the server's own in milliseconds.

    https://magicstack.github.io/asyncpg/current/api/index.html#connection
    """
    return {
        "timeout": settings.connect_timeout,
        "command_timeout": settings.command_timeout,
        "server_settings": {
            "application_name": settings.application_name,
            "lock_timeout": f"{settings.lock_timeout * 1000:.0f}",
        },
    }


def error_code(error: BaseException) -> str | None:
    """The SQLSTATE of an error; None if it is not the server's."""
    return getattr(error, "sqlstate", None)


def diagnostics(error: BaseException) -> dict[str, str]:
    """What the server tells of an error, by name: `constraint_name`, `message_detail`, ..."""
    # SQLAlchemy wraps asyncpg's errors; a COPY on the raw connection raises them bare.
    source = getattr(error, "driver_exception", error)
    told = {
        "constraint_name": getattr(source, "constraint_name", None),
        "column_name": getattr(source, "column_name", None),
        "message_detail": getattr(source, "detail", None),
    }
    return {name: text for name, text in told.items() if text}
