"""Rows on their way to a table: in batches, column by column."""

import time
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from itertools import chain, groupby, islice
from operator import attrgetter
from typing import Any, TypeVar

import sqlalchemy as sa

from ..errors import InvalidValue

T = TypeVar("T")

Row = Mapping[str, object]
Rows = Iterable[Row] | AsyncIterable[Row]

# Large enough for a round trip not to matter; and fewer values than the 700 at which Python looks for
# garbage each time, which takes as long as all the rest.
BATCH_SIZE = 500

# For how many seconds one statement may stream, the client and the server working at the same time:
# far from any limit on its time, however slowly rows come. At its end the client waits for the server.
RUN_SECONDS = 0.5

# What is awaited may come by way of the same connection: it is taken before the statement begins.
AWAITED_SIZE = 2000


class Keys(list[Any]):
    """Many keys as one parameter, which a driver may send in another way than other lists."""


@dataclass(frozen=True)
class Batch:
    """Some rows that give the same columns, column by column, as Python has the values."""

    names: tuple[str, ...]
    columns: tuple[sa.Column[Any], ...]
    values: Sequence[Sequence[object]]
    # The names that the rows give: the values of others are defaults.
    given: frozenset[str]

    def __len__(self) -> int:
        return len(self.values[0])

    @property
    def keys(self) -> list[str]:
        """The keys of the columns."""
        return [column.key for column in self.columns]

    def mappings(self) -> list[dict[str, object]]:
        """The rows by the keys of their columns, as SQLAlchemy takes them."""
        keys = self.keys
        return [dict(zip(keys, row, strict=True)) for row in zip(*self.values, strict=True)]

    def tuples(self, dialect: sa.Dialect) -> Iterator[tuple[object, ...]]:
        """The rows as the driver takes them: each value adapted as its column's type does it."""
        adapted = list(self.values)
        for index, column in enumerate(self.columns):
            process = column.type.dialect_impl(dialect).bind_processor(dialect)
            if process is None:
                continue
            # For JSON None is a value too.
            null = object() if column.type.should_evaluate_none else None
            try:
                adapted[index] = [x if x is null else process(x) for x in adapted[index]]
            except InvalidValue:
                raise
            except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError) as error:
                raise InvalidValue(InvalidValue.problem) from error
        return zip(*adapted, strict=True)

    def row_keys(self) -> Iterable[object]:
        """The keys of the rows, as a repository takes them."""
        values: dict[object, Sequence[object]] = dict(zip(self.columns, self.values, strict=True))
        keys = [values[column] for column in self.columns[0].table.primary_key]
        return keys[0] if len(keys) == 1 else zip(*keys, strict=True)


async def chunks(
    items: Iterable[T] | AsyncIterable[T], size: int = BATCH_SIZE
) -> AsyncIterator[list[T]]:
    """So many of them at a time, taken when they are asked for."""
    if not isinstance(items, AsyncIterable):
        for chunk in _lists(iter(items), size):
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


def names_of(chunk: list[Row]) -> frozenset[str]:
    """The names that any of these rows gives. Raises TypeError for what is no mapping."""
    for kind in set(map(type, chunk)):
        if not issubclass(kind, Mapping):
            # Its items may be values: they would be told as names that no column has.
            raise TypeError(f"rows are mappings of names to values, in a list: not {kind.__name__}")
    return frozenset[str]().union(*chunk)


@dataclass(frozen=True)
class Run:
    """Batches that give the same columns, as many as one statement may take; each comes once."""

    columns: tuple[sa.Column[Any], ...]
    given: frozenset[str]
    batches: Iterable[Batch]


async def runs(
    rows: Rows,
    batches_of: Callable[[list[Row]], Iterable[Batch]],
) -> AsyncIterator[Run]:
    """The rows as runs, each to be taken to its end before the next.

    A chunk is 500 rows as they come, a batch those of it that give the same columns, a run the
    batches that follow each other and do, for half a second.
    """
    async for some in _streams(rows):
        batches = chain.from_iterable(map(batches_of, some))
        for (columns, given), alike in groupby(batches, key=attrgetter("columns", "given")):
            yield Run(columns, given, alike)


async def _streams(rows: Rows) -> AsyncIterator[Iterator[list[Row]]]:
    if isinstance(rows, AsyncIterable):
        async for chunk in chunks(rows, AWAITED_SIZE):
            yield _lists(iter(chunk), BATCH_SIZE)
        return
    lists = _lists(iter(rows), BATCH_SIZE)
    for first in lists:
        yield _for_a_while(first, lists)


def _for_a_while(first: T, others: Iterator[T]) -> Iterator[T]:
    end = time.monotonic() + RUN_SECONDS
    yield first
    while time.monotonic() < end and (another := next(others, None)):
        yield another


def _lists(iterator: Iterator[T], size: int) -> Iterator[list[T]]:
    while some := list(islice(iterator, size)):
        yield some


def needs_sql(table: sa.FromClause, columns: Sequence[sa.Column[Any]]) -> bool:
    """Whether an INSERT of these columns says more than their values, and so COPY is no match."""
    for column in set(table.columns).difference(columns):
        # A default in SQL; one of the table itself works for COPY too.
        if isinstance(column, sa.Column) and column.default is not None:
            return True
    placeholders = (sa.bindparam(None, type_=column.type) for column in columns)
    # A function round the value, as types of PostGIS have it.
    return any(value.type.bind_expression(value) is not None for value in placeholders)
