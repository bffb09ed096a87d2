"""Rows for tests, of which each test states only what matters to it."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, TypeVar
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    ColumnProperty,
    DeclarativeBase,
    Mapper,
    MapperProperty,
    RelationshipDirection,
    RelationshipProperty,
)

from ..models import ExactDecimal

M = TypeVar("M", bound=DeclarativeBase)


class Make:
    """Makes rows: `await make(Post, title="First")`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._numbers = count(1)

    async def __call__(self, model: type[M], **values: object) -> M:
        """A flushed row of these values. The other columns that need one get it, and rows that a
        foreign key needs are made too. Raises TypeError for a column whose type is unknown.
        """
        mapper = sa.inspect(model)
        stated = {column for name in values for column in _columns(mapper.attrs.get(name))}
        made: dict[str, object] = {}
        parents: dict[object, DeclarativeBase] = {}
        for attribute in mapper.column_attrs:
            columns = [column for column in attribute.columns if isinstance(column, sa.Column)]
            needed = columns and all(_is_required(mapper, column) for column in columns)
            if needed and stated.isdisjoint(columns):
                # Of a class that inherits the last is its base's.
                made[attribute.key] = await self._value(mapper, columns[-1], parents)
        row = model(**made | values)
        self._session.add(row)
        await self._session.flush()
        return row

    async def _value(
        self,
        mapper: Mapper[Any],
        column: sa.Column[Any],
        parents: dict[object, DeclarativeBase],
    ) -> object:
        for key in column.foreign_keys:
            for other in mapper.registry.mappers:
                if other.local_table is key.column.table:
                    # The columns of one foreign key refer to one row.
                    if key.constraint not in parents:
                        parents[key.constraint] = await self(other.class_)
                    parent = parents[key.constraint]
                    return getattr(parent, other.get_property_by_column(key.column).key)
        try:
            return _sample(column, next(self._numbers))
        except (KeyError, NotImplementedError):
            raise TypeError(f"make() knows no value for {column}: state one") from None


def _columns(attribute: MapperProperty[Any] | None) -> Iterable[sa.ColumnElement[Any]]:
    """The columns that a value of this attribute fills."""
    if isinstance(attribute, RelationshipProperty):
        # Rows that refer to this one give it nothing.
        refers = attribute.direction is RelationshipDirection.MANYTOONE
        return attribute.local_columns if refers else ()
    return attribute.columns if isinstance(attribute, ColumnProperty) else ()


def _sample(column: sa.Column[Any], number: int) -> object:
    kind: Any = column.type
    # These tell their type by themselves: the one below may be a timestamp, or a float.
    while isinstance(kind, sa.TypeDecorator) and not isinstance(kind, sa.Interval | ExactDecimal):
        kind = kind.impl_instance
    if isinstance(kind, sa.Enum):
        return next(iter(kind.enum_class or kind.enums))
    if isinstance(kind, sa.String):
        # Its end tells one from another.
        return f"{column.key} {number}"[-(kind.length or 100) :]
    samples: dict[type, object] = {
        bool: False,
        int: number,
        float: float(number),
        Decimal: Decimal(number),
        bytes: b"%d" % number,
        date: datetime.now(UTC).date(),
        datetime: datetime.now(UTC),
        time: datetime.now(UTC).time(),
        timedelta: timedelta(seconds=number),
        UUID: uuid4(),
        dict: {},
        list: [],
    }
    return samples[kind.python_type]


def _is_required(mapper: Mapper[Any], column: sa.Column[Any]) -> bool:
    filled = (column.default, column.server_default, column.computed, column.identity)
    by_mapper = (mapper.version_id_col, mapper.polymorphic_on, column.table.autoincrement_column)
    # By identity: two columns that are compared make an expression.
    by_others = any(one is not None for one in filled) or any(one is column for one in by_mapper)
    return not column.nullable and not by_others
