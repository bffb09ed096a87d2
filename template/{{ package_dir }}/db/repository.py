"""The rows of one model: read, made, changed. A repository flushes and never commits."""

from datetime import UTC, datetime

from .bulk import Bulk
from .mixins import SoftDeletable
from .pagination import Column
from .reading import Criterion, M


class Repository(Bulk[M]):
    """The rows of a model, in one session.

        class UserRepository(Repository[User]):
            sortable = {"email": User.email}
            writable = {"email", "name"}

        users = UserRepository(session)      # or Repository[User](session)

    `sortable` are the names that pages sort by; `writable` the ones that `create` and `update`
    take, by default every column but the key, the version, and what the layer's mixins keep.
    """

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
        self._check_in_session(row)
        for name, value in values.items():
            setattr(row, name, value)
        await self.session.flush()
        return row

    async def delete(self, row: M) -> None:
        """Delete a row: hide it, where the model is SoftDeletable."""
        self._check_in_session(row)
        if isinstance(row, SoftDeletable):
            row.deleted_at = datetime.now(UTC)
        else:
            await self.session.delete(row)
        await self.session.flush()

    async def restore(self, row: M) -> M:
        """Bring a softly deleted row back. Raises TypeError for a model that has no such rows."""
        if not isinstance(row, SoftDeletable):
            raise TypeError(f"{self.model.__name__} is not SoftDeletable: it cannot be restored")
        self._check_in_session(row)
        row.deleted_at = None
        await self.session.flush()
        return row

    def _check_in_session(self, row: M) -> None:
        # A flush would pass by a row of another session, and nobody would notice.
        if row not in self.session:
            raise ValueError(
                f"this {self.model.__name__} was read in another session: get it by its key in this"
                " one, or `await session.merge(row)`"
            )


def contains(column: Column, text: str) -> Criterion:
    """That a column's text has this in it, in whichever case; % and _ are what they are."""
    return column.icontains(text, autoescape=True)


def starts_with(column: Column, text: str) -> Criterion:
    """That a column's text begins with this, letter for letter; % and _ are what they are."""
    return column.startswith(text, autoescape=True)
