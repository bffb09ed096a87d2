"""Pages of rows, by number and by cursor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from .cursor import Cursor
from .keyset import Orders, rows_after

M = TypeVar("M")
T = TypeVar("T")


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


async def fetch_page(
    place: Cursor,
    session: AsyncSession,
    statement: sa.Select[M],
    orders: Orders,
    size: int,
) -> tuple[Sequence[M], Cursor | None, Cursor | None]:
    """The rows of a page, and the places of the pages after and before it."""
    if place.backwards:
        orders = tuple(order.reverse() for order in orders)
    # The database tells the row's place: the session's copy of the row may be older.
    placed = statement.add_columns(*(order.shown.label(None) for order in orders))
    parts, parameters = rows_after(orders, place.values)
    rows: list[sa.Row[Any]] = []
    for part in parts:
        found = part.of(placed).limit(size + 1 - len(rows))
        rows += (await session.execute(found, parameters)).unique()
        if len(rows) > size:
            break
    is_last, rows = len(rows) <= size, rows[:size]
    begins, ends = place.is_start, is_last
    if place.backwards:
        rows.reverse()
        begins, ends = is_last, place.values is None
    # Past the last row, the way back begins at the other end.
    first, last = (rows[0][1:], rows[-1][1:]) if rows else (None, None)
    return (
        [row[0] for row in rows],
        None if ends else Cursor(last, backwards=False),
        None if begins else Cursor(first, backwards=True),
    )
