"""Column types that behave the same on every database: UTC datetimes, exact decimals, JSON, enums.

In an expression they behave as Python's datetime and Decimal do.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from enum import IntEnum
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import operators
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

from ..engine import dialect
from ..errors import InvalidValue

JSONObject = dict[str, object]


class _Moments(TypeDecorator.Comparator[Any], sa.DateTime.Comparator[Any]):
    """The operators of datetimes and their differences, also where a database has no intervals."""

    def operate(self, op: operators.OperatorType, *other: Any, **kwargs: Any) -> Any:
        expression = super().operate(op, *other, **kwargs)
        if isinstance(op, operators.custom_op) and expression.type is self.type:
            # AT TIME ZONE gives a datetime without a time zone: leave it as the driver returns it.
            expression.type = NullType()
        if op not in (operators.add, operators.sub):
            return expression
        is_interval = isinstance(expression.type, (sa.Interval, _Interval))
        expression.type = _Interval() if is_interval else UTCDateTime()
        return dialect.add_moments(expression)

    def reverse_operate(self, op: operators.OperatorType, other: Any, **kwargs: Any) -> Any:
        if op is operators.add:
            return self.operate(op, other, **kwargs)
        return op(sa.literal(other, self.type.coerce_compared_value(op, other)), self.expr)


class UTCDateTime(TypeDecorator[datetime]):
    """A point in time: accepts only aware datetimes, stores UTC, and returns aware datetimes.

    A naive datetime raises InvalidValue, because its time zone is unknown. A timedelta can be added
    and subtracted, and the difference of two columns is a timedelta.
    """

    impl = dialect.TIMESTAMP
    cache_ok = True
    comparator_factory = _Moments

    def coerce_compared_value(self, op: operators.OperatorType | None, value: object) -> Any:
        """Return the type of an operand: this one, but for a timedelta, and for `.op("...")`."""
        if isinstance(op, operators.custom_op) and isinstance(value, str):
            return self.impl_instance.coerce_compared_value(op, value)
        return _Interval() if isinstance(value, timedelta) else self

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


class _Interval(TypeDecorator[timedelta]):
    """A timedelta beside a UTCDateTime."""

    impl = sa.Interval
    cache_ok = True
    comparator_factory = _Moments

    def coerce_compared_value(self, op: operators.OperatorType | None, value: object) -> Any:
        """Return the type of an operand, which may be a datetime."""
        return UTCDateTime() if isinstance(value, datetime) else self


# The digits after the point of a result, from those of its two operands.
_SCALES: Mapping[object, Callable[[int, int], int]] = {
    operators.add: max,
    operators.sub: max,
    operators.mod: max,
    operators.mul: int.__add__,
}


class _Decimals(TypeDecorator.Comparator[Decimal], sa.Numeric.Comparator[Decimal]):
    """The operators of ExactDecimal. No operand and no result is rounded to a column's scale."""

    def __init__(self, expr: sa.ColumnElement[Decimal]) -> None:
        super().__init__(expr)
        # The type of a result, also where the left operand is of a type of SQLAlchemy's own.
        self.type = _Number()

    def operate(self, op: operators.OperatorType, *other: Any, **kwargs: Any) -> Any:
        operands = [_Number.of_parameter(x) for x in other]
        if op is operators.floordiv:
            # Python rounds a quotient toward zero, and FLOOR() does not.
            quotient = (self.expr - self.expr % operands[0]) / operands[0]
            return sa.func.round(quotient, type_=_Number(0))
        expression = super().operate(op, *operands, **kwargs)
        if not isinstance(expression.type, _Number):
            return expression
        expression.type = _Number()
        if not isinstance(expression, sa.BinaryExpression):
            return expression
        scales = [_scale(expression.left.type), _scale(expression.right.type)]
        known = op in _SCALES and None not in scales
        expression.type = _Number(_SCALES[op](*scales) if known else None)
        return dialect.calculate(expression, expression.type.scale)

    def reverse_operate(self, op: operators.OperatorType, other: Any, **kwargs: Any) -> Any:
        return op(sa.literal(other, self.expr.type.coerce_compared_value(op, other)), self.expr)


class _Number(TypeDecorator[Decimal]):
    """A decimal with any digits: an operand, or the result of an expression.

    `scale` is the number of digits after the point, None if it is not known.
    """

    impl = sa.Numeric
    cache_ok = True
    comparator_factory = _Decimals

    def __init__(self, scale: int | None = None) -> None:
        super().__init__(asdecimal=dialect.NATIVE_DECIMAL)
        self.scale = scale

    @property
    def python_type(self) -> type[Decimal]:
        """Return Decimal, also where SQLite stores floats."""
        return Decimal

    def coerce_compared_value(self, op: operators.OperatorType | None, value: object) -> Any:
        """Return the type of an operand, which is not rounded: a float is what Python prints."""
        if isinstance(value, str) and isinstance(op, operators.custom_op):
            return self.impl_instance.coerce_compared_value(op, value)
        return _Number(_digits(value) if op in _SCALES else None)

    @staticmethod
    def of_parameter(operand: object) -> object:
        """Give this type to a bindparam() that has none, which would take that of the column."""
        if isinstance(operand, sa.BindParameter) and isinstance(operand.type, NullType):
            return operand if operand.expanding else sa.type_coerce(operand, _Number())
        return operand

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Decimal | None:
        """Return the value as a Decimal."""
        return None if value is None else _exact(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Decimal | None:
        """Return the value as a Decimal: SQLite's floats keep 15 digits."""
        return value if value is None or isinstance(value, Decimal) else Decimal(f"{value:.15g}")


class ExactDecimal(_Number):
    """A decimal number with `precision` digits, of which `scale` are after the point.

    A value that has more digits raises InvalidValue, when it is assigned to an attribute or sent;
    so do NaN and floats. `ExactDecimal(12, 2, rounding=ROUND_HALF_EVEN)`, with a rounding of the
    module `decimal`, rounds digits after the point. The attribute then has the rounded value, as
    the row has. A value that the database computes, as in `SET balance = balance * 1.0375`, is
    rounded by the database, half away from zero; SQLite rounds it when it is read.

    Operands of an expression are not rounded: `balance * Decimal("1.0375")` is exact. A quotient
    has as many digits as the database computes.

    PostgreSQL has at most 1,000 digits, and MySQL 65. SQLite stores floats, which hold 15.
    """

    cache_ok = True

    def __init__(self, precision: int = 15, scale: int = 4, rounding: str | None = None) -> None:
        most = dialect.DECIMAL_DIGITS
        if not 0 <= scale <= precision <= most:
            raise ValueError(
                f"ExactDecimal({precision}, {scale}): 0 <= scale <= precision <= {most}"
            )
        TypeDecorator.__init__(self, precision, scale, asdecimal=dialect.NATIVE_DECIMAL)
        self.precision, self.scale, self.rounding = precision, scale, rounding

    def fit(self, value: Any) -> Any:
        """Return a value with the digits of the column. An SQL expression or None stays."""
        if value is None or isinstance(value, sa.ClauseElement):
            return value
        if isinstance(value, int):
            value = Decimal(value)
        if not (isinstance(value, Decimal) and value.is_finite()):
            raise InvalidValue('a decimal is a Decimal("0.1") or an int, not a float, text or NaN')
        traps = [InvalidOperation] if self.rounding else [InvalidOperation, Inexact]
        context = Context(self.precision or 1, self.rounding, traps=traps)
        try:
            return value.quantize(Decimal(1).scaleb(-(self.scale or 0)), context=context)
        except Inexact as error:
            raise InvalidValue(
                f"a decimal has more than {self.scale} digits after the point: round it, or write"
                " ExactDecimal(..., rounding=ROUND_HALF_EVEN) in the model"
            ) from error
        except InvalidOperation as error:
            whole = self.precision - (self.scale or 0)
            raise InvalidValue(f"a decimal has more than {whole} digits before the point") from error

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Decimal | None:
        """Return the value with the digits of the column."""
        fitting: Decimal | None = self.fit(value)
        return fitting

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Decimal | None:
        """Return the value as a Decimal, rounded to the scale."""
        if value is None or isinstance(value, Decimal):
            return value
        return Decimal(f"{value:.{self.scale}f}")


@event.listens_for(Mapper, "mapper_configured")
def _fit_attributes(mapper: Mapper[Any], model: type) -> None:
    """Have each attribute that is an ExactDecimal take the value that the row will have."""
    for attribute in mapper.column_attrs:
        kind = attribute.columns[0].type
        if isinstance(kind, ExactDecimal):
            fit = kind.fit
            event.listen(
                getattr(model, attribute.key),
                "set",
                lambda row, value, old, initiator, fit=fit: fit(value),
                retval=True,
            )


E = TypeVar("E", bound=IntEnum)


class IntegerEnum(TypeDecorator[E]):
    """The members of an IntEnum, stored as their numbers, by which they sort and compare.

    The column has no CHECK, so a new member needs no migration.
    """

    impl = sa.BigInteger
    cache_ok = True

    def __init__(self, enum: type[E]) -> None:
        super().__init__()
        self.enum = enum

    @property
    def python_type(self) -> type[E]:
        """Return the enum."""
        return self.enum

    def coerce_compared_value(self, op: operators.OperatorType | None, value: object) -> Any:
        """Return the type of an operand: this one, but for an int, which need not be a member."""
        return self.impl_instance if type(value) is int else self

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> int | None:
        """Return the number of a member."""
        return None if value is None else self.enum(value).value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> E | None:
        """Return the member with a number."""
        return None if value is None else self.enum(value)


def _exact(value: object) -> Decimal:
    """Return an operand as a Decimal. A float is the number that Python prints for it."""
    number = Decimal(repr(value)) if isinstance(value, float) else value
    if isinstance(number, int):
        number = Decimal(number)
    if not (isinstance(number, Decimal) and number.is_finite()):
        raise InvalidValue("the operand of a decimal is a Decimal, an int or a float, and not NaN")
    return number


def _digits(value: object) -> int:
    """Return how many digits an operand has after the point."""
    exponent = _exact(value).as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _scale(kind: TypeEngine[Any]) -> Any:
    """Return how many digits the values of a type have after the point, or None."""
    return 0 if isinstance(kind, sa.Integer) else getattr(kind, "scale", None)
