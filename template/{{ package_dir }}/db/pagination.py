"""Pages of rows, and the orders that may be asked for by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapper

from .errors import UnknownField

M = TypeVar("M")
T = TypeVar("T")

Column = sa.SQLColumnExpression[object]


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


def sort_order(
    mapper: Mapper[M],
    sortable: Mapping[str, Column],
    names: Sequence[str],
) -> Sequence[Column]:
    """The columns to order by for names such as `-created_at`, where the minus means descending.

    The key comes last: rows that are equal in all else would wander between pages. Raises
    UnknownField for a name that is not in `sortable`.
    """
    unknown = {name for name in names if name.removeprefix("-") not in sortable}
    if unknown:
        raise UnknownField(mapper.class_, unknown, sortable)
    columns = [(sortable[name.removeprefix("-")], name.startswith("-")) for name in names]
    return [column.desc() if down else column.asc() for column, down in columns] + [
        column.asc() for column in mapper.primary_key
    ]
