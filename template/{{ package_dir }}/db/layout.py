"""How the rows of a model lie in its table: checked, filled with defaults, put into batches."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from inspect import Parameter, signature
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from .errors import UnknownField
from .rows import Batch, Row


@dataclass
class _Parameters:
    """What a default function may ask for, in place of SQLAlchemy's own context."""

    row: Row = field(default_factory=dict[str, object])

    def get_current_parameters(self) -> Row:
        return self.row


@dataclass(frozen=True)
class _Field:
    """A column that rows may give, and what it holds if they do not."""

    name: str
    column: sa.Column[Any]
    # For so many rows at once: a call for each value costs more than the value.
    default: Callable[[Sequence[Row]], list[object]] | None
    # Left to the database where a row gives no value.
    served: bool

    def values(self, rows: Sequence[Row], given: Collection[str]) -> list[object]:
        absent: object = None
        if self.column.type.should_evaluate_none:
            # For JSON None is a value of its own; what is not given is SQL's NULL.
            absent = sa.null()
        if self.name not in given:
            return [absent] * len(rows) if self.default is None else self.default(rows)
        name = self.name
        found = [row.get(name, absent) for row in rows]
        if self.default is not None:
            missing = [index for index, value in enumerate(found) if value is absent]
            defaults = self.default([rows[index] for index in missing])
            for index, value in zip(missing, defaults, strict=True):
                found[index] = value
        return found


class Layout:
    """How the rows of a model lie in its table; names are those of its attributes."""

    def __init__(self, model: type[DeclarativeBase]) -> None:
        mapper = sa.inspect(model)
        table: object = mapper.local_table
        if not isinstance(table, sa.Table) or len(mapper.tables) > 1:
            raise TypeError(f"{model.__name__} lies in several tables: add its rows to a session")
        self.model = model
        self.table: sa.Table[Any] = table
        constants: dict[object, object] = {mapper.polymorphic_on: mapper.polymorphic_identity}
        if mapper.version_id_col is not None and mapper.version_id_generator:
            constants[mapper.version_id_col] = mapper.version_id_generator(None)
        fields = {
            attribute.columns[0]: attribute.key
            for attribute in mapper.column_attrs
            if isinstance(attribute.columns[0], sa.Column)
        }
        self.fields = [
            _field(fields[column], column, constants.get(column))
            for column in self.table.columns
            if column in fields and column.computed is None
        ]
        self.names = frozenset(each.name for each in self.fields)
        self.served = frozenset(each.name for each in self.fields if each.served)
        self.key = [fields[column] for column in self.table.primary_key]
        versioned = mapper.version_id_col
        self.version = fields[versioned] if isinstance(versioned, sa.Column) else None

    def columns_of(self, names: Collection[str]) -> list[str]:
        """The keys of these attributes' columns."""
        if unknown := set(names) - self.names:
            raise UnknownField(self.model, unknown, self.names)
        return [each.column.key for each in self.fields if each.name in names]

    def renewals(self) -> dict[str, object]:
        """What every change of a row also sets: its next version, and what has an `onupdate`."""
        renewed: dict[str, object] = {}
        for each in self.fields:
            made = each.column.onupdate
            if each.name == self.version:
                renewed[each.column.key] = each.column + sa.literal_column("1")
            elif isinstance(made, sa.ColumnDefault):
                renewed[each.column.key] = _renewal(each.column, made)
        return renewed

    def inserts(self, chunk: list[Row], *, alike: bool = False) -> Iterator[Batch]:
        """Batches with every column that the database does not fill.

        A None counts as not given, as for the ORM, where the database fills the column. With
        `alike` all rows of a batch give the same names.
        """
        given = self._check(chunk)
        varying = given if alike else given & self.served
        for names, some in _groups(chunk, varying, self.served).items():
            used = [each for each in self.fields if not each.served or each.name in names]
            yield _batch(used, [each.values(some, given) for each in used], names)

    def updates(self, chunk: list[Row]) -> Iterator[Batch]:
        """Batches with the columns that rows give, their key among them."""
        for names, some in _groups(chunk, self._check(chunk), frozenset()).items():
            if missing := set(self.key) - names:
                raise ValueError(f"a row gives no {', '.join(sorted(missing))}, its key")
            used = [each for each in self.fields if each.name in names]
            yield _batch(used, [[row[each.name] for row in some] for each in used], names)

    def _check(self, chunk: Sequence[Row]) -> frozenset[str]:
        given = frozenset[str]().union(*chunk)
        if unknown := given - self.names:
            raise UnknownField(self.model, unknown, self.names)
        return given


@cache
def layout(model: type[DeclarativeBase]) -> Layout:
    """A model's layout. Raises TypeError for one that lies in several tables."""
    return Layout(model)


def _batch(
    fields: Sequence[_Field],
    values: Sequence[Sequence[object]],
    given: frozenset[str],
) -> Batch:
    names, columns = (each.name for each in fields), (each.column for each in fields)
    return Batch(tuple(names), tuple(columns), values, given)


def _maker(
    function: Callable[..., object],
    several: Callable[[int], list[object]] | None,
) -> Callable[[Sequence[Row]], list[object]]:
    if several is not None:
        return lambda rows: several(len(rows))
    # SQLAlchemy wraps a function that asks for no context, and one that tells nothing of itself.
    plain = getattr(function, "__wrapped__", None)
    try:
        asks = callable(plain) and any(
            parameter.default is Parameter.empty
            for parameter in signature(plain).parameters.values()
        )
    except ValueError:
        asks = False
    if callable(plain) and not asks:
        return lambda rows: [plain() for _ in rows]
    return lambda rows: [function(_Parameters(row)) for row in rows]


def _renewal(column: sa.Column[Any], made: sa.ColumnDefault) -> object:
    if made.is_clause_element:
        return made.arg
    return sa.literal(made.arg(_Parameters()) if made.is_callable else made.arg, column.type)


def _field(name: str, column: sa.Column[Any], constant: object) -> _Field:
    made = column.default
    if constant is not None:
        return _Field(name, column, lambda rows: [constant] * len(rows), served=False)
    if isinstance(made, sa.ColumnDefault) and made.is_scalar:
        value: object = made.arg
        return _Field(name, column, lambda rows: [value] * len(rows), served=False)
    if isinstance(made, sa.ColumnDefault) and made.is_callable:
        return _Field(name, column, _maker(made.arg, column.info.get("defaults")), served=False)
    counted = column.table.autoincrement_column is column
    served = column.server_default is not None or made is not None or counted
    return _Field(name, column, None, served)


def _groups(
    chunk: list[Row],
    varying: frozenset[str],
    served: frozenset[str],
) -> Mapping[frozenset[str], list[Row]]:
    """The rows by which of these names they give: all in one group, most of the time.

    Rows of different groups change places: within a chunk, and with no more to tell by.
    """
    if not varying & served and all(len(row) == len(varying) for row in chunk) or not varying:
        return {varying: chunk}
    groups: dict[frozenset[str], list[Row]] = defaultdict(list)
    for row in chunk:
        names = (x for x in varying if x in row and (x not in served or row[x] is not None))
        groups[frozenset(names)].append(row)
    return groups
