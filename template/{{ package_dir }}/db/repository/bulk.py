"""Bulk writes: any number of rows, in chunks, by SQLAlchemy's own statements."""

from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase

from ..engine import dialect
from ..errors import StaleRow
from .keys import check_key_types, has_key, keys_per_statement, refuse_other_keys
from .keyset import key_attributes
from .writable import has_default, refuse_names

T = TypeVar("T")

Row = Mapping[str, object]
Rows = Iterable[Row] | AsyncIterable[Row]
Keys = Iterable[object] | AsyncIterable[object]
Progress = Callable[[int], object]
# The values of a row by what a statement calls its columns.
Values = dict[str, object]

_ENDED = (
    "the source of the rows has ended the session's transaction, in which they are written: let it"
    " use a session of its own"
)

# Large enough that a round trip does not count, and fewer objects than the 700 after which Python
# looks for garbage: that would take as long as all the rest.
CHUNK = 500


class Target:
    """The columns of a model, as bulk statements see them."""

    def __init__(self, model: type[DeclarativeBase]) -> None:
        self.model, self.mapper = model, sa.inspect(model)
        #: The columns that a statement may name, by attribute.
        self.columns = {
            attribute.key: column
            for attribute in self.mapper.column_attrs
            if isinstance(column := attribute.columns[0], sa.Column) and column.computed is None
        }
        self.is_one_table = len(self.mapper.tables) == 1
        self._table: sa.Table[Any] | None = None
        table: object = self.mapper.local_table
        if self.is_one_table and isinstance(table, sa.Table):
            self._table = table
        #: What a statement calls them: a statement on several tables takes attributes.
        self.names = {
            name: x.key if self.is_one_table else name for name, x in self.columns.items()
        }
        attributes = {column: name for name, column in self.columns.items()}
        self.key = [attribute.key for attribute in key_attributes(self.mapper)]
        version: Any = self.mapper.version_id_col
        self.version = attributes.get(version)
        generator = self.mapper.version_id_generator
        self.next_version = generator if self.version and callable(generator) else None
        defaulted = {name for name, x in self.columns.items() if has_default(x)}
        nullable = {name for name, x in self.columns.items() if not x.type.should_evaluate_none}
        #: The attributes for which None counts as not given, as it does for session.add().
        self.defaulted = defaulted & nullable
        #: What session.add() gives to the other columns that a row leaves out.
        self.absent: Values = {self.names[x]: None for x in nullable - defaulted - {*self.key}}
        polymorphic_on: Any = self.mapper.polymorphic_on
        if kind := attributes.get(polymorphic_on):
            self.absent[self.names[kind]] = self.mapper.polymorphic_identity

    @property
    def table(self) -> sa.Table[Any]:
        """The table of the model. Raise TypeError for a model that has several."""
        if self._table is not None:
            return self._table
        raise TypeError(
            f"{self.model.__name__} lies in several tables, and this writes to one: use"
            " create_many(), or update() and delete() for each row"
        )

    @property
    def version_after(self) -> dict[sa.Column[Any], sa.ColumnElement[Any]]:
        """The version that follows a row's own. Raise TypeError if SQL cannot count it."""
        if self.version is None or self.next_version is None:
            return {}
        column = self.columns[self.version]
        if isinstance(column.type, sa.Integer) and self.next_version(1) == 2:
            return {column: column + sa.literal_column("1")}
        raise TypeError(
            f"the versions of {self.model.__name__} are no numbers that go up by one: change its"
            " rows one by one, with update()"
        )

    def given(self, row: Row) -> Values:
        """Return what a row gives."""
        names, defaulted = self.names, self.defaulted
        return {names[x]: v for x, v in row.items() if v is not None or x not in defaulted}

    def new(self, given: Values) -> Values:
        """Return the parameters of an INSERT, to which SQLAlchemy adds the defaults."""
        values = {**self.absent, **given}
        if self.version and self.next_version:
            values[self.names[self.version]] = self.next_version(None)
        return values


@cache
def target(model: type[DeclarativeBase]) -> Target:
    """Return the target of a model, which is made once."""
    return Target(model)


@dataclass
class BulkWrite:
    """One call that writes many rows: what they may give, which may change, how far it is."""

    session: AsyncSession
    target: Target
    writable: Collection[str] = ()
    progress: Progress | None = None
    criteria: Sequence[sa.ColumnElement[bool]] = ()
    include_deleted: bool = False
    # The keys of the rows that the session holds, and those of them that were changed.
    held: Set[object] = frozenset()
    changed: set[object] = field(default_factory=set[object])
    count: int = 0

    def check(self, rows: Sequence[Row]) -> frozenset[str]:
        """Return the names that rows give.

        Raise TypeError for a row that is no mapping, NotWritable for a name it may not give.
        """
        for kind in set(map(type, rows)):
            if not issubclass(kind, Mapping):
                # Its items may be values, which an error must not show.
                raise TypeError(f"rows must be mappings of names to values, not {kind.__name__}")
        names = frozenset[str]().union(*rows)
        refuse_names(self.target.model, names, self.writable)
        return names

    def checked(self, chunks: Iterable[list[Row]]) -> Iterator[list[Row]]:
        """Yield chunks: check each before, and count it after it was written."""
        for chunk in chunks:
            self.check(chunk)
            yield chunk
            self.count += len(chunk)
            if self.progress is not None:
                self.progress(self.count)

    async def chunks(self, rows: Rows, size: int = CHUNK) -> AsyncIterator[list[Row]]:
        """Yield the rows in checked chunks."""
        async for chunk in chunks(rows, size):
            for checked in self.checked([chunk]):
                yield checked

    async def execute(self, statement: sa.Update | sa.Delete) -> int:
        """Execute a change of the rows that may change, and return how many there were."""
        result = await self.session.execute(
            statement.where(*self.criteria),
            # The session's own rows follow later: few of many are among them.
            execution_options={
                "synchronize_session": False,
                "include_deleted": self.include_deleted,
            },
        )
        assert isinstance(result, sa.CursorResult)
        return result.rowcount


async def insert_rows(write: BulkWrite, rows: Rows) -> None:
    """Insert rows as session.add() does, but for `__init__`, validators and mapper events."""
    async for chunk in write.chunks(rows):
        await insert_chunk(write, chunk)


async def insert_chunk(write: BulkWrite, chunk: Iterable[Row]) -> None:
    """Insert a chunk by one statement for each set of columns that rows give."""
    target = write.target
    statement = sa.insert(target.table if target.is_one_table else target.model)
    for some in _by_names(target.new(target.given(row)) for row in chunk).values():
        await write.session.execute(statement, some, execution_options={"render_nulls": True})


async def upsert_chunk(write: BulkWrite, chunk: Iterable[Row], on: Sequence[str]) -> None:
    """Insert or change a chunk by one statement for each set of columns that rows give."""
    target = write.target
    rows = _merge(map(target.given, chunk), [target.names[name] for name in on])
    for names, some in _by_names(rows).items():
        statement, made = upsert(write, names, on), onupdates(target.table, names)
        new = [{**target.new(row), **_call(made, row)} for row in some]
        for parameters in [new] if dialect.takes_many(statement) else new:
            await write.session.execute(statement, parameters)


def upsert(write: BulkWrite, names: Collection[str], on: Sequence[str]) -> sa.Insert:
    """Return the statement that inserts or changes rows which give these columns."""
    mapper, table = write.target.mapper, write.target.table
    same = [write.target.names[name] for name in on]
    renewed = {column.key: version for column, version in write.target.version_after.items()}
    for column, made in onupdates(table, names).items():
        value = sa.bindparam(_parameter(column), type_=column.type)
        renewed[column.key] = made.arg if made.is_clause_element else value
    fixed, criteria = {*same, *table.primary_key.columns.keys()}, [*write.criteria]
    if mapper.single and mapper.polymorphic_on is not None:
        # Other classes share the table.
        kinds = [each.polymorphic_identity for each in mapper.self_and_descendants]
        criteria.append(sa.or_(*(mapper.polymorphic_on == kind for kind in kinds)))
    return dialect.upsert(table, same, [x for x in names if x not in fixed], renewed, criteria)


def onupdates(
    table: sa.Table[Any], names: Collection[str]
) -> Mapping[sa.Column[Any], sa.ColumnDefault]:
    """Return what makes the columns that a change does not name.

    SQLAlchemy does it for an UPDATE, but not for an INSERT that finds a row.
    """
    made = ((x, x.onupdate) for x in table.columns if x.key not in names)
    return {column: onupdate for column, onupdate in made if isinstance(onupdate, sa.ColumnDefault)}


def _call(made: Mapping[sa.Column[Any], sa.ColumnDefault], row: Values) -> Values:
    """Return the parameters that an upsert has beside those of an INSERT."""
    return {
        _parameter(column): default.arg(_Context(row)) if default.is_callable else default.arg
        for column, default in made.items()
        if not default.is_clause_element
    }


@dataclass
class _Context:
    """What an `onupdate` function may ask of SQLAlchemy's context: the values of its row."""

    current_parameters: Values

    def get_current_parameters(self, isolate_multiinsert_groups: bool = True) -> Values:
        return self.current_parameters


async def update_chunk(write: BulkWrite, chunk: Sequence[Row]) -> int:
    """Lock the rows of a chunk, and change them by one statement for each set of columns."""
    target, rows = write.target, defaultdict[object, dict[str, object]](dict)
    for key, row in zip(keys_of(write, chunk), chunk, strict=True):
        rows[key].update(row)
    versions = await _lock(write, [*rows])
    given = ((key, row[target.version]) for key, row in rows.items() if target.version in row)
    refuse_stale(write, sum(versions.get(key, ...) != x for key, x in given), len(rows))
    fixed = {*target.key, target.version}
    changes = (
        {target.names[name]: value for name, value in rows[key].items() if name not in fixed}
        | {_parameter(target.columns[name]): rows[key][name] for name in target.key}
        for key in versions
        if rows[key].keys() - fixed
    )
    same = [x == sa.bindparam(_parameter(x), type_=x.type) for x in target.table.primary_key]
    statement = sa.update(target.table).where(*same).values(target.version_after)
    for some in _by_names(changes).values():
        await write.session.execute(statement, some)
    return len(versions)


def keys_of(write: BulkWrite, rows: Sequence[Row]) -> list[object]:
    """Return the keys of rows, and note those that the session holds.

    Raise ValueError for a row without its key, and for a key that is given twice with a version.
    """
    key, version = write.target.key, write.target.version
    if missing := {name for name in key for row in rows if name not in row}:
        raise ValueError(f"a row gives no {', '.join(sorted(missing))}, its key")
    keys = [row[key[0]] if len(key) == 1 else tuple(row[x] for x in key) for row in rows]
    check_key_types(write.target.model, keys)
    if len({*keys}) < len(keys) and any(version in row for row in rows):
        raise ValueError("a row is given twice, with the version that was read")
    write.changed.update(write.held & {*keys})
    return keys


async def _lock(write: BulkWrite, keys: Sequence[object]) -> dict[object, object]:
    """Lock the rows that have these keys and may change, and return their versions by key."""
    target, versions = write.target, dict[object, object]()
    columns = [getattr(target.model, name) for name in (*target.key, target.version) if name]
    async for some in chunks(keys, keys_per_statement(target.model)):
        same = has_key(target.model, some)
        found = await write.session.execute(
            sa.select(*columns).where(same, *write.criteria).with_for_update(),
            execution_options={"include_deleted": write.include_deleted},
        )
        for row in found:
            *key, version = row if target.version else (*row, None)
            versions[key[0] if len(key) == 1 else tuple(key)] = version
    refuse_other_keys(target.model, versions.keys() - keys)
    return versions


def refuse_stale(write: BulkWrite, stale: int, count: int) -> None:
    """Raise StaleRow where rows have another version than the one that was given."""
    if stale:
        raise StaleRow(
            f"{stale} of {count} rows of {write.target.model.__name__} have changed since they were"
            " read, or are gone: read them again, and decide again"
        )


async def change_keys(write: BulkWrite, keys: Keys, statement: sa.Update | sa.Delete) -> int:
    """Execute a change of the rows that have these keys, and return how many there were."""
    model, count = write.target.model, 0
    # A model in several tables is refused.
    assert write.target.table is not None
    async for some in chunks(keys, keys_per_statement(model)):
        check_key_types(model, some)
        count += await write.execute(statement.where(has_key(model, some)))
        write.changed.update(write.held & {*some})
    return count


@asynccontextmanager
async def savepoint(session: AsyncSession) -> AsyncGenerator[None]:
    """Open a savepoint for a bulk write, which also begins the transaction: a COPY would not."""
    async with session.begin_nested() as block:
        try:
            # SQLAlchemy sends SAVEPOINT only when the session uses its connection.
            await session.connection()
            yield
        except InvalidRequestError as error:
            if block.is_active:
                raise
            raise InvalidRequestError(_ENDED) from error
        if not block.is_active:
            raise InvalidRequestError(_ENDED)


async def chunks(
    items: Iterable[T] | AsyncIterable[T], size: int = CHUNK
) -> AsyncIterator[list[T]]:
    """Yield so many items at a time."""
    if not isinstance(items, AsyncIterable):
        for chunk in lists(iter(items), size):
            yield chunk
        return
    chunk = list[T]()
    async for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = list[T]()
    if chunk:
        yield chunk


def lists(items: Iterator[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Yield so many items at a time."""
    while some := list(islice(items, size)):
        yield some


def _by_names(rows: Iterable[Values]) -> Mapping[frozenset[str], list[Values]]:
    """Return the rows by what they give."""
    groups = defaultdict[frozenset[str], list[Values]](list)
    for row in rows:
        groups[frozenset(row)].append(row)
    return groups


def _merge(rows: Iterable[Values], names: Sequence[str]) -> Iterable[Values]:
    """Return the rows, those with the same values of these columns as one: the later wins.

    Their groups can then be written in any order. No NULL is the same as another.
    """
    merged = defaultdict[object, Values](dict)
    for number, row in enumerate(rows):
        values = [row.get(name) for name in names]
        merged[number if None in values else str(values)].update(row)
    return merged.values()


def _parameter(column: sa.Column[Any]) -> str:
    """Return a name for a parameter that no column is called by."""
    return f"{max(column.table.c.keys(), key=len)}_{column.key}"
