"""The rows of one model: read, made, changed. A repository flushes and never commits."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import ClassVar

import sqlalchemy as sa

from .errors import UnknownField
from .mixins import SoftDeletable, Timestamped
from .pagination import Column
from .reading import Criterion, M, Reading


class Repository(Reading[M]):
    """The rows of a model, in one session.

        class UserRepository(Repository[User]):
            sortable = {"email": User.email}
            writable = {"email", "name"}

        users = UserRepository(session)      # or Repository[User](session)

    `sortable` are the names that pages sort by; `writable` the ones that `create` and `update`
    take, by default every column but the key, the version, and what the layer's mixins keep.
    """

    writable: ClassVar[Collection[str] | None] = None

    async def create(self, **values: object) -> M:
        """A new row of these values, flushed. Raises UnknownField for one that is not writable."""
        self._check_writable(values)
        return await self.add(self.model(**values))

    async def add(self, row: M) -> M:
        """The row, flushed: its key and its defaults are set."""
        self.session.add(row)
        await self.session.flush()
        return row

    async def update(self, row: M, **values: object) -> M:
        """Change these values of a row, and flush. Raises UnknownField, StaleVersion."""
        self._check_writable(values)
        for name, value in values.items():
            setattr(row, name, value)
        await self.session.flush()
        return row

    async def delete(self, row: M) -> None:
        """Delete a row: hide it, where the model is SoftDeletable."""
        if isinstance(row, SoftDeletable):
            row.deleted_at = datetime.now(UTC)
        else:
            await self.session.delete(row)
        await self.session.flush()

    async def restore(self, row: M) -> M:
        """Bring a softly deleted row back. Raises TypeError for a model that has no such rows."""
        if not isinstance(row, SoftDeletable):
            raise TypeError(f"{self.model.__name__} is not SoftDeletable: it cannot be restored")
        row.deleted_at = None
        await self.session.flush()
        return row

    def _check_writable(self, names: Iterable[str]) -> None:
        writable = self._default_writable() if self.writable is None else self.writable
        if unknown := set(names) - set(writable):
            raise UnknownField(self.model, unknown, writable)

    def _default_writable(self) -> set[str]:
        mapper = sa.inspect(self.model)
        mixins = [mixin for mixin in (Timestamped, SoftDeletable) if issubclass(self.model, mixin)]
        kept = {name for mixin in mixins for name in mixin.__annotations__}
        key_and_version = {*mapper.primary_key, mapper.version_id_col}
        return {
            attribute.key
            for attribute in mapper.column_attrs
            if attribute.key not in kept and key_and_version.isdisjoint(attribute.columns)
        }


def contains(column: Column, text: str) -> Criterion:
    """That a column's text has this in it, in whichever case; % and _ are what they are."""
    return column.icontains(text, autoescape=True)


def starts_with(column: Column, text: str) -> Criterion:
    """That a column's text begins with this, letter for letter; % and _ are what they are."""
    return column.startswith(text, autoescape=True)
