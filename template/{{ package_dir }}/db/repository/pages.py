"""Pages of rows, by number and by cursor, for any SELECT of one entity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapper

from ..models.keys import key_attributes
from .cursor import Cursor, can_keep
from .keyset import Entity, Order, Orders, rows_after

M = TypeVar("M")
T = TypeVar("T")
Model = TypeVar("Model", bound=DeclarativeBase)


@dataclass(frozen=True)
class Page(Generic[M]):
    """One page of rows.

    Attributes:
        items: The rows of the page.
        number: The number of the page, from 1.
        size: How many rows a full page has.
        total: The number of the rows of all pages.
    """

    items: Sequence[M]
    number: int
    size: int
    total: int

    @property
    def pages(self) -> int:
        """Return the number of pages."""
        return ceil(self.total / self.size)

    def map(self, convert: Callable[[M], T]) -> "Page[T]":
        """Return the same page of something else: schemas in place of models."""
        return Page([convert(item) for item in self.items], self.number, self.size, self.total)


@dataclass(frozen=True)
class CursorPage(Generic[M]):
    """One page of rows.

    Attributes:
        items: The rows of the page.
        next: The cursor of the next page, or None.
        previous: The cursor of the previous page, or None.
    """

    items: Sequence[M]
    next: str | None
    previous: str | None

    def map(self, convert: Callable[[M], T]) -> "CursorPage[T]":
        """Return the same page of something else: schemas in place of models."""
        return CursorPage([convert(item) for item in self.items], self.next, self.previous)


@dataclass(frozen=True)
class Selection(Generic[Model]):
    """A SELECT of one entity.

    Attributes:
        statement: The SELECT.
        entity: The model or the alias whose rows it finds.
        joined: Its FROM has more than that entity.
    """

    statement: sa.Select[Model]
    entity: Entity
    joined: bool = False

    @property
    def keys(self) -> list[sa.ColumnElement[object]]:
        """Return the primary key of the entity."""
        attributes = key_attributes(sa.inspect(self.entity).mapper)
        return [getattr(self.entity, attribute.key) for attribute in attributes]

    def check(self, orders: Orders) -> None:
        """Raise TypeError if a column of the order is in no table of the statement."""
        number = len(self.statement.get_final_froms())
        for order in orders:
            if len(self.statement.add_columns(order.column).get_final_froms()) > number:
                raise TypeError(
                    f"this statement cannot be sorted by {order.column}: its FROM lacks the table."
                    " With DISTINCT, GROUP BY or LIMIT only columns of the model can be sorted by"
                )

    async def refuse_repeated(self, session: AsyncSession, rows: Sequence[object]) -> None:
        """Raise TypeError if a join finds one of these rows several times."""
        if not self.joined or not rows:
            return
        keys = self.keys
        held = [sa.inspect(row, raiseerr=True).identity for row in rows]
        found = self.statement.with_only_columns(*keys, maintain_column_froms=True)
        found = found.where(sa.tuple_(*keys).in_(held)).order_by(None).group_by(*keys)
        repeated = found.having(sa.func.count() > 1).limit(1)
        if (await session.execute(repeated)).first():
            raise TypeError(
                "a join in the statement finds a row several times: add .distinct(), or write the"
                " condition as .where(Model.relationship.any(...))"
            )


def select_rows(statement: sa.Select[Model], model: type[Model]) -> Selection[Model]:
    """Return the rows of a statement, as a SELECT that pages can extend.

    A page adds conditions, columns and a LIMIT. So a statement with DISTINCT, GROUP BY or LIMIT
    becomes a subquery of primary keys.

    Raises:
        TypeError: The statement selects something else than `model`.
    """
    described = statement.column_descriptions
    entity = described[0]["entity"] if len(described) == 1 else None
    mapper: Mapper[Model] = sa.inspect(model)
    if (
        entity is None
        or described[0]["expr"] is not entity
        or not sa.inspect(entity).mapper.isa(mapper)
    ):
        names = ", ".join(str(each["name"]) for each in described)
        raise TypeError(
            f"a page needs a SELECT of {model.__name__} alone, and this one selects {names}:"
            f" write sa.select({model.__name__}), with a join or a subquery for the rest"
        )
    if _picks_rows(statement):
        rows = orm.aliased(model, statement.subquery())
        keys = [key.key for key in key_attributes(mapper)]
        found = sa.select(*(getattr(rows, key) for key in keys))
        own = sa.tuple_(*(getattr(model, key) for key in keys))
        return Selection(sa.select(model).where(own.in_(found)), model)
    froms = statement.get_final_froms()
    return Selection(statement, entity, joined=froms != [sa.inspect(entity).selectable])


def _picks_rows(statement: sa.Select[Any]) -> bool:
    """Return whether a statement has GROUP BY, LIMIT, OFFSET or DISTINCT."""
    without = statement.group_by(None).limit(None).offset(None)
    return not without.compare(statement) or statement.distinct().compare(statement)


def refuse_unkept(orders: Orders) -> None:
    """Raise TypeError on the first page for a column whose values no cursor can hold."""
    if unkept := [order.column for order in orders if not can_keep(order.value.type)]:
        raise TypeError(
            f"a cursor cannot hold {', '.join(map(str, unkept))}: sort by another type, for example"
            " by sa.cast(column, sa.String)"
        )


async def fetch_after(
    session: AsyncSession,
    statement: sa.Select[M],
    orders: Orders,
    values: Sequence[object] | None,
    limit: int,
) -> list[sa.Row[Any]]:
    """Return rows after one with these values, each with its own values of the order."""
    # The values come from the database: the session's copy of a row may be older.
    placed = statement.add_columns(*(order.value.label(None) for order in orders))
    rows: list[sa.Row[Any]] = []
    for part in rows_after(orders, values):
        found = part.of(placed).limit(limit - len(rows))
        rows += (await session.execute(found)).unique()
        if len(rows) >= limit:
            break
    return rows


async def fetch_page(
    session: AsyncSession,
    selection: Selection[Model],
    orders: Orders,
    cursor: Cursor,
    size: int,
) -> tuple[Sequence[Model], Cursor | None, Cursor | None]:
    """Return the rows of a page, and the cursors of the pages after and before it."""
    if cursor.backwards:
        orders = tuple(map(Order.reverse, orders))
    rows = await fetch_after(session, selection.statement, orders, cursor.values, size + 1)
    is_last, rows = len(rows) <= size, rows[:size]
    begins, ends = cursor.is_start, is_last
    if cursor.backwards:
        rows.reverse()
        begins, ends = is_last, cursor.values is None
    # On an empty page after the last row, the previous page begins at the end.
    first, last = (rows[0][1:], rows[-1][1:]) if rows else (None, None)
    items = [row[0] for row in rows]
    await selection.refuse_repeated(session, items)
    return (
        items,
        None if ends else Cursor(last, backwards=False),
        None if begins else Cursor(first, backwards=True),
    )
