"""What is particular to psycopg: how it connects, and what it tells of an error."""

import math

from .settings import DatabaseSettings


def connect_arguments(settings: DatabaseSettings) -> dict[str, object]:
    """What psycopg's connect() takes: libpq's parameters, in seconds or, where said, milliseconds.

    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
    """
    command, lock = settings.command_timeout * 1000, settings.lock_timeout * 1000
    return {
        # Whole seconds, and never less than two.
        "connect_timeout": math.ceil(settings.connect_timeout),
        "application_name": settings.application_name,
        # psycopg stops no statement by itself: the server does.
        "options": f"-c statement_timeout={command:.0f} -c lock_timeout={lock:.0f}",
        # And a server that has vanished stops none: what is sent unheard gives up, and a wait for
        # an answer asks every few seconds whether anyone is there.
        "tcp_user_timeout": 5_000,
        "keepalives_idle": 5,
        "keepalives_interval": 1,
        "keepalives_count": 3,
    }


def error_code(error: BaseException) -> str | None:
    """The SQLSTATE of an error; None if it is not the server's."""
    return getattr(error, "sqlstate", None)


def diagnostics(error: BaseException) -> dict[str, str]:
    """What the server tells of an error, by name: `constraint_name`, `message_detail`, ..."""
    source = getattr(error, "diag", None)
    names = ("constraint_name", "column_name", "message_detail")
    told = {name: getattr(source, name, None) for name in names}
    return {name: text for name, text in told.items() if text}
