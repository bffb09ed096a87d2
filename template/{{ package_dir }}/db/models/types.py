"""Column types that behave the same on every database: UTC datetimes, exact decimals, JSON."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from ..engine.dialect import NATIVE_DECIMAL, TIMESTAMP
from ..errors import InvalidValue

JSONObject = dict[str, object]


class UTCDateTime(TypeDecorator[datetime]):
    """A point in time: accepts only aware datetimes, stores UTC, and returns aware datetimes.

    A naive datetime raises InvalidValue, because its time zone is unknown.
    """

    impl = TIMESTAMP
    cache_ok = True

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


class ExactDecimal(TypeDecorator[Decimal]):
    """A decimal number with `precision` digits, at most 15, of which `scale` are after the point.

    Further digits are rounded half up, away from zero, before the number is sent. NaN, or a number
    that is too large, raises InvalidValue. SQLite stores floats, which hold 15 digits: a number
    that is read is rounded to `scale`, and so equals the number that was written.
    """

    impl = sa.Numeric
    cache_ok = True

    def __init__(self, precision: int = 15, scale: int = 4) -> None:
        if not 0 <= scale <= precision <= 15:
            # SQLite stores 15 digits.
            raise ValueError(f"ExactDecimal({precision}, {scale}): 0 <= scale <= precision <= 15")
        super().__init__(precision, scale, asdecimal=NATIVE_DECIMAL)
        self.precision, self.scale = precision, scale

    @property
    def python_type(self) -> type[Decimal]:
        """Return Decimal, also where SQLite stores floats."""
        return Decimal

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> Decimal | None:
        """Return the value, rounded to the scale."""
        if value is None:
            return None
        whole_digits = self.precision - self.scale
        try:
            rounded = value.quantize(Decimal(1).scaleb(-self.scale), ROUND_HALF_UP)
        except InvalidOperation as error:
            raise InvalidValue("a decimal is NaN, infinite, or has too many digits") from error
        if abs(rounded) >= 10**whole_digits:
            raise InvalidValue(f"a decimal has more than {whole_digits} digits before the point")
        return rounded

    def process_result_value(
        self,
        value: Decimal | float | None,
        dialect: sa.Dialect,
    ) -> Decimal | None:
        """Return the value as a Decimal, rounded to the scale."""
        if value is None or isinstance(value, Decimal):
            return value
        return Decimal(f"{value:.{self.scale}f}")
