"""What drivers raise, told in the layer's own errors; and where it leaves the transaction."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from ..errors import (
    CheckViolation,
    CommitOutcomeUnknown,
    ConcurrentSessionUse,
    ConstraintViolation,
    DataLayerError,
    Deadlock,
    ForeignKeyViolation,
    InvalidValue,
    LockTimeout,
    NotNullViolation,
    QueryTimeout,
    ReadOnly,
    SchemaChanged,
    SerializationFailure,
    TransactionRolledBack,
    Unavailable,
    UniqueViolation,
)
from . import dialect, driver

_VIOLATIONS: dict[str, type[ConstraintViolation]] = {
    **dict.fromkeys(dialect.UNIQUE_VIOLATION, UniqueViolation),
    **dict.fromkeys(dialect.FOREIGN_KEY_VIOLATION, ForeignKeyViolation),
    **dict.fromkeys(dialect.STILL_REFERENCED, ForeignKeyViolation),
    **dict.fromkeys(dialect.NOT_NULL_VIOLATION, NotNullViolation),
    **dict.fromkeys(dialect.CHECK_VIOLATION, CheckViolation),
}
_FAILURES: dict[str, tuple[type[DataLayerError], str]] = {
    code: (kind, message)
    for codes, kind, message in (
        (dialect.SERIALIZATION_FAILURE, SerializationFailure, "a concurrent change won"),
        (dialect.DEADLOCK, Deadlock, "two transactions waited for each other"),
        (dialect.LOCK_TIMEOUT, LockTimeout, "another transaction holds a lock"),
        (dialect.QUERY_TIMEOUT, QueryTimeout, "the statement took too long"),
        (dialect.INVALID_VALUE, InvalidValue, InvalidValue.problem),
        (dialect.READ_ONLY, ReadOnly, "this connection, or the database, only reads"),
        (dialect.UNAVAILABLE, Unavailable, "the database cannot be used"),
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
        raise TransactionRolledBack from failure
    connection.info[_COMMITTING] = True


def _rollback_savepoint(connection: sa.Connection, name: str, context: None) -> None:
    if connection.invalidated:
        return
    failure: BaseException | None = connection.info.get(_FAILURE)
    if failure is not None and driver.error_code(failure) in dialect.ENDS_TRANSACTION:
        # The database would say that there is no such savepoint.
        raise _judge(failure, None, None) or failure
    connection.info.pop(_FAILURE, None)


def _handle_error(context: ExceptionContext) -> BaseException | None:
    original = context.original_exception
    if not isinstance(original, Exception):
        return None
    error = translate(context)
    lost = context.is_disconnect or isinstance(original, OSError)
    lost = lost or driver.error_code(original) in dialect.DISCONNECTED
    # What the driver itself could not end, since it was busy, would be handed out again and again
    # in the middle of a transaction. Of a statement, or of fetching its rows, there is a context.
    busy = not (context.statement or context.execution_context or driver.error_code(original))
    context.is_disconnect = lost or busy
    if isinstance(original, TimeoutError) or busy:
        # Only this one: whether the others still work is for the next user of each to see.
        context.invalidate_pool_on_disconnect = False
    connection = context.connection
    # In none is what SQLAlchemy asks of an engine's first connection, which has no `info`.
    if connection is None or connection.invalidated or not connection.in_transaction():
        return error
    if context.is_disconnect and connection.info.get(_COMMITTING):
        if not lost and driver.is_refusal(original):
            return ConcurrentSessionUse()
        return CommitOutcomeUnknown(
            "the connection was lost during COMMIT, which took effect or did not: look for the"
            " rows before doing the work again"
        )
    # A statement that never left did nothing to the transaction.
    sent = context.execution_context is not None
    undone = isinstance(error, (SerializationFailure, Deadlock, Unavailable))
    if undone or (sent and dialect.ERROR_ABORTS):
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
    if _refuses_value(context):
        # Its own words are safe; those of other types and of drivers may hold the value.
        return InvalidValue(
            str(original) if isinstance(original, InvalidValue) else InvalidValue.problem
        )
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
    if isinstance(error, exc.DataError):
        return InvalidValue(InvalidValue.problem)
    if driver.error_code(error) is None:
        return None
    wrapped = exc.DBAPIError(f"COPY {table.fullname}", None, error, hide_parameters=True)
    return _judge(error, wrapped, table) or wrapped


def _judge(
    original: BaseException,
    wrapped: BaseException | None,
    table: sa.Table[Any] | None,
) -> DataLayerError | None:
    code = driver.error_code(original) or ""
    # Some drivers have another class for some of them.
    if isinstance(wrapped, exc.DBAPIError) and code in _VIOLATIONS:
        return _violation(_VIOLATIONS[code], original, wrapped, table)
    if dialect.is_stale_statement(original):
        return SchemaChanged("a table changed under this transaction: try again")
    if code in _FAILURES:
        failure, message = _FAILURES[code]
        advice = f": {dialect.ADVICE[code]}" if code in dialect.ADVICE else ""
        return failure(f"{message} ({code}){advice}")
    return None


def _refuses_value(context: ExceptionContext) -> bool:
    """Whether a column's type, or the driver, could not take a value to the database."""
    original, wrapped = context.original_exception, context.sqlalchemy_exception
    if isinstance(wrapped, exc.DataError):
        # With a code it is the server that speaks: of a division by zero too.
        return driver.error_code(original) is None
    if context.execution_context is None and isinstance(wrapped, exc.StatementError):
        # An Enum's; its subclasses are somebody's bug.
        kinds = (ValueError, TypeError, AttributeError, ArithmeticError)
        return isinstance(original, kinds) or type(original) is LookupError
    return isinstance(original, (OverflowError, UnicodeEncodeError, TypeError))


def _violation(
    kind: type[ConstraintViolation],
    original: BaseException,
    wrapped: exc.DBAPIError,
    table: sa.Table[Any] | None,
) -> ConstraintViolation:
    constraint, columns = dialect.violation(original, table)
    if columns and not constraint and kind is UniqueViolation:
        constraint = _constraint_of(table, columns)
    fields = columns or _columns_of(table, constraint)
    if kind is not ForeignKeyViolation:
        return kind(wrapped, constraint, fields)
    referenced = _is_referenced(original, wrapped, table, fields)
    # Otherwise they may be those of the other table.
    own = fields if referenced is False else ()
    return ForeignKeyViolation(wrapped, constraint, own, referenced=referenced)


def _is_referenced(
    original: BaseException,
    wrapped: exc.DBAPIError,
    table: sa.Table[Any] | None,
    fields: tuple[str, ...],
) -> bool | None:
    """Return whether other rows refer to the row (True), or it refers to a missing one (False).

    None stands for not known: SQLite names no columns, and a COMMIT has no statement.
    """
    if driver.error_code(original) in dialect.STILL_REFERENCED:
        return True
    verb = (wrapped.statement or "").lstrip()[:6].upper()
    if not fields or not verb:
        return None
    if verb == "UPDATE":
        # It is refused for what the row refers to, or for what refers to the row.
        keys = table.foreign_key_constraints if table is not None else ()
        return fields not in [tuple(key.column_keys) for key in keys]
    return verb == "DELETE"


def _table(context: ExceptionContext) -> sa.Table[Any] | None:
    """The table that the failed statement wrote to; at COMMIT there is no statement."""
    compiled = context.execution_context.compiled if context.execution_context else None
    # Some statements have a table of another kind: an alias, a join.
    table: sa.Table[Any] | None = getattr(compiled and compiled.statement, "table", None)
    return table if isinstance(table, sa.Table) else None


def _columns_of(table: sa.Table[Any] | None, name: str | None) -> tuple[str, ...]:
    return next((columns for known, columns in _constraints(table) if known == name), ())


def _constraint_of(table: sa.Table[Any] | None, fields: tuple[str, ...]) -> str | None:
    return next((name for name, columns in _constraints(table) if columns == fields), None)


def _constraints(table: sa.Table[Any] | None) -> Iterable[tuple[str, tuple[str, ...]]]:
    """The names and columns of a table's constraints and indexes."""
    for item in (*getattr(table, "constraints", ()), *getattr(table, "indexes", ())):
        columns = tuple(column.key for column in getattr(item, "columns", ()))
        yield str(item.name), item.info.get("columns", columns)
