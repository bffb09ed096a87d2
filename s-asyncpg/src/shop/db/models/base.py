"""The base class of all models, and the names of their constraints."""

from datetime import datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, ClassVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import DeclarativeBase, TypeResolve

from ..engine.dialect import JSON
from .types import ExactDecimal, IntegerEnum, JSONObject, UTCDateTime

# A migration cannot drop a constraint without a name, and an error cannot identify it.
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
    """The base class of all models. A model lists the layer's mixins before it."""

    metadata = metadata
    type_annotation_map: ClassVar = {
        datetime: UTCDateTime,
        int: sa.BigInteger,
        # sa.Float would become MySQL's FLOAT, which has seven digits.
        float: sa.Double,
        Decimal: ExactDecimal,
        UUID: sa.Uuid,
        # A copy: a column of the type JSON itself tracks no changes.
        JSONObject: MutableDict.as_mutable(JSON.copy()),
        # A text column with a CHECK, because a value can hardly be removed from a native enum type.
        # `alembic check` compares neither: for a new member write a migration that calls
        # migrate.set_enum_values().
        Enum: sa.Enum(
            Enum,
            native_enum=False,
            create_constraint=True,
            values_callable=_enum_values,
        ),
    }


@event.listens_for(Base, "resolve_type_annotation")
def _store_numbers(annotation: TypeResolve) -> IntegerEnum[Any] | None:
    """Store an IntEnum as its numbers: as an Enum it would be stored as text."""
    kind: object = annotation.resolved_type
    return IntegerEnum(kind) if isinstance(kind, type) and issubclass(kind, IntEnum) else None
