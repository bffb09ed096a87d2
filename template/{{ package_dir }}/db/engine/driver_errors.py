"""Translation of driver errors, and the state of the transaction after an error."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from .. import errors
from . import dialect, driver
from .health import ONLY_READS

_VIOLATIONS: dict[str, type[errors.ConstraintViolation]] = {
    **dict.fromkeys(dialect.UNIQUE_VIOLATION, errors.UniqueViolation),
    **dict.fromkeys(dialect.FOREIGN_KEY_VIOLATION, errors.ForeignKeyViolation),
    **dict.fromkeys(dialect.STILL_REFERENCED, errors.ForeignKeyViolation),
    **dict.fromkeys(dialect.NOT_NULL_VIOLATION, errors.NotNullViolation),
    **dict.fromkeys(dialect.CHECK_VIOLATION, errors.CheckViolation),
}
_FAILURES: dict[str, tuple[type[errors.DataLayerError], str]] = {
    code: (kind, message)
    for codes, kind, message in (
        (dialect.SERIALIZATION_FAILURE, errors.SerializationFailure, "a concurrent change won"),
        (dialect.DEADLOCK, errors.Deadlock, "two transactions waited for each other"),
        (dialect.LOCK_TIMEOUT, errors.LockTimeout, "another transaction holds a lock"),
        (dialect.QUERY_TIMEOUT, errors.QueryTimeout, "the statement took too long"),
        (dialect.INVALID_VALUE, errors.InvalidValue, errors.InvalidValue.problem),
        (dialect.READ_ONLY, errors.ReadOnly, "the connection or the database is read-only"),
        (dialect.DISCONNECTED, errors.Unavailable, "the database has closed the connection"),
        (dialect.UNAVAILABLE, errors.Unavailable, "the database cannot be used"),
    )
    for code in codes
}

# Keys of a connection's `info`: COMMIT was sent, and the error that ended the transaction.
_COMMITTING, _FAILURE = "committing", "failure"


def attach(engine: AsyncEngine) -> None:
    """Translate every driver error of an engine, and record whether COMMIT was sent."""
    event.listen(engine.sync_engine, "handle_error", _handle_error, retval=True)
    event.listen(engine.sync_engine, "begin", _forget)
    event.listen(engine.sync_engine, "commit", _commit)
    event.listen(engine.sync_engine, "rollback", _forget)
    event.listen(engine.sync_engine, "rollback_savepoint", _rollback_savepoint)


def of_driver(
    error: Exception, connection: sa.Connection, table: sa.Table[Any]
) -> Exception | None:
    """Return the layer's error for a driver error that bypassed SQLAlchemy, as in a COPY.

    None means that `error` is not a driver error.
    """
    if isinstance(error, exc.DataError):
        kind = _invalid(error)
        return kind(kind.problem)
    if isinstance(error, OSError):
        return errors.Unavailable("the connection to the database was lost")
    if dialect.is_demoted(connection, error):
        return errors.Unavailable(ONLY_READS)
    if driver.error_code(error) is None:
        return None
    wrapped = exc.DBAPIError(f"COPY {table.fullname}", None, error, hide_parameters=True)
    return _by_code(error, wrapped, table) or wrapped


def _forget(connection: sa.Connection) -> None:
    # An invalidated connection has no `info` left.
    if connection.invalidated:
        return
    connection.info.pop(_COMMITTING, None)
    connection.info.pop(_FAILURE, None)


def _commit(connection: sa.Connection) -> None:
    options = connection.get_execution_options().items()
    if dialect.AUTOCOMMIT.items() <= options:
        # Each statement has committed by itself.
        return
    if failure := connection.info.get(_FAILURE):
        # The database would answer COMMIT with a rollback, and without an error.
        raise errors.TransactionRolledBack from failure
    # A transaction that only reads has nothing that could be lost or doubled.
    connection.info[_COMMITTING] = not dialect.is_read_only(connection)


def _rollback_savepoint(connection: sa.Connection, name: str, context: None) -> None:
    if connection.invalidated:
        return
    failure: BaseException | None = connection.info.get(_FAILURE)
    if failure is not None and driver.error_code(failure) in dialect.ENDS_TRANSACTION:
        # The database would report a missing savepoint instead.
        raise _by_code(failure, None, None) or failure
    connection.info.pop(_FAILURE, None)


def _handle_error(context: ExceptionContext) -> BaseException | None:
    original = context.original_exception
    if not isinstance(original, Exception):
        return None
    error, connection = _translate(context), context.connection
    code = driver.error_code(original)
    demoted = connection is not None and dialect.is_demoted(connection, original)
    if demoted:
        error = errors.Unavailable(ONLY_READS)
    lost = context.is_disconnect or isinstance(original, OSError) or code in dialect.DISCONNECTED
    # A driver that fails to roll back, because the connection is busy, leaves the connection in the
    # middle of a transaction. Errors of statements, and of fetching their rows, have a context.
    busy = not (context.statement or context.execution_context or code)
    context.is_disconnect = lost or busy or demoted
    if isinstance(original, TimeoutError) or busy:
        # Drop this connection only. The ping finds out whether the others still work.
        context.invalidate_pool_on_disconnect = False
    # The connection on which SQLAlchemy first inspects the server has no transaction and no `info`.
    if connection is None or connection.invalidated or not connection.in_transaction():
        return error
    if (lost or busy) and connection.info.get(_COMMITTING):
        if not lost and driver.is_refusal(original):
            return errors.ConcurrentSessionUse()
        return errors.CommitOutcomeUnknown(
            "the connection was lost during COMMIT, and the work may be committed or not: look for"
            " the rows before you repeat the work"
        )
    # A statement that was not sent has not changed the transaction.
    sent = context.execution_context is not None
    ended = (errors.SerializationFailure, errors.Deadlock, errors.Unavailable)
    if isinstance(error, ended) or (sent and dialect.ERROR_ABORTS):
        connection.info[_FAILURE] = original
    return error


def _translate(context: ExceptionContext) -> Exception | None:
    """Return the layer's error for a driver error, or None to keep SQLAlchemy's own.

    SQLSTATE or the database's own code decides, never the text of a message:
    https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    original = context.original_exception
    if error := _by_code(original, context.sqlalchemy_exception, _table(context)):
        return error
    if _refuses_value(context):
        # The layer's message is safe. Messages of other types and of drivers may contain values.
        own, kind = isinstance(original, errors.InvalidValue), _invalid(original)
        return kind(str(original) if own else kind.problem)
    if isinstance(original, TimeoutError):
        # A server that can be reached ends slow statements itself, before this timeout.
        return errors.Unavailable("the server did not answer within DATABASE_COMMAND_TIMEOUT")
    if context.is_disconnect or isinstance(original, OSError):
        return errors.Unavailable("the connection to the database was lost")
    return None


def _by_code(
    original: BaseException, wrapped: BaseException | None, table: sa.Table[Any] | None
) -> errors.DataLayerError | None:
    code = driver.error_code(original) or ""
    # `wrapped` decides too: some drivers use another class than IntegrityError for a violation.
    if isinstance(wrapped, exc.DBAPIError) and code in _VIOLATIONS:
        return _violation(_VIOLATIONS[code], original, wrapped, table)
    if dialect.is_stale_statement(original):
        return errors.SchemaChanged("a table was altered during the transaction: try again")
    if code in _FAILURES:
        failure, message = _FAILURES[code]
        if failure is errors.InvalidValue and _invalid(original) is errors.InvalidType:
            failure, message = errors.InvalidType, errors.InvalidType.problem
        advice = f": {dialect.ADVICE[code]}" if code in dialect.ADVICE else ""
        return failure(f"{message} ({code}){advice}")
    return None


def _invalid(error: BaseException) -> type[errors.InvalidValue]:
    """Return InvalidType if the error is about the Python type of a value, else InvalidValue."""
    cause: BaseException | None = error
    while cause and not isinstance(cause, TypeError | AttributeError):
        cause = cause.__cause__
    return errors.InvalidType if cause else errors.InvalidValue


def _refuses_value(context: ExceptionContext) -> bool:
    """Return whether a column's type, or the driver, could not convert a value."""
    original, wrapped = context.original_exception, context.sqlalchemy_exception
    if isinstance(wrapped, exc.DataError):
        # An error with a code is from the server, for example for a division by zero.
        return driver.error_code(original) is None
    if context.execution_context is None and isinstance(wrapped, exc.StatementError):
        # Enum raises LookupError itself. Subclasses, such as KeyError, are mistakes in code.
        kinds = (ValueError, TypeError, AttributeError, ArithmeticError)
        return isinstance(original, kinds) or type(original) is LookupError
    return isinstance(original, (OverflowError, UnicodeEncodeError, TypeError))


def _violation(
    kind: type[errors.ConstraintViolation],
    original: BaseException,
    wrapped: exc.DBAPIError,
    table: sa.Table[Any] | None,
) -> errors.ConstraintViolation:
    constraint, columns = dialect.violation(original, table)
    constraints = dict(_constraints(table))
    if columns and not constraint and kind is errors.UniqueViolation:
        constraint = next((name for name, own in constraints.items() if own == columns), None)
    fields = columns or constraints.get(constraint or "", ())
    if kind is not errors.ForeignKeyViolation:
        return kind(wrapped, constraint, fields)
    referenced = _is_referenced(original, wrapped, table, fields)
    # If other rows refer to this one, then the columns are those of the other table.
    own_fields = fields if referenced is False else ()
    return errors.ForeignKeyViolation(wrapped, constraint, own_fields, referenced=referenced)


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
        # It fails either because of a foreign key of this table, or of one that refers to it.
        keys = table.foreign_key_constraints if table is not None else ()
        return fields not in [tuple(key.column_keys) for key in keys]
    return verb == "DELETE"


def _table(context: ExceptionContext) -> sa.Table[Any] | None:
    """Return the table that the failed statement wrote to; a COMMIT has no statement."""
    compiled = context.execution_context.compiled if context.execution_context else None
    # The table of some statements is an alias or a join.
    table: sa.Table[Any] | None = getattr(compiled and compiled.statement, "table", None)
    return table if isinstance(table, sa.Table) else None


def _constraints(table: sa.Table[Any] | None) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Return the names and columns of a table's constraints and indexes."""
    for item in (*getattr(table, "constraints", ()), *getattr(table, "indexes", ())):
        columns = tuple(column.key for column in getattr(item, "columns", ()))
        yield str(item.name), item.info.get("columns", columns)
