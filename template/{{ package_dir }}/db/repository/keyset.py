"""Keyset pagination: the columns that rows are sorted by, and the rows after a position."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import ColumnProperty, Mapper, QueryableAttribute
from sqlalchemy.orm.util import AliasedClass

from ..engine import dialect
from ..errors import UnknownField
from ..models.keys import key_attributes

M = TypeVar("M")

Column = sa.SQLColumnExpression[object]
Condition = sa.ColumnElement[bool]
# A model, or an alias of one.
Entity = type[Any] | AliasedClass[Any]


@dataclass(frozen=True)
class Order:
    """A column to sort by, and its direction. NULL is the greatest value, on every database."""

    column: sa.ColumnElement[object]
    descending: bool
    nullable: bool

    @property
    def value(self) -> sa.ColumnElement[object]:
        """Return the column as a cursor holds it: an Enum is the text in the database."""
        kind = self.column.type
        if isinstance(kind, sa.Float) and not isinstance(kind, sa.Double):
            # The text of a 32-bit float has fewer digits than its value.
            return sa.cast(self.column, sa.Double)
        if isinstance(kind, sa.Enum):
            return sa.type_coerce(self.column, sa.String())
        return self.column

    def clauses(self) -> Sequence[sa.ColumnElement[object]]:
        """Return the elements of ORDER BY."""
        return dialect.order_by(self.column, descending=self.descending, nullable=self.nullable)

    def reverse(self) -> "Order":
        """Return the same column in the other direction."""
        return replace(self, descending=not self.descending)

    def literal(self, value: object) -> sa.ColumnElement[object]:
        """Return a bind parameter of the column's type."""
        return sa.literal(value, self.column.type)

    def equals(self, value: object) -> Condition:
        """Return the condition that a row has this value."""
        return self.column.is_(None) if value is None else self.column == self.literal(value)

    def follows(self, value: object) -> Condition:
        """Return the condition that a row comes after one with this value."""
        if value is None:
            return self.column.is_not(None) if self.descending else sa.false()
        if self.descending:
            return self.column < self.literal(value)
        later = self.column > self.literal(value)
        return later | self.column.is_(None) if self.nullable else later


Orders = tuple[Order, ...]


@dataclass(frozen=True)
class Part:
    """A part of the rows after a position, and the order within it."""

    where: Condition
    orders: Orders

    def of(self, statement: sa.Select[M]) -> sa.Select[M]:
        """Return this part of a statement's rows."""
        return in_order(self.orders, statement.where(self.where))


def sort_orders(
    entity: Entity,
    sortable: Mapping[str, Column],
    names: Sequence[str],
    database: sa.Dialect,
) -> Orders:
    """Return the order for names such as `-created_at`, where the minus means descending.

    The primary key comes last: otherwise equal rows could change places between two pages. It has
    the direction of the last name, so that one index serves both.

    Raises:
        UnknownField: A name is not in `sortable`, or comes twice.
    """
    mapper: Mapper[Any] = sa.inspect(entity).mapper
    # Each new order of names is a statement to compile, and a client could send thousands of names.
    times = Counter(names).items()
    unknown = {name for name, n in times if n > 1 or name.removeprefix("-") not in sortable}
    if unknown:
        raise UnknownField(mapper.class_, unknown, sortable)
    columns = [(sortable[name.removeprefix("-")], name.startswith("-")) for name in names]
    descending = columns[-1][1] if columns else False
    columns += [(key, descending) for key in key_attributes(mapper)]
    return tuple(_order(entity, column, database, x) for column, x in columns)


def _order(entity: Entity, column: Column, database: sa.Dialect, descending: bool) -> Order:
    nullable = True
    found = sa.inspect(entity)
    attribute = column.property if isinstance(column, QueryableAttribute) else None
    if isinstance(attribute, ColumnProperty) and found.mapper.isa(attribute.parent):
        stored = attribute.columns[0]
        nullable = stored not in found.mapper.primary_key and (
            # In a joined table or a subquery any column may be NULL.
            not isinstance(stored, sa.Column)
            or bool(stored.nullable)
            or stored.table not in found.mapper.tables
            or isinstance(found.selectable, sa.Subquery)
        )
        column = getattr(entity, attribute.key)
    # asc() gives the expression behind the attribute of a model.
    element: sa.ColumnElement[object] = column.asc().element
    kind: sa.types.TypeEngine[Any] = element.type
    while isinstance(kind, sa.TypeDecorator):
        # A position consists of the database's values, not of a TypeDecorator's.
        kind = kind.type_engine(database)
    return Order(sa.type_coerce(element, kind), descending, nullable)


def rows_after(orders: Orders, values: Sequence[object] | None) -> Sequence[Part]:
    """Return the rows after one with these values, or all rows, in consecutive parts.

    If the first column is nullable, there are two parts, because no index serves "greater than this
    value, or NULL". Each part has a bound on the first column, which an index can use. No part is
    sorted by NULL, because on MySQL no index serves that. After (NULL, 7) of `-note` the parts are
    `note IS NULL AND id < 7 ORDER BY id DESC` and `note IS NOT NULL ORDER BY note DESC, id DESC`.
    """
    if values is None:
        return [Part(sa.true(), orders)]
    first, others = orders[0], orders[1:]
    if not first.nullable:
        return [Part(_after(orders, values), orders)]
    known = (replace(first, nullable=False), *others)
    if values[0] is None:
        among = Part(first.column.is_(None) & _after(others, values[1:]), others)
        return [among, Part(first.column.is_not(None), known)] if first.descending else [among]
    part = Part(_after(known, values), known)
    return [part] if first.descending else [part, Part(first.column.is_(None), others)]


def _after(orders: Orders, values: Sequence[object]) -> Condition:
    """Return the condition that a row comes after these values.

    If a and b are ascending, it is `a >= x AND (a, b) > (x, y)`. If b is descending, it is
    `a >= x AND (a > x OR a = x AND b < y)`.
    """
    first, value = orders[0], orders[0].literal(values[0])
    bound: Condition = sa.true()
    if not first.nullable and len(orders) > 1:
        # An index needs this bound for the OR below, on MySQL also for the comparison of rows.
        bound = first.column <= value if first.descending else first.column >= value
    pairs = list(zip(orders, values, strict=True))
    if len({order.descending for order in orders}) == 1 and not any(x.nullable for x in orders):
        row = sa.tuple_(*(order.column for order in orders))
        place = sa.tuple_(*(order.literal(x) for order, x in pairs))
        return bound & (row < place if first.descending else row > place)
    steps = [
        sa.and_(*(before.equals(x) for before, x in pairs[:index]), order.follows(x))
        for index, (order, x) in enumerate(pairs)
    ]
    return bound & sa.or_(*steps)


def in_order(orders: Orders, statement: sa.Select[M]) -> sa.Select[M]:
    """Return the statement in this order, in place of its own."""
    clauses = [clause for order in orders for clause in order.clauses()]
    return statement.order_by(None).order_by(*clauses)
