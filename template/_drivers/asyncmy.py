"""What is particular to asyncmy: how it connects, and what it tells of an error."""

import math

from .settings import DatabaseSettings


def connect_arguments(settings: DatabaseSettings) -> dict[str, object]:
    """What asyncmy.connect() takes, times in seconds.

    https://github.com/long2ice/asyncmy/blob/dev/asyncmy/connection.pyx
    """
    lock = math.ceil(settings.lock_timeout)
    session = [
        # The database's clock and its dates are then UTC, whatever the machine's are.
        "time_zone = '+00:00'",
        # A value that does not fit is an error, not another value.
        "sql_mode = CONCAT(@@sql_mode, ',TRADITIONAL')",
        # Whole seconds; the second is for a table that someone alters.
        f"innodb_lock_wait_timeout = {lock}",
        f"lock_wait_timeout = {lock}",
        # MariaDB stops any statement, MySQL a SELECT alone; each takes the other's for a comment.
        f"max_statement_time = {settings.command_timeout} */",
        f"max_execution_time = {settings.command_timeout * 1000:.0f} */",
    ]
    return {
        "charset": "utf8mb4",
        "connect_timeout": settings.connect_timeout,
        # The server had its chance to stop the statement: it has vanished.
        "read_timeout": settings.command_timeout + 1,
        "program_name": settings.application_name,
        "init_command": f"SET {', '.join(session[:4])} /*M!, {session[4]} /*!80000, {session[5]}",
    }


def error_code(error: BaseException) -> str | None:
    """The server's or the client's number of an error; None if it has none."""
    code = error.args[0] if error.args else None
    return str(code) if isinstance(code, int) else None


def diagnostics(error: BaseException) -> dict[str, str]:
    """What the server tells of an error, by name: with MySQL a `message` and no more."""
    return {"message": str(error.args[1])} if len(error.args) > 1 else {"message": str(error)}
