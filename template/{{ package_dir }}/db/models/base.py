"""What every model shares: the base class, and how constraints are named."""

from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import ClassVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase

from ..engine.dialect import JSON
from .types import ExactDecimal, JSONObject, UTCDateTime

# A constraint that has no name cannot be dropped by a migration, nor told apart in an error.
# https://alembic.sqlalchemy.org/en/latest/naming.html
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)


def _enum_values(enum: type[Enum]) -> list[str]:
    return [str(member.value) for member in enum]


class Base(AsyncAttrs, DeclarativeBase):
    """The base of the models. A model that needs the layer's mixins names them before it."""

    metadata = metadata
    type_annotation_map: ClassVar = {
        datetime: UTCDateTime,
        int: sa.BigInteger,
        # MySQL's FLOAT has seven digits.
        float: sa.Double,
        Decimal: ExactDecimal,
        UUID: sa.Uuid,
        JSONObject: JSON,
        # A text and a CHECK, since a value of a native enum type can hardly be removed. Neither
        # is compared by `alembic check`: a new member takes a migration of one's own, which drops
        # the CHECK by its name, widens the column if need be, and makes the CHECK anew.
        Enum: sa.Enum(
            Enum,
            native_enum=False,
            create_constraint=True,
            values_callable=_enum_values,
        ),
    }
