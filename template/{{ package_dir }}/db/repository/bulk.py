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
from itertools import groupby
from time import monotonic
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession

from ..engine import dialect
from ..errors import StaleRow
from ..models.keys import check_key_types, has_key, keys_per_statement, refuse_other_keys
from .columns import Columns, Row, called, parameter, refuse_names

T = TypeVar("T")

Rows = Iterable[Row] | AsyncIterable[Row]
Keys = Iterable[object] | AsyncIterable[object]
Progress = Callable[[int], object]
# Rows by the names that each of them gives.
Group = tuple[tuple[str, ...], Sequence[Row]]
Groups = Sequence[Group]

_ENDED = (
    "the source of the rows has ended the session's transaction, in which they are written: let it"
    " use a session of its own"
)

# With 500 rows a round trip is negligible. More new objects would start Python's garbage collector,
# which takes as long as the rest of a chunk.
CHUNK_SIZE = 500
# For how many seconds rows are collected: far less than any limit on idle transactions.
CHUNK_SECONDS = 0.5


@dataclass
class BulkWrite:
    """One call that writes many rows: what they may give, which may change, how far it is."""

    session: AsyncSession
    columns: Columns
    writable: Collection[str] = ()
    progress: Progress | None = None
    criteria: Sequence[sa.ColumnElement[bool]] = ()
    include_deleted: bool = False
    # The keys of the rows that the session holds, and those of them that were changed.
    held: Set[object] = frozenset()
    # The names that each row must give: existing rows are found by them.
    required: Collection[str] = ()
    changed: set[object] = field(default_factory=set[object])
    count: int = 0

    def chunks(self, rows: Rows, size: int = CHUNK_SIZE) -> AsyncIterator[list[Row]]:
        """Yield the rows in checked chunks."""
        return self.checked(chunks(rows, size))

    async def checked(self, chunks: AsyncIterator[list[Row]]) -> AsyncIterator[list[Row]]:
        """Yield chunks: check each before, and count it after it was written."""
        async for chunk in chunks:
            self.check(chunk)
            yield chunk
            self.count += len(chunk)
            if self.progress is not None:
                self.progress(self.count)

    def check(self, rows: Sequence[Row]) -> None:
        """Refuse rows that are no mappings, or give other names than they may, or too few.

        Raises:
            TypeError: A row is no mapping.
            NotWritable: A row gives a name that it may not give.
            ValueError: A row does not give a name that is required.
        """
        for kind in set(map(type, rows)):
            if not issubclass(kind, Mapping):
                # Its items may be values, which an error must not show.
                raise TypeError(f"rows must be mappings of names to values, not {kind.__name__}")
        refuse_names(self.columns.model, frozenset[str]().union(*rows), self.writable)
        if missing := {name for name in self.required for row in rows if name not in row}:
            raise ValueError(f"a row gives no {', '.join(sorted(missing))}, by which it is found")

    async def execute(self, statement: sa.Update | sa.Delete) -> int:
        """Execute a change of the rows that may change, and return how many there were."""
        # The session's own rows follow later: few of many are among them.
        options = {"synchronize_session": False, "include_deleted": self.include_deleted}
        own = statement.where(*self.criteria)
        result = await self.session.execute(own, execution_options=options)
        assert isinstance(result, sa.CursorResult)
        return result.rowcount


def by_names(rows: Iterable[Row], optional: Set[str] = frozenset()) -> Groups:
    """Return rows by the names that they give: None does not count for an `optional` one."""
    groups = defaultdict[tuple[str, ...], list[Row]](list)
    for row in rows:
        groups[tuple(row)].append(row)
    for names, some in [*groups.items()]:
        without = [x for x in names if x in optional and any(row[x] is None for row in some)]
        if without:
            del groups[names]
            for row in some:
                given = tuple(x for x in names if x not in without or row[x] is not None)
                groups[given].append(row)
    return [*groups.items()]


def new_groups(columns: Columns, rows: Iterable[Row]) -> Groups:
    """Return new rows by the names that they give: in their order where one may refer to another."""

    def names(row: Row) -> tuple[str, ...]:
        return tuple(x for x in row if row[x] is not None or x not in columns.optional)

    if columns.refers_to_itself:
        return [(given, [*some]) for given, some in groupby(rows, names)]
    return by_names(rows, columns.optional)


async def insert_rows(write: BulkWrite, rows: Rows) -> None:
    """Insert rows as session.add() does, but for `__init__`, validators and mapper events."""
    async for chunk in write.chunks(rows):
        await insert_groups(write, new_groups(write.columns, chunk))


async def insert_groups(write: BulkWrite, groups: Groups) -> None:
    """Insert rows by one statement for each set of columns that they give."""
    columns = write.columns
    statement = sa.insert(columns.table if columns.is_one_table else columns.model)
    for names, rows in groups:
        new, options = columns.new(names, rows), {"render_nulls": True}
        await write.session.execute(statement, new, execution_options=options)


async def upsert_chunk(write: BulkWrite, chunk: Iterable[Row], on: Sequence[str]) -> None:
    """Insert or change a chunk by one statement for each set of columns that rows give."""
    columns = write.columns
    rows = chunk if columns.refers_to_itself else _merge(chunk, on, columns.optional)
    for names, some in new_groups(columns, rows):
        statement, made = upsert(write, names, on), columns.onupdates(names)
        given, new = [columns.in_statement[name] for name in names], columns.new(names, some)
        for values in new if made else ():
            values |= called(made, {name: values[name] for name in given})
        for parameters in [new] if dialect.takes_many(statement) else new:
            await write.session.execute(statement, parameters)


def _merge(rows: Iterable[Row], on: Sequence[str], optional: Set[str]) -> Iterable[Row]:
    """Return what rows give, those with the same values `on` columns as one: the later wins.

    Their groups can then be written in any order. No NULL is the same as another.
    """
    merged = defaultdict[object, dict[str, object]](dict)
    for number, row in enumerate(rows):
        given = {x: value for x, value in row.items() if value is not None or x not in optional}
        values = [given.get(name) for name in on]
        merged[number if None in values else str(values)].update(given)
    return merged.values()


def upsert(write: BulkWrite, names: Collection[str], on: Sequence[str]) -> sa.Insert:
    """Return the statement that inserts or changes rows which give these names."""
    columns, table = write.columns, write.columns.table
    same = [columns.in_statement[name] for name in on]
    renewed = {column.key: version for column, version in columns.version_after.items()}
    for column, made in columns.onupdates(names).items():
        value = sa.bindparam(parameter(column), type_=column.type)
        renewed[column.key] = made.arg if made.is_clause_element else value
    fixed = {*same, *table.primary_key.columns.keys()}
    given = [columns.in_statement[x] for x in names if columns.in_statement[x] not in fixed]
    return dialect.upsert(table, same, given, renewed, [*write.criteria, *columns.criteria])


async def update_chunk(write: BulkWrite, chunk: Sequence[Row]) -> int:
    """Lock the rows of a chunk, and change them by one statement for each set of columns."""
    columns, rows = write.columns, defaultdict[object, dict[str, object]](dict)
    for key, row in zip(keys_of(write, chunk), chunk, strict=True):
        rows[key].update(row)
    versions = await _lock(write, [*rows])
    given = ((key, row[columns.version]) for key, row in rows.items() if columns.version in row)
    refuse_stale(write, sum(versions.get(key, ...) != x for key, x in given), len(rows))
    same = [x == sa.bindparam(parameter(x), type_=x.type) for x in columns.table.primary_key]
    statement = sa.update(columns.table).where(*same).values(columns.version_after)
    places = {name: parameter(columns.by_name[name]) for name in columns.key}
    for names, some in by_names(rows[key] for key in versions):
        changed = {x: columns.in_statement[x] for x in names if x not in (*places, columns.version)}
        taken = (places | changed).items() if changed else ()
        if parameters := [{y: row[x] for x, y in taken} for row in some if taken]:
            await write.session.execute(statement, parameters)
    return len(versions)


def keys_of(write: BulkWrite, rows: Sequence[Row]) -> list[object]:
    """Return the keys of rows, and note those that the session holds.

    Raises:
        ValueError: A key is given twice with a version.
    """
    key, version = write.columns.key, write.columns.version
    keys = [row[key[0]] if len(key) == 1 else tuple(row[x] for x in key) for row in rows]
    check_key_types(write.columns.model, keys)
    if len({*keys}) < len(keys) and any(version in row for row in rows):
        raise ValueError("a row is given twice, with the version that was read")
    write.changed.update(write.held & {*keys})
    return keys


async def _lock(write: BulkWrite, keys: Sequence[object]) -> dict[object, object]:
    """Lock the rows that have these keys and may change, and return their versions by key."""
    model, versions = write.columns.model, dict[object, object]()
    names = (*write.columns.key, write.columns.version)
    columns = [getattr(model, name) for name in names if name]
    options = {"include_deleted": write.include_deleted}
    async for some in chunks(keys, keys_per_statement(model)):
        same = (has_key(model, some), *write.criteria)
        statement = sa.select(*columns).where(*same).with_for_update(of=write.columns.mapper.tables)
        for row in await write.session.execute(statement, execution_options=options):
            *key, version = row if write.columns.version else (*row, None)
            versions[key[0] if len(key) == 1 else tuple(key)] = version
    refuse_other_keys(model, versions.keys() - keys)
    return versions


def refuse_stale(write: BulkWrite, stale: int, count: int) -> None:
    """Raise StaleRow where rows have another version than the one that was given."""
    if stale:
        raise StaleRow(
            f"{stale} of {count} rows of {write.columns.model.__name__} have changed since they"
            " were read, or are gone: read them again, and decide again"
        )


async def change_keys(write: BulkWrite, keys: Keys, statement: sa.Update | sa.Delete) -> int:
    """Execute a change of the rows that have these keys, and return how many there were."""
    model, count = write.columns.model, 0
    # A model in several tables is refused.
    assert write.columns.table is not None
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
        except InvalidRequestError:
            if block.is_active:
                raise
        if not block.is_active:
            raise InvalidRequestError(_ENDED)


async def chunks(
    items: Iterable[T] | AsyncIterable[T], size: int = CHUNK_SIZE
) -> AsyncIterator[list[T]]:
    """Yield so many items at a time, or those that come in CHUNK_SECONDS."""
    if not isinstance(items, AsyncIterable):
        for chunk in lists(items, size):
            yield chunk
        return
    chunk, end = list[T](), monotonic() + CHUNK_SECONDS
    async for item in items:
        chunk.append(item)
        if len(chunk) == size or monotonic() > end:
            yield chunk
            chunk, end = list[T](), monotonic() + CHUNK_SECONDS
    if chunk:
        yield chunk


def lists(
    items: Iterable[T], size: int = CHUNK_SIZE, seconds: float = CHUNK_SECONDS
) -> Iterator[list[T]]:
    """Yield so many items at a time, or those that come in so many seconds."""
    chunk, end = list[T](), monotonic() + seconds
    for item in items:
        chunk.append(item)
        if len(chunk) == size or monotonic() > end:
            yield chunk
            chunk, end = list[T](), monotonic() + seconds
    if chunk:
        yield chunk
