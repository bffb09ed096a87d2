"""Primary keys: the conditions and checks that they need, and the rows that have them.

A key is a value, or a tuple where it has several columns.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Number
from types import NoneType
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapper, QueryableAttribute, undefer
from sqlalchemy.orm.interfaces import ORMOption

from ..engine import dialect

M = TypeVar("M", bound=DeclarativeBase)


def key_attributes(mapper: Mapper[M]) -> Sequence[QueryableAttribute[object]]:
    """Return the attributes of a model's primary key."""
    # Attributes rather than columns: only a statement on a model is filtered by do_orm_execute.
    return [mapper.get_property_by_column(key).class_attribute for key in mapper.primary_key]


def key_columns(model: type[DeclarativeBase]) -> Sequence[QueryableAttribute[object]]:
    """Return the attributes of a model's primary key, in its order."""
    return key_attributes(sa.inspect(model))


def key_of(row: DeclarativeBase) -> object:
    """Return the key of a row as `get` takes it."""
    key: Sequence[object] = sa.inspect(row, raiseerr=True).identity or ()
    return key[0] if len(key) == 1 else key


def keys_per_statement(model: type[DeclarativeBase]) -> int:
    """Return how many keys one statement may name."""
    # PostgreSQL makes a tree of pairs, whose depth the server's stack bounds.
    return dialect.KEYS_PER_STATEMENT if len(key_columns(model)) == 1 else 1000


def has_key(model: type[DeclarativeBase], keys: Sequence[object]) -> sa.ColumnElement[bool]:
    """Return the condition that a row has one of these keys."""
    column, *others = key_columns(model)
    if others:
        return sa.tuple_(column, *others).in_(keys)
    return column == keys[0] if len(keys) == 1 else dialect.is_one_of(column, keys)


def check_key_types(model: type[DeclarativeBase], keys: Collection[Any]) -> None:
    """Raise TypeError for a key of a type that no row's key has.

    The database may match the text "5" with 5. Python does not: it would not find held rows.
    """
    columns = sa.inspect(model).primary_key
    values: Iterable[Iterable[object]] = [keys] if len(columns) == 1 else zip(*keys, strict=True)
    for column, some in zip(columns, values, strict=True):
        expected = column.type.python_type
        # Numbers of different types may be equal.
        allowed = (Number if issubclass(expected, Number) else expected, NoneType)
        for kind in set(map(type, some)):
            if not issubclass(kind, allowed):
                raise TypeError(
                    f"{model.__name__} keys must be {expected.__name__}, not {kind.__name__}:"
                    f" give {column.key} as the rows have it"
                )


def refuse_other_keys(model: type[DeclarativeBase], keys: Collection[object]) -> None:
    """Raise TypeError for keys that the database found and that nobody asked for."""
    for key in keys:
        raise TypeError(
            f"the database found {model.__name__} {key!r} by a key that Python does not treat as"
            " equal: give keys as the rows have them"
        )


def held_rows(session: AsyncSession, model: type[M]) -> Mapping[object, M]:
    """Return the rows of a model that the session holds, by their keys."""
    rows = session.sync_session.identity_map.values()
    return {key_of(row): row for row in rows if isinstance(row, model)}


async def refresh(session: AsyncSession, model: type[M], rows: Sequence[M]) -> None:
    """Give rows that the session holds the values that the database now has."""
    attributes = sa.inspect(model).column_attrs
    unloaded = set(attributes.keys()).intersection(*(sa.inspect(row).unloaded for row in rows))
    for row in rows:
        session.expire(row, attributes.keys())
    # Reload deferred columns that were loaded before.
    loaded = [x for x in attributes if x.deferred and x.key not in unloaded]
    await remaining(session, model, rows, [undefer(x.class_attribute) for x in loaded])


async def remaining(
    session: AsyncSession,
    model: type[M],
    rows: Sequence[M],
    options: Sequence[ORMOption] = (),
) -> set[object]:
    """Return the keys of rows that are still in the database, and load what is expired of them."""
    found, size = set[object](), keys_per_statement(model)
    for start in range(0, len(rows), size):
        keys = [key_of(row) for row in rows[start : start + size]]
        statement = sa.select(model).where(has_key(model, keys)).options(*options)
        read = await session.scalars(statement, execution_options={"include_deleted": True})
        found.update(map(key_of, read.unique()))
    return found
