"""Column types that behave the same on every database: UTC datetimes, exact decimals, JSON, enums.

In an expression they behave as Python's datetime and Decimal do.
"""

from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from enum import IntEnum
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Mapper
from sqlalchemy.sql.operators import add, custom_op, floordiv, mod, mul, sub
from sqlalchemy.types import NullType, TypeDecorator

from ..engine import dialect
from ..errors import InvalidValue

E = TypeVar("E", bound=IntEnum)

# The type of an attribute that holds a JSON object. A change of its top level is noticed, as in
# `row.document["name"] = "Ada"`. To have a change below it noticed, assign to the top level, as in
# `row.document["tags"] = [*tags, "new"]`, or call sqlalchemy.orm.attributes.flag_modified(row,
# "document"). A row takes half as long again to load; mapped_column(sa.JSON) tracks nothing.
JSONObject = dict[str, object]


class _Moments(TypeDecorator.Comparator[Any], sa.DateTime.Comparator[Any]):
    """The operators of datetimes and their differences, also where a database has no intervals."""

    def operate(self, op: Any, *other: Any, **kwargs: Any) -> Any:
        expression: Any = super().operate(op, *other, **kwargs)
        if op in (add, sub):
            is_interval = isinstance(expression.type, (sa.Interval, Interval))
            expression.type = Interval() if is_interval else UTCDateTime()
            return dialect.add_moments(expression)
        if isinstance(op, custom_op) and expression.type is self.type:
            # AT TIME ZONE gives a datetime without a time zone: leave it as the driver returns it.
            expression.type = NullType()
        return expression

    def reverse_operate(self, op: Any, other: Any, **kwargs: Any) -> Any:
        return op(sa.literal(other, self.expr.type.coerce_compared_value(op, other)), self.expr)


class UTCDateTime(TypeDecorator[datetime]):
    """A point in time: accepts only aware datetimes, stores UTC, and returns aware datetimes.

    A naive datetime raises InvalidValue, because its time zone is unknown. A timedelta can be added
    and subtracted, and the difference of two columns is a timedelta.
    """

    impl = dialect.TIMESTAMP
    cache_ok = True
    comparator_factory: Any = _Moments

    def coerce_compared_value(self, op: Any, value: object) -> Any:
        """Return the type of an operand."""
        if isinstance(op, custom_op) and isinstance(value, str):
            return sa.String()
        return Interval() if isinstance(value, timedelta) else self

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return the value in UTC."""
        if value is None:
            return None
        if value.utcoffset() is None:
            raise InvalidValue("a datetime has no time zone: write datetime.now(UTC), not utcnow()")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return the value as an aware datetime in UTC."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class Interval(TypeDecorator[timedelta]):
    """A timedelta beside a UTCDateTime."""

    impl = sa.Interval
    cache_ok = True
    comparator_factory: Any = _Moments

    def coerce_compared_value(self, op: Any, value: object) -> Any:
        """Return the type of an operand."""
        return UTCDateTime() if isinstance(value, datetime) else self


# How many digits after the point a result has, from those of its operands.
_SCALES: dict[object, Any] = {add: max, sub: max, mod: max, mul: int.__add__}


class _Decimals(TypeDecorator.Comparator[Decimal], sa.Numeric.Comparator[Decimal]):
    """The operators of ExactDecimal. No operand and no result is rounded to a column's scale."""

    def __init__(self, expr: sa.ColumnElement[Decimal]) -> None:
        super().__init__(expr)
        # The type of a result, also where the left operand is of a type of SQLAlchemy's own.
        self.type = Number()

    def operate(self, op: Any, *other: Any, **kwargs: Any) -> Any:
        if op is floordiv:
            # Python rounds a quotient toward zero, and FLOOR() does not.
            quotient = (self.expr - self.expr % other[0]) / other[0]
            return sa.func.round(quotient, type_=Number(0))
        expression: Any = super().operate(op, *other, **kwargs)
        if not isinstance(expression.type, Number):
            return expression
        scales = [_scale(operand) for operand in (self.expr, *other)]
        scale = _SCALES[op](*scales) if op in _SCALES and None not in scales else None
        expression.type = Number(scale)
        return dialect.calculate(op, expression, scale)

    def reverse_operate(self, op: Any, other: Any, **kwargs: Any) -> Any:
        return op(sa.literal(other, Number(_scale(other))), self.expr)


class Number(TypeDecorator[Decimal]):
    """A decimal with any digits: an operand, or the result of an expression.

    `scale` is the number of digits after the point, None if it is not known.
    """

    impl = sa.Numeric
    cache_ok = True
    comparator_factory: Any = _Decimals
    # How SQLite's floats, which hold 15 digits, are read.
    _format = ".15g"

    def __init__(self, scale: int | None = None, *size: int) -> None:
        super().__init__(*size, asdecimal=dialect.NATIVE_DECIMAL)
        self.scale = scale

    @property
    def python_type(self) -> type[Decimal]:
        """Return Decimal, also where SQLite stores floats."""
        return Decimal

    def coerce_compared_value(self, op: Any, value: object) -> Any:
        """Return the type of an operand."""
        return Number()

    def fit(self, value: object) -> Decimal:
        """Return a value as a Decimal. A float is the number that Python prints for it."""
        number = Decimal(repr(value)) if isinstance(value, (int, float)) else value
        if isinstance(number, Decimal) and number.is_finite():
            return number
        raise InvalidValue("the operand of a decimal is a Decimal, an int or a float, and not NaN")

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Decimal | None:
        """Return the value as the column or the operand takes it."""
        return None if value is None else self.fit(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Decimal | None:
        """Return the value as a Decimal."""
        return Decimal(format(value, self._format)) if isinstance(value, (int, float)) else value


class ExactDecimal(Number):
    """A decimal number with `precision` digits, of which `scale` are after the point.

    A value that has more digits raises InvalidValue, when it is assigned to an attribute or sent;
    so do NaN and floats. `ExactDecimal(12, 2, rounding=ROUND_HALF_EVEN)`, with a rounding of the
    module `decimal`, rounds digits after the point. The attribute then has the rounded value, as
    the row has. A value that the database computes, as in `SET balance = balance * 1.0375`, is
    rounded by the database; SQLite stores it as it is, and it is rounded when it is read.

    Operands of an expression are not rounded: `balance * Decimal("1.0375")` is exact, and a float
    is the number that Python prints for it. A quotient has as many digits as the database computes.

    PostgreSQL has at most 1,000 digits, and MySQL 65. SQLite stores floats, which hold 15; there
    `/`, `//` and `%` with another column need the ExactDecimal on the left.
    """

    cache_ok = True

    def __init__(self, precision: int = 15, scale: int = 4, rounding: str | None = None) -> None:
        if not 0 <= scale <= precision <= (most := dialect.DECIMAL_DIGITS):
            raise ValueError(f"ExactDecimal({precision}, {scale}): scale <= precision <= {most}")
        super().__init__(scale, precision, scale)
        self.precision, self.rounding, self._format = precision, rounding, f".{scale}f"

    def fit(self, value: object) -> Decimal:
        """Return a value with the digits of the column."""
        if isinstance(value, float):
            raise InvalidValue('a float is not exact: write Decimal("0.1")')
        traps = [InvalidOperation] if self.rounding else [InvalidOperation, Inexact]
        context = Context(self.precision, self.rounding, traps=traps)
        try:
            return context.quantize(super().fit(value), Decimal((0, (0,), -(self.scale or 0))))
        except (Inexact, InvalidOperation) as error:
            raise InvalidValue(
                f"a decimal has more than {self.precision} digits, or {self.scale} after the point:"
                " round it, or write ExactDecimal(..., rounding=ROUND_HALF_EVEN) in the model"
            ) from error

    def fit_attribute(self, row: object, value: Any, *_: object) -> Any:
        """Return the value that an attribute takes. An SQL expression stays as it is."""
        return value if value is None or isinstance(value, sa.ClauseElement) else self.fit(value)


@event.listens_for(Mapper, "mapper_configured")
def _fit_attributes(mapper: Mapper[Any], model: type) -> None:
    """Give each attribute that is an ExactDecimal the value that the row will have."""
    for attribute in mapper.column_attrs:
        kind = attribute.columns[0].type
        if isinstance(kind, ExactDecimal):
            event.listen(getattr(model, attribute.key), "set", kind.fit_attribute, retval=True)


class IntegerEnum(TypeDecorator[E]):
    """The members of an IntEnum, stored as their numbers, by which they sort and compare.

    The column has no CHECK, so a new member needs no migration.
    """

    impl = sa.BigInteger
    cache_ok = True

    def __init__(self, enum: type[E]) -> None:
        super().__init__()
        self.enum = enum

    def coerce_compared_value(self, op: Any, value: object) -> Any:
        """Return the type of an operand: an int need not be a member."""
        return sa.BigInteger() if type(value) is int else self

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> int | None:
        """Return the number of a member."""
        return None if value is None else self.enum(value).value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> E | None:
        """Return the member with a number."""
        return None if value is None else self.enum(value)


def _scale(operand: Any) -> Any:
    """Return how many digits after the point an operand has, or None."""
    if isinstance(operand, (int, float, Decimal)):
        return len(f"{Number().fit(operand):f}".partition(".")[2])
    kind: Any = getattr(operand, "type", None)
    return 0 if isinstance(kind, sa.Integer) else getattr(kind, "scale", None)
