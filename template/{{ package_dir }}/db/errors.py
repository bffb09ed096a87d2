"""Every error that the data layer raises: the same classes for every driver."""

from collections.abc import Iterable
from typing import Any, ClassVar

from sqlalchemy import exc


class DataLayerError(Exception):
    """The base of all errors of the layer."""

    # By default pickle calls the class with the message alone. For most of these classes that
    # fails, and the failure breaks the process pool that transfers the error.
    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args), self.__dict__


def _restore(kind: type[DataLayerError], args: tuple[object, ...]) -> DataLayerError:
    return kind.__new__(kind, *args)


class NotFound(DataLayerError):
    """No row has this key (HTTP 404)."""

    def __init__(self, model: type, key: object) -> None:
        super().__init__(f"no {model.__name__} has the key {key!r}")
        self.model = model
        self.key = key


class _RefusedNames(DataLayerError):
    """Names of fields that are not among the `allowed` ones."""

    limit = ""

    def __init__(self, model: type, fields: Iterable[str], allowed: Iterable[str]) -> None:
        self.model = model
        self.fields = tuple(sorted(fields))
        self.allowed = tuple(sorted(allowed))
        super().__init__(
            f"{model.__name__} accepts {', '.join(self.allowed) or 'no field'}"
            f" here{self.limit}, not {', '.join(map(repr, self.fields))}"
        )


class UnknownField(_RefusedNames, ValueError):
    """A name from outside, for example of a sort, is not declared or comes twice (HTTP 422)."""

    limit = ", each once"


class NotWritable(_RefusedNames, TypeError):
    """The code sets a field that the repository does not declare as writable (HTTP 500)."""


class InvalidCursor(DataLayerError, ValueError):
    """The cursor is malformed, or belongs to another model or another sort (HTTP 422)."""


class InvalidValue(DataLayerError, ValueError):
    """A value does not fit its column, for example it is too large or too long (HTTP 422).

    The message never contains the value. The driver's error, in `__cause__`, may contain it.

    Attributes:
        fields: The name that the value came with, where it is known: that of a filter.
    """

    problem = "a value does not fit its column"
    fields: tuple[str, ...] = ()


class InvalidType(InvalidValue, TypeError):
    """A value has a Python type that its column does not take: correct the code (HTTP 500)."""

    problem = "a value has the wrong Python type for its column"


class StaleRow(DataLayerError):
    """Another transaction changed the row after it was read: read it again (HTTP 409)."""


class ConstraintViolation(DataLayerError, exc.IntegrityError):
    """A constraint refused the change. This is also a SQLAlchemy IntegrityError.

    Attributes:
        constraint: The name of the constraint; None if the database does not report it.
        fields: The columns of the constraint, as far as the database reports them.
    """

    problem = "a constraint refuses the change"

    def __init__(
        self, original: exc.DBAPIError, constraint: str | None, fields: tuple[str, ...]
    ) -> None:
        cause = original.orig or original
        exc.IntegrityError.__init__(self, original.statement, None, cause, hide_parameters=True)
        self.constraint = constraint
        self.fields = fields

    # The driver's message may quote values of the row. It stays in `orig`, so logs do not show it.
    def __str__(self) -> str:
        fields = f": {', '.join(self.fields)}" if self.fields else ""
        return self.problem + fields + (f" ({self.constraint})" if self.constraint else "")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class UniqueViolation(ConstraintViolation):
    """Another row already has this value (HTTP 409)."""

    problem = "another row has the same value"


class ForeignKeyViolation(ConstraintViolation):
    """A change would leave a row that refers to a missing row (HTTP 409).

    Attributes:
        referenced: True if other rows still refer to the row that is deleted or changes its key.
            False if the row that is referred to is missing; `fields` are then the columns that
            refer to it. None if the database does not report which: SQLite, and a constraint that
            is deferred to the commit.
    """

    problem = "a foreign key is violated"
    _problems: ClassVar = {
        True: "other rows still refer to this row",
        False: "the row refers to a row that does not exist",
        None: problem,
    }

    def __init__(
        self,
        original: exc.DBAPIError,
        constraint: str | None,
        fields: tuple[str, ...],
        *,
        referenced: bool | None,
    ) -> None:
        super().__init__(original, constraint, fields)
        self.referenced = referenced
        self.problem = self._problems[referenced]


class NotNullViolation(ConstraintViolation):
    """A column without a value must not be NULL: correct the code or its schema (HTTP 500)."""

    problem = "a required value is missing"


class CheckViolation(ConstraintViolation):
    """A CHECK constraint does not allow the value (HTTP 422)."""

    problem = "a CHECK constraint does not allow the value"


class SerializationFailure(DataLayerError):
    """The transaction conflicts with a concurrent one: repeat the whole unit of work."""


class Deadlock(DataLayerError):
    """Two transactions waited for each other: repeat the whole unit of work."""


class LockTimeout(DataLayerError):
    """Another transaction held a lock for longer than DATABASE_LOCK_TIMEOUT."""


class QueryTimeout(DataLayerError):
    """A statement took longer than DATABASE_STATEMENT_TIMEOUT: nothing was committed."""


class PoolExhausted(DataLayerError):
    """All connections of the pool were in use for DATABASE_POOL_TIMEOUT seconds (HTTP 503)."""


class Unavailable(DataLayerError):
    """The database cannot be reached, or the connection was lost before COMMIT (HTTP 503)."""


class CommitOutcomeUnknown(DataLayerError):
    """The connection was lost during COMMIT: all of the work was committed, or nothing."""


class TransactionRolledBack(DataLayerError):
    """The code caught an error that rolled back the transaction or the savepoint."""

    def __init__(self) -> None:
        super().__init__(
            "the code caught an error that rolled back the transaction or the savepoint: do not catch"
            " the error, or put what may fail into `async with session.begin_nested()`"
        )


class SchemaChanged(DataLayerError):
    """A table was altered during the transaction: repeat the whole unit of work."""


class ReadOnly(DataLayerError):
    """The code writes or locks in a session, or on a database, that only reads."""


class ConcurrentSessionUse(DataLayerError):
    """Two tasks used one session at the same time: give each task a session of its own."""

    def __init__(self) -> None:
        super().__init__(
            "another task is using this session, and a session serves one task at a time:"
            " open a session in each task, or call database.gather()"
        )


# After these errors nothing of the unit of work is in the database: it can be repeated safely.
RETRYABLE: tuple[type[DataLayerError], ...] = (
    SerializationFailure,
    Deadlock,
    SchemaChanged,
    Unavailable,
)
