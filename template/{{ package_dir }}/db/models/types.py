"""Column types that behave the same on every database: UTC times, exact decimals, JSON."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from ..engine.dialect import NATIVE_DECIMAL, TIMESTAMP
from ..errors import InvalidValue

JSONObject = dict[str, object]


class UTCDateTime(TypeDecorator[datetime]):
    """A point in time: takes aware datetimes only, keeps UTC, gives aware ones on every database.

    Raises InvalidValue for a naive one, which would be a guess at somebody's time zone.
    """

    impl = TIMESTAMP
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.utcoffset() is None:
            raise InvalidValue("a time without a zone: write datetime.now(UTC), never utcnow()")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class ExactDecimal(TypeDecorator[Decimal]):
    """A decimal number: `precision` digits, at most 15, of which `scale` are after the point.

    Further digits are rounded, half away from zero, before they leave; a number that is too large,
    or none, raises InvalidValue. SQLite keeps floats, which hold 15 digits: what is read is rounded
    to `scale` and so equals what was written.
    """

    impl = sa.Numeric
    cache_ok = True

    def __init__(self, precision: int = 15, scale: int = 4) -> None:
        if not 0 <= scale <= precision <= 15:
            raise ValueError(f"SQLite keeps 15 digits at most: ({precision}, {scale})")
        super().__init__(precision, scale, asdecimal=NATIVE_DECIMAL)
        self.precision, self.scale = precision, scale

    @property
    def python_type(self) -> type[Decimal]:
        return Decimal

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> Decimal | None:
        if value is None:
            return None
        whole_digits = self.precision - self.scale
        try:
            rounded = value.quantize(Decimal(1).scaleb(-self.scale), ROUND_HALF_UP)
        except InvalidOperation as error:
            raise InvalidValue("no number, or one with too many digits") from error
        if abs(rounded) >= 10**whole_digits:
            raise InvalidValue(f"a number of more than {whole_digits} digits before the point")
        return rounded

    def process_result_value(
        self,
        value: Decimal | float | None,
        dialect: sa.Dialect,
    ) -> Decimal | None:
        if value is None or isinstance(value, Decimal):
            return value
        return Decimal(f"{value:.{self.scale}f}")
