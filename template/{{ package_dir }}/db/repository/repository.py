"""The rows of one model: read at length, made, changed. A repository flushes and never commits."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.interfaces import ORMOption

from ..errors import NotFound
from ..models import SoftDeletable
from .bulk import Bulk
from .keyset import sort_orders
from .pages import fetch_after
from .reading import Criterion, M, Ordering, at_least, columns_of, key_of


class Repository(Bulk[M]):
    """The rows of a model, in one session.

        class UserRepository(Repository[User]):
            sortable = {"email": User.email}
            writable = {"email", "name"}

        users = UserRepository(session)      # or Repository[User](session)

    `sortable` are the names that pages sort by; `writable` the ones that `create` and `update`
    take, by default every column but the key, the version, and what the layer's mixins keep; `create`
    takes a key too that neither a default nor the database makes.
    """

    @asynccontextmanager
    async def stream(
        self,
        *where: Criterion,
        order_by: Ordering | Sequence[Ordering] = (),
        batch_size: int = 1000,
        options: Sequence[ORMOption] = (),
    ) -> AsyncGenerator[AsyncIterator[M]]:
        """The rows that meet the criteria, one by one, with no more than a batch in memory.

            async with users.stream(User.name != "") as rows:
                async for user in rows: ...

        The cursor is closed when the block is left, in whichever way.
        """
        at_least(1, batch_size=batch_size)
        statement = self._select(*where, options=options).order_by(*columns_of(order_by))
        statement = statement.execution_options(yield_per=batch_size)
        result = await self.session.run_sync(lambda session: session.scalars(statement))
        try:
            async with aclosing(self._each(result)) as rows:
                yield rows
        finally:
            await self.session.run_sync(lambda _: result.close())

    async def batches(
        self,
        *where: Criterion,
        size: int = 1000,
        options: Sequence[ORMOption] = (),
    ) -> AsyncGenerator[Sequence[M]]:
        """The rows that meet the criteria, in the order of their keys, `size` at a time.

        Each batch is a query of its own that begins after the last key: every row comes once, and a
        batch may be changed and committed before the next is asked for.
        """
        at_least(1, size=size)
        statement = self._select(*where, options=options)
        orders = sort_orders(self.model, {}, (), self.session.get_bind().dialect)
        values: Sequence[object] | None = None
        # A join may find a row twice, and so a batch before the last may be short.
        while rows := await fetch_after(self.session, statement, orders, values, size):
            values = rows[-1][1:]
            yield [row[0] for row in rows]

    async def load(self, row: M, *relationships: str) -> M:
        """Load these relationships of a row in hand, anew if they were loaded before.

        Raises ValueError for a name that is no relationship's, NotFound for a row that this
        repository does not see.
        """
        known = sa.inspect(self.model).relationships.keys()
        if unknown := set(relationships).difference(known):
            raise ValueError(
                f"{self.model.__name__} has no relationship {', '.join(sorted(unknown))}: it has"
                f" {', '.join(sorted(known)) or 'none'}"
            )
        # A change of them that is not written yet would be lost.
        await self.session.flush()
        self.session.expire(row, relationships)
        options = [selectinload(getattr(self.model, name)) for name in relationships]
        key = key_of(row)
        rows = await self.session.scalars(self._select(self._has_key([key]), options=options))
        if row not in rows.unique():
            raise NotFound(self.model, key)
        return row

    async def create(self, **values: object) -> M:
        """A new row of these values, flushed. Raises NotWritable for another name."""
        self._check_writable(values, new=True)
        return await self.add(self.model(**values))

    async def add(self, row: M) -> M:
        """The row, flushed: its key and its defaults are set."""
        self.session.add(row)
        await self.session.flush()
        return row

    async def update(self, row: M, **values: object) -> M:
        """Change these values of a row, and flush. Raises NotWritable, StaleRow."""
        self._check_writable(values)
        self._check_in_session(row)
        for name, value in values.items():
            setattr(row, name, value)
        await self.session.flush()
        return row

    async def delete(self, row: M) -> None:
        """Delete a row: hide it, where the model is SoftDeletable and it is not hidden yet."""
        self._check_in_session(row)
        if isinstance(row, SoftDeletable):
            # What a savepoint undid is read again, which is to be awaited.
            was = await self.session.run_sync(lambda _: row.deleted_at)
            row.deleted_at = was or datetime.now(UTC)
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
                f"this {self.model.__name__} is not in this session: add() it if it is new, else get it"
                " by its key here, or `await session.merge(row)`"
            )

    async def _each(self, result: sa.ScalarResult[M]) -> AsyncGenerator[M]:
        partitions = result.partitions()

        def fetch(session: orm.Session) -> Sequence[M]:
            # Whatever is sent asks for this, and a session with the guard then knows of it.
            session.get_bind(self.model)
            return next(partitions, ())

        # Row by row every row would cross between the coroutine and the driver's greenlet.
        while rows := await self.session.run_sync(fetch):
            for row in rows:
                yield row
