"""The errors of the data layer, the same for every driver, and their translation."""

from collections.abc import Iterable

from sqlalchemy import exc
from sqlalchemy.engine import ExceptionContext

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
    """The database cannot be reached, or the connection was lost (503)."""


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
        (dialect.UNAVAILABLE, Unavailable, "the database does not take this connection"),
    )
    for code in codes
}


def translate(context: ExceptionContext) -> BaseException | None:
    """The layer's error for what a driver raised, or None where SQLAlchemy's own says it best.

    For the engine's `handle_error` event. Judged by SQLSTATE or the database's own code, never by
    the words of a message: https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    original, wrapped = context.original_exception, context.sqlalchemy_exception
    code = driver.error_code(original) or ""
    # Some drivers have another class for some of them.
    if isinstance(wrapped, exc.DBAPIError) and code in _VIOLATIONS:
        kind, table = _VIOLATIONS[code], _table(context)
        constraint, columns = dialect.violation(original)
        # MySQL calls every primary key so.
        if constraint == "PRIMARY":
            constraint = getattr(getattr(table, "primary_key", None), "name", None)
        if columns and not constraint and kind is UniqueViolation:
            constraint = _constraint_of(table, columns)
        return kind(wrapped, constraint, columns or _columns_of(table, constraint))
    if code in _FAILURES:
        failure, message = _FAILURES[code]
        return failure(f"{message} ({code})")
    if isinstance(original, TimeoutError):
        return QueryTimeout("the database did not answer within DATABASE_COMMAND_TIMEOUT")
    if context.is_disconnect or isinstance(original, OSError):
        context.is_disconnect = True
        return Unavailable("the connection to the database was lost")
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
