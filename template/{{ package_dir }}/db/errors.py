"""The errors of the data layer, the same for every driver."""

from collections.abc import Iterable
from typing import Any, ClassVar

from sqlalchemy import exc


class DataLayerError(Exception):
    """Any failure that the layer names; catch it where one answer serves them all."""

    # Python would make it anew from its text, and break the pool of the process that waits for it.
    def __reduce__(self) -> tuple[Any, ...]:
        return _copy, (type(self), self.args), self.__dict__


def _copy(kind: type[DataLayerError], args: tuple[object, ...]) -> DataLayerError:
    return kind.__new__(kind, *args)


class NotFound(DataLayerError):
    """No row has this key; a web service answers 404."""

    def __init__(self, model: type, key: object) -> None:
        super().__init__(f"no {model.__name__} has the key {key!r}")
        self.model = model
        self.key = key


class _RefusedNames(DataLayerError):
    """Names of fields that are not among those `allowed`."""

    def __init__(self, model: type, fields: Iterable[str], allowed: Iterable[str]) -> None:
        self.model = model
        self.fields = tuple(sorted(fields))
        self.allowed = tuple(sorted(allowed))
        super().__init__(
            f"{model.__name__} takes {', '.join(self.allowed) or 'no field'} here,"
            f" not {', '.join(map(repr, self.fields))}"
        )


class UnknownField(_RefusedNames, ValueError):
    """A name from outside, such as a sort, that the repository does not declare (422)."""


class NotWritable(_RefusedNames, TypeError):
    """A name in code that `create`, `update` or a bulk write may not set: correct the code."""


class InvalidCursor(DataLayerError, ValueError):
    """A cursor of another model or another sort, or none at all; a web service answers 422."""


class InvalidValue(DataLayerError, ValueError):
    """A value that does not fit its column: too large, too long, of no such kind (422).

    It does not repeat the value. The driver's error, the `__cause__`, may.
    """

    problem = "a value does not fit its column"


class StaleRow(DataLayerError):
    """Someone else changed the row since it was read: read it again and decide anew (409)."""


class ConstraintViolation(DataLayerError, exc.IntegrityError):
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
        fields = f": {', '.join(self.fields)}" if self.fields else ""
        return self.problem + fields + (f" ({self.constraint})" if self.constraint else "")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class UniqueViolation(ConstraintViolation):
    """The value is taken; a web service answers 409 and names the fields."""

    problem = "another row has the same value"


class ForeignKeyViolation(ConstraintViolation):
    """A row refers to one that is not there, or would lose the row that it refers to.

    `referenced` is True where other rows still refer to the row that would go or change its key,
    False where the row that is referred to is missing (`fields` are those that refer), and None
    where the database does not tell: SQLite, and a constraint that is deferred to the commit.
    """

    problem = "a foreign key is violated"
    _problems: ClassVar = {
        True: "other rows refer to this one",
        False: "a row would refer to one that is not there",
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
    """A value is missing that the table insists on."""

    problem = "a value is missing"


class CheckViolation(ConstraintViolation):
    """A value is outside what a check of the table allows."""

    problem = "a value is not allowed"


class SerializationFailure(DataLayerError):
    """Another transaction got in the way: the whole unit of work may be tried again."""


class Deadlock(DataLayerError):
    """Two transactions waited for each other: the whole unit of work may be tried again."""


class LockTimeout(DataLayerError):
    """Another transaction held the row or table for longer than a lock is waited for."""


class QueryTimeout(DataLayerError):
    """A statement took longer than it may; nothing of its transaction was kept."""


class PoolExhausted(DataLayerError):
    """Every connection of the pool was in use for the whole DATABASE_POOL_TIMEOUT (503)."""


class Unavailable(DataLayerError):
    """The database cannot be reached, or the connection was lost before COMMIT (503)."""


class CommitOutcomeUnknown(DataLayerError):
    """The connection was lost during COMMIT: the work is in the database, or none of it is."""


class TransactionRolledBack(DataLayerError):
    """The unit's error was swallowed, and the whole of it, or of its savepoint, was undone."""

    def __init__(self) -> None:
        super().__init__(
            "an error was swallowed after which the whole transaction or savepoint is undone: let"
            " it out, or put what may fail into `async with session.begin_nested()`"
        )


class SchemaChanged(DataLayerError):
    """A table changed under the transaction: the whole unit of work may be tried again."""


class ReadOnly(DataLayerError):
    """Something would be written, or locked, where there is only reading."""


class ConcurrentSessionUse(DataLayerError):
    """Two tasks used one session at the same time: give each its own (`database.gather`)."""

    def __init__(self) -> None:
        super().__init__(
            "another task is using this session: a session belongs to one task at a time."
            " Open one in each task, or call database.gather()"
        )


# After these the whole unit of work may be replayed: nothing of it is in the database.
RETRYABLE: tuple[type[DataLayerError], ...] = (
    SerializationFailure,
    Deadlock,
    SchemaChanged,
    Unavailable,
)
