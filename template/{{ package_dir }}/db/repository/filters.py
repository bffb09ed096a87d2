"""Filters from outside: criteria for names such as `total__gte`, typed by the column."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from functools import cache, cached_property
from typing import Annotated, Any, Literal
from uuid import UUID

import sqlalchemy as sa
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    NaiveDatetime,
    TypeAdapter,
    ValidationError,
    conlist,
)

from ..errors import InvalidValue, UnknownField
from ..models.types import IntegerEnum, Interval, Number, UTCDateTime
from .keyset import Column

# How many values an `in` takes, how long a text is whose column has no length, and a decimal.
MOST_VALUES, MOST_CHARACTERS, MOST_DIGITS = 100, 1000, 60

Operation = Callable[[Any, Any], sa.ColumnElement[bool]]
# The ending of a name, its meaning in words, and the criterion.
Operations = Mapping[str, tuple[str, Operation]]


def _is_one_of(column: Any, values: Any) -> sa.ColumnElement[bool]:
    found: sa.ColumnElement[bool] = column.in_(values)
    return found


_ALL: Operations = {"": ("equals", operator.eq), "__ne": ("does not equal", operator.ne)}
_ORDERED: Operations = {
    "__lt": ("is less than", operator.lt),
    "__lte": ("is at most", operator.le),
    "__gt": ("is greater than", operator.gt),
    "__gte": ("is at least", operator.ge),
}
_TEXT: Operations = {
    "__contains": ("contains", lambda column, text: column.contains(text, autoescape=True)),
    "__startswith": ("starts with", lambda column, text: column.startswith(text, autoescape=True)),
}
_IN: Operations = {"__in": ("is one of", _is_one_of)}
_NULL: Operations = {
    "__isnull": ("is empty", lambda column, yes: column.is_(None) if yes else column.is_not(None))
}


@dataclass(frozen=True)
class Filter:
    """A filter that a column offers.

    Attributes:
        column: The column.
        operation: The criterion, of the column and a value.
        type: The type of the value, for pydantic.
        description: What the filter means, in words.
    """

    column: Column
    operation: Operation
    type: Any
    description: str

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Return what converts and checks a value."""
        return TypeAdapter(self.type)

    def criterion(self, name: str, value: object) -> sa.ColumnElement[bool]:
        """Return the criterion for a value, or raise InvalidValue."""
        if self.operation is _is_one_of and isinstance(value, str):
            value = value.split(",")
        try:
            return self.operation(self.column, self.adapter.validate_python(value))
        except ValidationError as error:
            invalid = InvalidValue(f"{name}: {error.errors()[0]['msg']}")
            invalid.fields = (name,)
            # Without the cause, which quotes the value.
            raise invalid from None


def filters_of(repository: type[Any]) -> Mapping[str, Filter]:
    """Return the filters of a repository's columns, by the names that they have outside.

    Each column has `name`, `name__ne`, `name__in` and `name__isnull`. Numbers, dates and times have
    `__lt`, `__lte`, `__gt` and `__gte` too; texts have `__contains` and `__startswith`, which
    compare as LIKE does in the database. A type whose values this module does not know, such as JSON
    or a TypeDecorator of your own, has `__isnull` alone: give the column as
    `sa.type_coerce(column, sa.String())` to compare it as another type.
    """
    # mypy does not know that a class is hashable.
    key: Any = repository
    return _filters_of(key)


@cache
def _filters_of(repository: Any) -> Mapping[str, Filter]:
    found: dict[str, Filter] = {}
    for name, column in repository.filterable.items():
        # asc() gives the expression behind the attribute of a model, which has the type.
        kind: sa.types.TypeEngine[Any] = column.asc().element.type
        if kind.__class__ is sa.Numeric:
            # PostgreSQL would round the value to the column's digits: $1::NUMERIC(6, 2).
            column = sa.type_coerce(column, sa.Numeric())
        for operations, value in _operations(kind):
            for suffix, (words, operation) in operations.items():
                if name + suffix in found:
                    raise TypeError(f"{repository.__name__}.filterable has {name + suffix} twice")
                found[name + suffix] = Filter(column, operation, value, f"{name} {words}")
    return found


def criteria(
    model: type, filters: Mapping[str, Filter], given: Mapping[str, object]
) -> list[sa.ColumnElement[bool]]:
    """Return the criteria for filters by name. Raise UnknownField, InvalidValue."""
    if unknown := given.keys() - filters.keys():
        raise UnknownField(model, unknown, filters)
    return [filters[name].criterion(name, value) for name, value in given.items()]


def refuse_unjoined(statement: sa.Select[Any], found: Sequence[sa.ColumnElement[bool]]) -> None:
    """Raise TypeError if a criterion is about a table that the statement does not have.

    The criterion would apply to a cross join, and so let every row pass.
    """
    froms = len(statement.get_final_froms()) if found else 0
    if found and len(statement.where(*found).get_final_froms()) > froms:
        raise TypeError(
            "filterable has a column of a table that statement() does not join: join it there, or"
            " use a condition such as Model.relationship.has(...)"
        )


def _operations(kind: sa.types.TypeEngine[Any]) -> list[tuple[Operations, Any]]:
    """Return the operations of a type of column, with the types of their values."""
    value, others = _value_type(kind)
    if value is None:
        return [(_NULL, bool)]
    values = conlist(value, max_length=MOST_VALUES)
    return [(_ALL, value), (others, value), (_IN, values), (_NULL, bool)]


def _value_type(kind: sa.types.TypeEngine[Any]) -> tuple[Any, Operations]:
    """Return the type of the values of a column, for pydantic, and which operations it has."""
    match kind:
        case sa.Enum(enum_class=None):
            return Literal[tuple(kind.enums)], {}
        case sa.Enum():
            return _member_of(kind.enum_class), {}
        case IntegerEnum():
            return kind.enum, _ORDERED
        case sa.Boolean():
            return bool, {}
        case sa.Uuid():
            return UUID if kind.as_uuid else Annotated[UUID, AfterValidator(str)], {}
        case sa.String():
            size = Field(max_length=kind.length or MOST_CHARACTERS, pattern=r"^[^\x00]*$")
            return Annotated[str, size], _TEXT
        case sa.Integer():
            bits = 15 if isinstance(kind, sa.SmallInteger) else 31
            most = 2 ** (63 if isinstance(kind, sa.BigInteger) else bits)
            return Annotated[int, Field(ge=-most, lt=most)], _ORDERED
        case UTCDateTime() | sa.DateTime(timezone=True):
            return AwareDatetime, _ORDERED
        case sa.DateTime():
            return NaiveDatetime, _ORDERED
        case sa.Date():
            return date, _ORDERED
        case sa.Time():
            return Annotated[time, AfterValidator(_aware if kind.timezone else _naive)], _ORDERED
        case Number() | sa.Numeric(asdecimal=True):
            return Annotated[Decimal, Field(max_digits=MOST_DIGITS)], _ORDERED
        case sa.Numeric() | sa.Float():
            return Annotated[float, Field(allow_inf_nan=False)], _ORDERED
        case Interval() | sa.Interval():
            return timedelta, _ORDERED
        case _:
            return None, {}


def _member_of(enum: Any) -> Any:
    """Return the type of an enum's members, by their values, which a request has as text."""
    members = {str(member.value): member for member in enum}
    return Annotated[
        enum, BeforeValidator(lambda x: members.get(x, x) if isinstance(x, str) else x)
    ]


def _aware(moment: time) -> time:
    if moment.tzinfo is None:
        raise ValueError("a time zone is missing, as in 10:00+02:00")
    return moment


def _naive(moment: time) -> time:
    if moment.tzinfo is not None:
        raise ValueError("a time without a time zone is expected")
    return moment
