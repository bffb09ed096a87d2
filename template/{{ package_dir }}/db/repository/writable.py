"""The names that may be written: those that a repository declares, or that nobody else keeps."""

from collections.abc import Collection
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from ..errors import NotWritable
from ..models import SoftDeletable, Timestamped


def refuse_names(
    model: type[DeclarativeBase], names: Collection[str], writable: Collection[str]
) -> None:
    """Raise NotWritable for names that are not writable."""
    if unknown := {*names}.difference(writable):
        error = NotWritable(model, unknown, writable)
        if known := unknown.intersection(sa.inspect(model).all_orm_descriptors.keys()):
            # Not in the message, which a web service may pass on.
            also = ", ".join(f'"{name}"' for name in sorted(known))
            error.add_note(f"To allow it: writable = {{..., {also}}}, on the repository")
        raise error


def writable_names(
    model: type[DeclarativeBase], declared: Collection[str] | None, *, new: bool = False
) -> Collection[str]:
    """Return the names that a change of a row takes, or a `new` row."""
    if declared is not None:
        return declared
    return _columns_to_write(model) | (_own_keys(model) if new else frozenset[str]())


def insertable_names(
    model: type[DeclarativeBase], declared: Collection[str] | None, allow: Collection[str]
) -> Collection[str]:
    """Return the names that a bulk insert takes: columns, without a version that the ORM counts."""
    mapper = sa.inspect(model)
    columns = {
        attribute.key
        for attribute in mapper.column_attrs
        if isinstance(column := attribute.columns[0], sa.Column)
        and column.computed is None
        and not (column is mapper.version_id_col and mapper.version_id_generator)
    }
    return columns if declared is None else columns & {*declared, *allow}


def has_default(column: sa.ColumnElement[Any]) -> bool:
    """Return whether SQLAlchemy or the database makes a column that a new row leaves out."""
    return isinstance(column, sa.Column) and (
        column.default is not None
        or column.server_default is not None
        or column.table.autoincrement_column is column
    )


@cache
def _columns_to_write(model: type[DeclarativeBase]) -> frozenset[str]:
    """Return the columns that nobody but the code that uses a repository writes."""
    mapper = sa.inspect(model)
    mixins = [mixin for mixin in (Timestamped, SoftDeletable) if issubclass(model, mixin)]
    maintained = {name for mixin in mixins for name in mixin.__annotations__}
    others = {*mapper.primary_key, mapper.version_id_col, mapper.polymorphic_on}
    return frozenset(
        attribute.key
        for attribute in mapper.column_attrs
        if attribute.key not in maintained
        and others.isdisjoint(attribute.columns)
        # Neither what the database computes nor an expression.
        and all(isinstance(x, sa.Column) and x.computed is None for x in attribute.columns)
    )


@cache
def _own_keys(model: type[DeclarativeBase]) -> frozenset[str]:
    """Return the columns of the key that have no default."""
    mapper = sa.inspect(model)
    return frozenset(
        attribute.key
        for attribute in mapper.column_attrs
        if not {*mapper.primary_key}.isdisjoint(attribute.columns)
        and not any(map(has_default, attribute.columns))
    )
