"""How the rows of a model lie in its table: checked, filled with defaults, put into batches."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from numbers import Number
from types import NoneType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from ..engine.rows import Batch, Row, names_of
from ..errors import NotWritable


@dataclass
class _Context:
    """What a function gets that makes a default from the row, in place of SQLAlchemy's context."""

    row: Row = field(default_factory=dict[str, object])

    def get_current_parameters(self) -> Row:
        return self.row


# The values of a column for so many rows, which do not give it.
Defaults = Callable[[Sequence[Row]], list[object]]


@dataclass(frozen=True)
class _Field:
    """A column that rows may give, and what it holds if they do not."""

    name: str
    column: sa.Column[Any]
    default: Defaults | None
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
            raise TypeError(
                f"{model.__name__} lies in several tables, and this writes to one: use create_many(),"
                " or update() and delete() for each row"
            )
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
        # What tells the model's rows from those of other classes in the table.
        self.kinds = list[sa.ColumnElement[bool]]()
        if mapper.single and mapper.polymorphic_on is not None:
            kinds = [each.polymorphic_identity for each in mapper.self_and_descendants]
            self.kinds.append(mapper.polymorphic_on.in_(kinds))

    def columns_of(self, names: Collection[str]) -> list[str]:
        """The keys of these attributes' columns."""
        if unknown := set(names) - self.names:
            raise NotWritable(self.model, unknown, self.names)
        return [each.column.key for each in self.fields if each.name in names]

    def check_keys(self, keys: Collection[Any]) -> None:
        """Raise TypeError for keys of a type that no row's has: a database may take text for any.

        The rows that a session holds would not be found by them.
        """
        columns: Iterable[Collection[object]]
        columns = [keys] if len(self.key) == 1 else zip(*keys, strict=True)
        for name, key, values in zip(self.key, self.table.primary_key, columns, strict=True):
            # Numbers of different types may be equal.
            is_number = issubclass(key.type.python_type, Number)
            known = Number if is_number else key.type.python_type
            for kind in set(map(type, values)):
                if not issubclass(kind, (known, NoneType)):
                    raise TypeError(
                        f"{self.model.__name__}.{name} is of another type than {kind.__name__}:"
                        " give keys as the rows have them"
                    )

    def renewals(self) -> dict[str, object]:
        """What every change of a row also sets: its next version, and what has an `onupdate`."""
        renewed = self.next_version()
        for each in self.fields:
            if isinstance(each.column.onupdate, sa.ColumnDefault):
                renewed.setdefault(each.column.key, _renewal(each.column, each.column.onupdate))
        return renewed

    def next_version(self) -> dict[str, object]:
        """What raises the version of a row. Raises TypeError for one that SQL cannot count."""
        mapper = sa.inspect(self.model)
        column, generator = mapper.version_id_col, mapper.version_id_generator
        if column is None or not generator:
            # Without a generator the database does it.
            return {}
        if not isinstance(column.type, sa.Integer) or generator(1) != 2:
            raise TypeError(
                f"the versions of {self.model.__name__} are no numbers that go up by one: change its"
                " rows one by one, with update()"
            )
        return {str(column.key): column + sa.literal_column("1")}

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
            batch = _batch(used, [[row[each.name] for row in some] for each in used], names)
            self.check_keys([*batch.row_keys()])
            yield batch

    def _check(self, chunk: list[Row]) -> frozenset[str]:
        given = names_of(chunk)
        if unknown := given - self.names:
            raise NotWritable(self.model, unknown, self.names)
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


def _renewal(column: sa.Column[Any], made: sa.ColumnDefault) -> object:
    if made.is_clause_element:
        return made.arg
    return sa.literal(made.arg(_Context()) if made.is_callable else made.arg, column.type)


def _field(name: str, column: sa.Column[Any], constant: object) -> _Field:
    made = column.default
    if constant is not None:
        return _Field(name, column, _same(constant), served=False)
    if isinstance(made, sa.ColumnDefault) and made.is_scalar:
        return _Field(name, column, _same(made.arg), served=False)
    if isinstance(made, sa.ColumnDefault) and made.is_callable:
        return _Field(name, column, _called(column, made.arg), served=False)
    counted = column.table.autoincrement_column is column
    served = column.server_default is not None or made is not None or counted
    return _Field(name, column, None, served)


def _same(value: object) -> Defaults:
    return lambda rows: [value] * len(rows)


def _called(column: sa.Column[Any], function: Callable[[object], object]) -> Defaults:
    # A model may name a function that makes many at once, as mixins.uuid7s.
    several: Callable[[int], list[object]] | None = column.info.get("defaults")
    context = _Context()

    def one_by_one(rows: Sequence[Row]) -> list[object]:
        made: list[object] = []
        for row in rows:
            context.row = row
            made.append(function(context))
        return made

    return one_by_one if several is None else lambda rows: several(len(rows))


def _groups(
    chunk: list[Row],
    varying: frozenset[str],
    served: frozenset[str],
) -> Mapping[frozenset[str], list[Row]]:
    """The rows by which of these names they give; a None for what is served is not given.

    Where the database serves `id`, {"a": 1} and {"a": 2, "id": None} are one group, {"a": 3, "id": 9}
    is another. Rows of different groups change places, within a chunk.
    """
    alike = all(len(row) == len(varying) for row in chunk) and not varying & served
    if alike or not varying:
        return {varying: chunk}
    groups: dict[frozenset[str], list[Row]] = defaultdict(list)
    for row in chunk:
        names = (x for x in varying if x in row and (x not in served or row[x] is not None))
        groups[frozenset(names)].append(row)
    return groups
