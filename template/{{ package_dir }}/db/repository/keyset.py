"""Keyset pagination: orders that may be asked for by name, and the rows that follow a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapper, QueryableAttribute

from ..engine import dialect
from ..errors import InvalidCursor, UnknownField
from .cursor import Cursor, can_keep

M = TypeVar("M")

Column = sa.SQLColumnExpression[object]
Condition = sa.ColumnElement[bool]


@dataclass(frozen=True)
class Order:
    """A column to sort by, and which way. NULL is greater than any value, on every database."""

    column: sa.ColumnElement[object]
    descending: bool
    nullable: bool

    @property
    def shown(self) -> sa.ColumnElement[object]:
        """The column as a cursor keeps it: an Enum by the text that the database has."""
        kind = self.column.type
        if isinstance(kind, sa.Float) and not isinstance(kind, sa.Double):
            # The few digits that are shown of a short float are another number than the column's.
            return sa.cast(self.column, sa.Double)
        if isinstance(kind, sa.Enum):
            return sa.type_coerce(self.column, sa.String())
        return self.column

    def clauses(self) -> Sequence[sa.ColumnElement[object]]:
        return dialect.order_by(self.column, descending=self.descending, nullable=self.nullable)

    def reverse(self) -> "Order":
        return replace(self, descending=not self.descending)

    def ties(self, place: "Place") -> Condition:
        return self.column.is_(None) if place is None else self.column == place

    def follows(self, place: "Place") -> Condition:
        """That a row comes later than the one with this value."""
        if place is None:
            return self.column.is_not(None) if self.descending else sa.false()
        if self.descending:
            return self.column < place
        later = self.column > place
        return later | self.column.is_(None) if self.nullable else later


Orders = tuple[Order, ...]
# What a column holds at a place in an order: a parameter, or None for NULL.
Place = sa.ColumnElement[object] | None


@dataclass(frozen=True)
class Part:
    """Rows that follow a place, and what is left to sort them by."""

    where: Condition
    orders: Orders

    def of(self, statement: sa.Select[M]) -> sa.Select[M]:
        return in_order(self.orders, statement.where(self.where))


def sort_orders(
    mapper: Mapper[M],
    sortable: Mapping[str, Column],
    names: Sequence[str],
) -> Orders:
    """What to sort by for names such as `-created_at`, where the minus means descending.

    The key comes last: rows that are equal in all else would wander between pages. It goes the way
    of the name before it, so that one index serves both, read from either end. Raises UnknownField
    for a name that is not in `sortable`.
    """
    unknown = {name for name in names if name.removeprefix("-") not in sortable}
    if unknown:
        raise UnknownField(mapper.class_, unknown, sortable)
    orders = [_order(sortable[name.removeprefix("-")], name.startswith("-")) for name in names]
    descending = orders[-1].descending if orders else False
    return (*orders, *(_order(key, descending) for key in key_attributes(mapper)))


def key_attributes(mapper: Mapper[M]) -> Sequence[QueryableAttribute[object]]:
    """The attributes of a model's primary key."""
    # Attributes rather than columns: only a statement on a model is filtered by do_orm_execute.
    return [mapper.get_property_by_column(key).class_attribute for key in mapper.primary_key]


def _order(column: Column, descending: bool) -> Order:
    # What an attribute of a model stands for, and any other expression is.
    element: sa.ColumnElement[object] = column.asc().element
    nullable = bool(getattr(element, "nullable", True))  # an expression does not tell
    return Order(element, descending, nullable)


def rows_after(
    orders: Orders, values: Sequence[object] | None
) -> tuple[Sequence[Part], dict[str, object]]:
    """The rows after one with these values, or all, in parts that follow each other.

    The values come beside them, as parameters: the parts are made once for each order.
    """
    if values is None:
        return [Part(sa.true(), orders)], {}
    parameters = {f"place_{index}": x for index, x in enumerate(values) if x is not None}
    return _parts(orders, tuple(value is None for value in values)), parameters


@lru_cache(1000)
def _parts(orders: Orders, nulls: tuple[bool, ...]) -> Sequence[Part]:
    """There are two parts where a NULL of the first column divides the rows.

    No index serves "beyond this value, or NULL" as one. Each part has a bound on the first column,
    so that an index leads there; and is not sorted by NULLs, which on MySQL no index serves. After
    (NULL, 7) of `-note` they are `note IS NULL AND id < 7 ORDER BY id DESC`, and then
    `note IS NOT NULL ORDER BY note DESC, id DESC`.
    """
    places: list[Place] = [
        None if null else sa.bindparam(f"place_{index}", type_=orders[index].column.type)
        for index, null in enumerate(nulls)
    ]
    first, others = orders[0], orders[1:]
    if not first.nullable:
        return [Part(_after(orders, places), orders)]
    known = (replace(first, nullable=False), *others)
    if nulls[0]:
        among = Part(first.column.is_(None) & _after(others, places[1:]), others)
        return [among, Part(first.column.is_not(None), known)] if first.descending else [among]
    part = Part(_after(known, places), known)
    return [part] if first.descending else [part, Part(first.column.is_(None), others)]


def _after(orders: Orders, places: Sequence[Place]) -> Condition:
    """That a row comes after these values.

    With a and b both up `a >= x AND (a, b) > (x, y)`, with b down `a >= x AND (a > x OR a = x AND
    b < y)`.
    """
    first, place = orders[0], places[0]
    bound: Condition = sa.true()
    if not first.nullable and len(orders) > 1:
        # Needed by an index for the OR below, and on MySQL for the comparison of rows too.
        bound = first.column <= place if first.descending else first.column >= place
    if len({order.descending for order in orders}) == 1 and not any(x.nullable for x in orders):
        row, at = sa.tuple_(*(order.column for order in orders)), sa.tuple_(*places)
        return bound & (row < at if first.descending else row > at)
    pairs = list(zip(orders, places, strict=True))
    steps = [
        sa.and_(*(before.ties(x) for before, x in pairs[:index]), order.follows(x))
        for index, (order, x) in enumerate(pairs)
    ]
    return bound & sa.or_(*steps)


def in_order(orders: Orders, statement: sa.Select[M]) -> sa.Select[M]:
    """A statement sorted like this, and not as it was."""
    clauses = [clause for order in orders for clause in order.clauses()]
    return statement.order_by(None).order_by(*clauses)


def refuse_unkept(orders: Orders) -> None:
    """Raise TypeError for a column whose values no cursor keeps: now, not at the second page."""
    if unkept := [order.column for order in orders if not can_keep(order.shown.type)]:
        raise TypeError(
            f"a cursor cannot keep {', '.join(map(str, unkept))}: sort by something of another type,"
            " such as sa.cast(column, sa.String)"
        )


def refuse_misfit(place: Cursor, orders: Orders) -> None:
    """Raise InvalidCursor for a place that no row of these orders has."""
    if place.values is None:
        return
    nullable = [order.nullable for order in orders]
    if len(place.values) != len(nullable) or any(
        value is None and not may_be for value, may_be in zip(place.values, nullable, strict=True)
    ):
        raise InvalidCursor("this cursor was not made here")
