"""Pages of rows, and the orders that may be asked for by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapper, QueryableAttribute

from . import dialect
from .cursors import Cursor
from .errors import UnknownField

M = TypeVar("M")
T = TypeVar("T")

Column = sa.SQLColumnExpression[object]
Condition = sa.ColumnElement[bool]


@dataclass(frozen=True)
class Page(Generic[M]):
    """One page of rows, counted from 1, and how many rows there are on all of them."""

    items: Sequence[M]
    number: int
    size: int
    total: int

    @property
    def pages(self) -> int:
        return ceil(self.total / self.size)

    def map(self, convert: Callable[[M], T]) -> "Page[T]":
        """The same page of something else: schemas in place of models."""
        return Page([convert(item) for item in self.items], self.number, self.size, self.total)


@dataclass(frozen=True)
class CursorPage(Generic[M]):
    """One page of rows, and the cursors of the pages after and before it, None where none is."""

    items: Sequence[M]
    next: str | None
    previous: str | None

    def map(self, convert: Callable[[M], T]) -> "CursorPage[T]":
        """The same page of something else: schemas in place of models."""
        return CursorPage([convert(item) for item in self.items], self.next, self.previous)


@dataclass(frozen=True)
class Order:
    """A column to sort by, and which way. NULL is greater than any value, on every database."""

    column: sa.ColumnElement[object]
    down: bool
    nullable: bool

    def clauses(self) -> Sequence[sa.ColumnElement[object]]:
        return dialect.order_by(self.column, down=self.down, nullable=self.nullable)

    def reverse(self) -> "Order":
        return replace(self, down=not self.down)

    def ties(self, value: object) -> Condition:
        return self.column.is_(None) if value is None else self.column == self._typed(value)

    def follows(self, value: object) -> Condition:
        """That a row comes later than one with this value."""
        if value is None:
            return self.column.is_not(None) if self.down else sa.false()
        if self.down:
            return self.column < self._typed(value)
        later = self.column > self._typed(value)
        return later | self.column.is_(None) if self.nullable else later

    def _typed(self, value: object) -> sa.ColumnElement[object]:
        return sa.literal(value, self.column.type)


def sort_orders(
    mapper: Mapper[M],
    sortable: Mapping[str, Column],
    names: Sequence[str],
) -> Sequence[Order]:
    """What to sort by for names such as `-created_at`, where the minus means descending.

    The key comes last: rows that are equal in all else would wander between pages. It goes the way
    of the name before it, so that one index serves both, read from either end. Raises UnknownField
    for a name that is not in `sortable`, TypeError for one string in place of several.
    """
    if isinstance(names, str):
        raise TypeError('sort takes several names: write sort=("-created_at",), with the comma')
    unknown = {name for name in names if name.removeprefix("-") not in sortable}
    if unknown:
        raise UnknownField(mapper.class_, unknown, sortable)
    orders = [_order(sortable[name.removeprefix("-")], name.startswith("-")) for name in names]
    down = orders[-1].down if orders else False
    return orders + [_order(key, down) for key in key_attributes(mapper)]


def key_attributes(mapper: Mapper[M]) -> Sequence[QueryableAttribute[object]]:
    """The attributes of a model's primary key."""
    # Attributes rather than columns: only a statement on a model is filtered by do_orm_execute.
    return [mapper.get_property_by_column(key).class_attribute for key in mapper.primary_key]


def _order(column: Column, down: bool) -> Order:
    # What an attribute of a model stands for, and any other expression is.
    element: sa.ColumnElement[object] = column.asc().element
    # An expression does not tell: it may be NULL.
    nullable = bool(getattr(element, "nullable", True))
    if isinstance(element.type, sa.Enum) and not element.type.native_enum:
        # The database sorts the text that it keeps, and a cursor holds that.
        return Order(sa.type_coerce(element, sa.String()), down, nullable)
    return Order(element, down, nullable)


def rows_after(orders: Sequence[Order], values: Sequence[object]) -> Sequence[Condition]:
    """The rows that come after one with these values, in parts that follow each other.

    There are two parts where a NULL of the first column divides them: no index serves "beyond this
    value, or NULL" as one. Each part has a bound on the first column, so that an index leads there.
    """
    (first, *others), (value, *rest) = orders, values
    if not first.nullable:
        return [_after(orders, values)]
    if value is None:
        among = first.column.is_(None) & _after(others, rest)
        return [among, first.column.is_not(None)] if first.down else [among]
    part = _after([replace(first, nullable=False), *others], values)
    return [part] if first.down else [part, first.column.is_(None)]


def _after(orders: Sequence[Order], values: Sequence[object]) -> Condition:
    columns = [order.column for order in orders]
    places = [sa.literal(value, x.type) for x, value in zip(columns, values, strict=True)]
    first = orders[0]
    bound: Condition = sa.true()
    if not first.nullable and len(orders) > 1:
        # Needed by an index for the OR below, and on MySQL for the comparison of rows too.
        bound = columns[0] <= places[0] if first.down else columns[0] >= places[0]
    if len({order.down for order in orders}) == 1 and not any(x.nullable for x in orders):
        row, place = sa.tuple_(*columns), sa.tuple_(*places)
        return bound & (row < place if first.down else row > place)
    pairs = list(zip(orders, values, strict=True))
    steps = [
        sa.and_(*(before.ties(x) for before, x in pairs[:index]), order.follows(value))
        for index, (order, value) in enumerate(pairs)
    ]
    return bound & sa.or_(*steps)


def in_order(orders: Sequence[Order], statement: sa.Select[M]) -> sa.Select[M]:
    """A statement sorted like this, and not as it was."""
    clauses = [clause for order in orders for clause in order.clauses()]
    return statement.order_by(None).order_by(*clauses)


async def turn_to(
    place: Cursor,
    size: int,
    session: AsyncSession,
    statement: sa.Select[M],
    orders: Sequence[Order],
    seal: Callable[[Cursor], str],
) -> CursorPage[M]:
    """The page of a statement's rows at this place in these orders."""
    if place.backwards:
        orders = [order.reverse() for order in orders]
    # The database tells the row's place: the session's copy of the row may be older.
    columns = [order.column.label(None) for order in orders]
    placed = in_order(orders, statement).add_columns(*columns)
    rows: list[sa.Row[Any]] = []
    for part in [sa.true()] if place.values is None else rows_after(orders, place.values):
        found = await session.execute(placed.where(part).limit(size + 1 - len(rows)))
        rows += found.unique()
        if len(rows) > size:
            break
    more, rows = len(rows) > size, rows[:size]
    if place.backwards:
        rows.reverse()

    def cursor(index: int, *, backwards: bool) -> str:
        # Past the last row, the way back begins at the other end.
        return seal(Cursor(rows[index][1:] if rows else None, backwards))

    begins = not more if place.backwards else place.is_start
    ends = place.values is None if place.backwards else not more
    return CursorPage(
        [row[0] for row in rows],
        next=None if ends else cursor(-1, backwards=False),
        previous=None if begins else cursor(0, backwards=True),
    )
