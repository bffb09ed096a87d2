"""The columns of a model: what is made for a new row, and what may be written."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from ..errors import NotWritable
from ..models import SoftDeletable, Timestamped
from ..models.keys import key_attributes

Row = Mapping[str, object]
Values = dict[str, object]  # by what a statement calls their columns
Defaults = Mapping[sa.Column[Any], sa.ColumnDefault]


class Columns:
    """The columns of a model that statements write, by the names of their attributes."""

    def __init__(self, model: type[DeclarativeBase]) -> None:
        self.model, self.mapper = model, sa.inspect(model)
        #: The columns, without those that the database computes.
        self.by_name = {
            attribute.key: column
            for attribute in self.mapper.column_attrs
            if isinstance(column := attribute.columns[0], sa.Column) and column.computed is None
        }
        self._table: Any = self.mapper.local_table
        self.is_one_table = isinstance(self._table, sa.Table) and len(self.mapper.tables) == 1
        #: What statements call the columns: a statement on several tables takes attributes.
        self.in_statement = {x: y.key if self.is_one_table else x for x, y in self.by_name.items()}
        self.key = [attribute.key for attribute in key_attributes(self.mapper)]
        self.version = self._name(self.mapper.version_id_col)
        self.kind = self._name(self.mapper.polymorphic_on)
        generator = self.mapper.version_id_generator
        self.next_version = generator if self.version and callable(generator) else None
        null = {x for x, column in self.by_name.items() if column.type.should_evaluate_none}
        defaulted = {
            attribute.key
            for attribute in self.mapper.column_attrs
            if any(map(has_default, attribute.columns))
        }
        #: The columns for which None counts as not given, as it does for session.add().
        self.optional = defaulted - null
        #: The columns that session.add() gives None if a row leaves them out.
        self.nullable = self.by_name.keys() - defaulted - null - {*self.key}
        mixins = [mixin for mixin in (Timestamped, SoftDeletable) if issubclass(model, mixin)]
        kept = {self.version, self.kind, *self.key, *(x for y in mixins for x in y.__annotations__)}
        #: What `update` and `create` write, unless a repository declares it.
        self.changeable = frozenset(self.by_name.keys() - kept)
        self.creatable = self.changeable | ({*self.key} - defaulted)
        #: What bulk inserts write: no version that the ORM counts.
        self.insertable = frozenset(self.by_name.keys() - ({self.version} if generator else {}))

    @cached_property
    def refers_to_itself(self) -> bool:
        """Whether a row may refer to another row of the model by a foreign key."""
        tables, keys = self.mapper.tables, [x for y in self.mapper.tables for x in y.foreign_keys]
        # The key of a table of its own for a subclass is the same row's.
        return any(x.column.table in tables and not x.parent.primary_key for x in keys)

    def without_default(self, names: Iterable[str]) -> Collection[str]:
        """Return those names whose columns a new row that leaves them out does not fill in."""
        return [x for x in names if x != self.kind and not has_default(self.by_name[x])]

    def _name(self, column: object) -> str | None:
        return next((x for x, own in self.by_name.items() if own is column), None)

    @property
    def table(self) -> sa.Table[Any]:
        """The table of the model.

        Raises:
            TypeError: The model has several.
        """
        if not self.is_one_table:
            raise TypeError(
                f"{self.model.__name__} lies in several tables, and this writes to one: use"
                " create_many(), or update() and delete() for each row"
            )
        table: sa.Table[Any] = self._table
        return table

    @property
    def version_after(self) -> dict[sa.Column[Any], sa.ColumnElement[Any]]:
        """The version that follows a row's own.

        Raises:
            TypeError: SQL cannot count it.
        """
        if self.version is None or self.next_version is None:
            return {}
        column = self.by_name[self.version]
        if isinstance(column.type, sa.Integer) and self.next_version(1) == 2:
            return {column: column + sa.literal_column("1")}
        raise TypeError(
            f"the versions of {self.model.__name__} are no numbers that go up by one: change its"
            " rows one by one, with update()"
        )

    def onupdates(self, names: Collection[str]) -> Defaults:
        """Return the `onupdate` defaults of the columns that are not named.

        SQLAlchemy applies them in an UPDATE, but not in the UPDATE part of an upsert.
        """
        given = {self.in_statement[name] for name in names}
        made = ((x, x.onupdate) for x in self.table.columns if x.key not in given)
        return {x: onupdate for x, onupdate in made if isinstance(onupdate, sa.ColumnDefault)}

    @property
    def criteria(self) -> Sequence[sa.ColumnElement[bool]]:
        """Return the condition that tells the rows of this class from others in the table."""
        if not self.mapper.single or self.mapper.polymorphic_on is None:
            return ()
        kinds = [each.polymorphic_identity for each in self.mapper.self_and_descendants]
        # SQLAlchemy cannot run a statement with an IN for many rows at once.
        return [sa.or_(*(self.mapper.polymorphic_on == kind for kind in kinds))]

    def new(self, names: Collection[str], rows: Iterable[Row]) -> list[Values]:
        """Return the parameters of an INSERT of rows, to which SQLAlchemy adds the defaults.

        Args:
            names: What each of the rows gives.
            rows: The rows, whose other values do not count.
        """
        others: Values = {self.in_statement[x]: None for x in self.nullable.difference(names)}
        if self.kind and self.kind not in names:
            others[self.in_statement[self.kind]] = self.mapper.polymorphic_identity
        given = [(name, self.in_statement[name]) for name in names]
        new = [{**others, **{y: row[x] for x, y in given}} for row in rows]
        if self.version and self.next_version:
            for values in new:
                values[self.in_statement[self.version]] = self.next_version(None)
        return new


@dataclass
class _Context:
    """The context of an `onupdate` function: it has the values of the row, as SQLAlchemy's does."""

    current_parameters: Values

    def get_current_parameters(self, isolate_multiinsert_groups: bool = True) -> Values:
        """Return the values of the row."""
        return self.current_parameters


def called(made: Defaults, row: Values) -> Values:
    """Return the values of Python-side `onupdate` defaults, as parameters of an upsert."""
    return {
        parameter(column): default.arg(_Context(row)) if default.is_callable else default.arg
        for column, default in made.items()
        if not default.is_clause_element
    }


def parameter(column: sa.Column[Any]) -> str:
    """Return a name for a parameter that no column is called by."""
    return f"{max(column.table.c.keys(), key=len)}_{column.key}"


@cache
def columns_of(model: type[DeclarativeBase]) -> Columns:
    """Return the columns of a model, which are looked up once."""
    return Columns(model)


def has_default(column: object) -> bool:
    """Return whether SQLAlchemy or the database fills in a column that a new row leaves out."""
    return isinstance(column, sa.Column) and (
        column.default is not None
        or column.server_default is not None
        or column.table.autoincrement_column is column
    )


def writable_names(
    model: type[DeclarativeBase], declared: Collection[str] | None, *, new: bool = False
) -> Collection[str]:
    """Return the names that a change of a row takes, or a `new` row."""
    if declared is not None:
        return declared
    return columns_of(model).creatable if new else columns_of(model).changeable


def insertable_names(
    model: type[DeclarativeBase], declared: Collection[str] | None, allow: Collection[str]
) -> Collection[str]:
    """Return the names that a bulk insert takes: all columns, or those that are declared."""
    names = columns_of(model).insertable
    return names if declared is None else names & {*declared, *allow}


def refuse_names(
    model: type[DeclarativeBase], names: Collection[str], writable: Collection[str]
) -> None:
    """Raise NotWritable for names that are not writable."""
    if unknown := {*names}.difference(writable):
        error = NotWritable(model, unknown, writable)
        if known := unknown.intersection(sa.inspect(model).all_orm_descriptors.keys()):
            # Not in the message, which a web service may pass on.
            also = ", ".join(f'"{name}"' for name in sorted(known))
            error.add_note(f"To allow it: add {also} to `writable` of the repository")
        raise error


def computed_columns(row: DeclarativeBase) -> list[str]:
    """Return the columns that the database computed in the last flush, and that are not loaded."""
    state = sa.inspect(row, raiseerr=True)
    columns = state.mapper.column_attrs
    names = state.expired_attributes.intersection(columns.keys())
    return [name for name in names if not columns[name].deferred]
