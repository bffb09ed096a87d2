"""The errors of the data layer, the same for every driver, and their translation."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from . import dialect, driver


class DatabaseError(Exception):
    """Any failure that the layer names; catch it where one answer serves them all."""


class NotFound(DatabaseError):
    """No row has this key; a web service answers 404."""

    def __init__(self, model: type, key: object) -> None:
        super().__init__(f"no {model.__name__} has the key {key!r}")
        self.model = model
        self.key = key


class UnknownField(DatabaseError, ValueError):
    """A field that cannot be written or sorted by; a web service answers 422."""

    def __init__(self, model: type, fields: Iterable[str], allowed: Iterable[str]) -> None:
        self.model = model
        self.fields = tuple(sorted(fields))
        self.allowed = tuple(sorted(allowed))
        super().__init__(
            f"{model.__name__} takes {', '.join(self.allowed) or 'no field'} here,"
            f" not {', '.join(self.fields)}"
        )


class InvalidCursor(DatabaseError, ValueError):
    """A cursor of another model or another sort, or none at all; a web service answers 422."""


class StaleVersion(DatabaseError):
    """Someone else changed the row since it was read: read it again and decide anew (409)."""


class ConstraintViolation(DatabaseError, exc.IntegrityError):
    """A constraint refused the change; also SQLAlchemy's IntegrityError, for handlers of that.

    `constraint` is its name, None where the database does not tell; `fields` are its columns.
    """

    problem = "a constraint refuses"

    def __init__(
        self,
        original: exc.DBAPIError,
        constraint: str | None,
        fields: tuple[str, ...],
    ) -> None:
        cause = original.orig or original
        exc.IntegrityError.__init__(self, original.statement, None, cause, hide_parameters=True)
        self.constraint = constraint
        self.fields = fields

    # The driver's own text may quote the row's values: it stays in `orig`, out of logs.
    def __str__(self) -> str:
        what = ", ".join(self.fields) or "the row"
        return f"{self.problem}: {what}" + (f" ({self.constraint})" if self.constraint else "")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class UniqueViolation(ConstraintViolation):
    """The value is taken; a web service answers 409 and names the fields."""

    problem = "another row has the same value"


class ForeignKeyViolation(ConstraintViolation):
    """The row refers to one that is not there, or is referred to by one that is."""

    problem = "a row would refer to one that is not there"


class NotNullViolation(ConstraintViolation):
    """A value is missing that the table insists on."""

    problem = "a value is missing"


class CheckViolation(ConstraintViolation):
    """A value is outside what a check of the table allows."""

    problem = "a value is not allowed"


class SerializationFailure(DatabaseError):
    """Another transaction got in the way: the whole unit of work may be tried again."""


class Deadlock(DatabaseError):
    """Two transactions waited for each other: the whole unit of work may be tried again."""


class LockTimeout(DatabaseError):
    """Another transaction held the row or table for longer than a lock is waited for."""


class QueryTimeout(DatabaseError):
    """A statement took longer than it may; nothing of its transaction was kept."""


class PoolExhausted(DatabaseError):
    """Every connection of the pool was in use for the whole DATABASE_POOL_TIMEOUT (503)."""


class Unavailable(DatabaseError):
    """The database cannot be reached, or the connection was lost before COMMIT (503)."""


class CommitUnknown(DatabaseError):
    """The connection was lost during COMMIT: the work is in the database, or none of it is."""


class RolledBack(DatabaseError):
    """The unit's error was swallowed, and the whole of it, or of its savepoint, was undone."""

    def __init__(self) -> None:
        super().__init__(
            "an error was swallowed after which the whole transaction or savepoint is undone: let"
            " it out, or put what may fail into `async with session.begin_nested()`"
        )


class SchemaChanged(DatabaseError):
    """A table changed under the transaction: the whole unit of work may be tried again."""


class ReadOnly(DatabaseError):
    """Something would be written, or locked, where there is only reading."""


class SharedSession(DatabaseError):
    """Two tasks used one session at the same time: give each its own (`database.gather`)."""

    def __init__(self) -> None:
        super().__init__(
            "another task is using this session: a session belongs to one task at a time."
            " Open one in each task, or call database.gather()"
        )


# After these the whole unit of work may be replayed: nothing of it is in the database.
RETRYABLE: tuple[type[DatabaseError], ...] = (
    SerializationFailure,
    Deadlock,
    SchemaChanged,
    Unavailable,
)

_VIOLATIONS: dict[str, type[ConstraintViolation]] = {
    **dict.fromkeys(dialect.UNIQUE_VIOLATION, UniqueViolation),
    **dict.fromkeys(dialect.FOREIGN_KEY_VIOLATION, ForeignKeyViolation),
    **dict.fromkeys(dialect.NOT_NULL_VIOLATION, NotNullViolation),
    **dict.fromkeys(dialect.CHECK_VIOLATION, CheckViolation),
}
_FAILURES: dict[str, tuple[type[DatabaseError], str]] = {
    code: (kind, message)
    for codes, kind, message in (
        (dialect.SERIALIZATION_FAILURE, SerializationFailure, "a concurrent change won"),
        (dialect.DEADLOCK, Deadlock, "two transactions waited for each other"),
        (dialect.LOCK_TIMEOUT, LockTimeout, "another transaction holds a lock"),
        (dialect.QUERY_TIMEOUT, QueryTimeout, "the statement took too long"),
        (dialect.READ_ONLY, ReadOnly, "this connection, or the database, only reads"),
        (dialect.UNAVAILABLE, Unavailable, "the database does not take this connection"),
        (dialect.DISCONNECTED, Unavailable, "the database has ended this connection"),
    )
    for code in codes
}


def attach(engine: AsyncEngine) -> None:
    """Have each error of an engine translated, and know by it where the transaction stands."""
    event.listen(engine.sync_engine, "handle_error", _handle_error, retval=True)
    event.listen(engine.sync_engine, "begin", _forget)
    event.listen(engine.sync_engine, "commit", _commit)
    event.listen(engine.sync_engine, "rollback", _forget)
    event.listen(engine.sync_engine, "rollback_savepoint", _rollback_savepoint)


# What a connection's `info` holds: that COMMIT was sent, and the error that undid a transaction.
_COMMITTING, _FAILURE = "committing", "failure"


def _forget(connection: sa.Connection) -> None:
    # What was known of a connection is gone with it.
    if connection.invalidated:
        return
    connection.info.pop(_COMMITTING, None)
    connection.info.pop(_FAILURE, None)


def _commit(connection: sa.Connection) -> None:
    autocommit = connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
    failure = None if autocommit else connection.info.get(_FAILURE)
    if failure:
        # The database would answer COMMIT with a rollback, and no error.
        raise RolledBack from failure
    connection.info[_COMMITTING] = True


def _rollback_savepoint(connection: sa.Connection, name: str, context: None) -> None:
    if not connection.invalidated:
        connection.info.pop(_FAILURE, None)


def _handle_error(context: ExceptionContext) -> BaseException | None:
    original = context.original_exception
    if not isinstance(original, Exception):
        return None
    error = translate(context)
    lost = isinstance(original, OSError) or driver.error_code(original) in dialect.DISCONNECTED
    # What the driver itself could not end, since it was busy, would be handed out again and again
    # in the middle of a transaction. Of a statement, or of fetching its rows, there is a context.
    busy = not (context.statement or context.execution_context or driver.error_code(original))
    context.is_disconnect = context.is_disconnect or lost or busy
    if isinstance(original, TimeoutError) or busy:
        # Only this one: whether the others still work is for the next user of each to see.
        context.invalidate_pool_on_disconnect = False
    connection = context.connection
    if connection is None or connection.invalidated:
        return error
    if context.is_disconnect and connection.info.get(_COMMITTING):
        return CommitUnknown(
            "the connection was lost during COMMIT, which took effect or did not: look for the"
            " rows before doing the work again"
        )
    if dialect.ERROR_ABORTS or isinstance(error, (SerializationFailure, Deadlock, Unavailable)):
        connection.info[_FAILURE] = original
    return error


def translate(context: ExceptionContext) -> Exception | None:
    """The layer's error for what a driver raised, or None where SQLAlchemy's own says it best.

    Judged by SQLSTATE or the database's own code, never by the words of a message:
    https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    original, wrapped = context.original_exception, context.sqlalchemy_exception
    if told := _judge(original, wrapped, _table(context)):
        return told
    if isinstance(original, TimeoutError):
        # The server ends a statement that takes too long by itself, if it is there.
        return Unavailable("the server did not answer within DATABASE_COMMAND_TIMEOUT")
    if context.is_disconnect or isinstance(original, OSError):
        return Unavailable("the connection to the database was lost")
    return None


def of_driver(error: Exception, table: sa.Table[Any]) -> Exception | None:
    """The error that a statement would raise for what a driver raised by itself; None for others.

    A COPY on the raw connection goes by SQLAlchemy, and so by `translate`.
    """
    if driver.error_code(error) is None:
        return None
    wrapped = exc.DBAPIError(f"COPY {table.fullname}", None, error, hide_parameters=True)
    return _judge(error, wrapped, table) or wrapped


def _judge(
    original: BaseException,
    wrapped: BaseException | None,
    table: object,
) -> DatabaseError | None:
    code = driver.error_code(original) or ""
    # Some drivers have another class for some of them.
    if isinstance(wrapped, exc.DBAPIError) and code in _VIOLATIONS:
        kind = _VIOLATIONS[code]
        constraint, columns = dialect.violation(original)
        # MySQL calls every primary key so.
        if constraint == "PRIMARY":
            constraint = getattr(getattr(table, "primary_key", None), "name", None)
        if columns and not constraint and kind is UniqueViolation:
            constraint = _constraint_of(table, columns)
        return kind(wrapped, constraint, columns or _columns_of(table, constraint))
    if dialect.is_stale_statement(original):
        return SchemaChanged("a table changed under this transaction: try again")
    if code in _FAILURES:
        failure, message = _FAILURES[code]
        return failure(f"{message} ({code})")
    return None


def _table(context: ExceptionContext) -> object:
    """The table that the failed statement wrote to; at COMMIT there is no statement."""
    compiled = context.execution_context.compiled if context.execution_context else None
    return getattr(compiled.statement, "table", None) if compiled else None


def _columns_of(table: object, name: str | None) -> tuple[str, ...]:
    return next((columns for known, columns in _constraints(table) if known == name), ())


def _constraint_of(table: object, fields: tuple[str, ...]) -> str | None:
    return next((name for name, columns in _constraints(table) if columns == fields), None)


def _constraints(table: object) -> Iterable[tuple[str, tuple[str, ...]]]:
    """The names and columns of a table's constraints and indexes."""
    for item in (*getattr(table, "constraints", ()), *getattr(table, "indexes", ())):
        columns = tuple(column.key for column in getattr(item, "columns", ()))
        yield str(item.name), item.info.get("columns", columns)
