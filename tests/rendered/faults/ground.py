"""The ground on which faults happen, and what must hold after each of them."""

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from .. import db
from ..models import Author, ProbeBase

SEED = 20_260_101
# More of everything, for those who have the time.
FACTOR = int(os.environ.get("FAULTS_FACTOR", "1"))
# How long any fault may take, everything included, before it counts as not survived.
PATIENCE = 60


class Unit(db.BigIntPrimaryKey, db.Versioned, ProbeBase):
    """What a unit of work leaves behind. Its name is not unique: that would hide a double."""

    __tablename__ = "fault_units"

    name: Mapped[str] = mapped_column(sa.String(50))
    value: Mapped[int] = mapped_column(default=0)


class Ground:
    """A service's database, someone else's view of it, and the rows that must be there."""

    def __init__(self, database: db.Database, witness: db.Database) -> None:
        self.database = database
        self.witness = witness
        self.expected: dict[str, int] = {}
        self.random = random.Random(SEED)
        self.times = self.survived = 0
        # Whether this machine can only do as if the fault happened.
        self.simulated = False

    async def survive(
        self, fault: Callable[[int], Awaitable[None]], times: int, *, at_once: int = 1
    ) -> None:
        """Have a fault happen so many times, `at_once` in each call, and look after each call."""
        self.times = times * FACTOR
        for number in range(self.times // at_once):
            async with asyncio.timeout(PATIENCE):
                await fault(number)
                await self.check()
            self.survived += at_once

    async def check(self) -> None:
        """No row is lost or there twice, no connection is kept, and the whole pool works."""
        assert self.database.pool_status().in_use == 0
        assert sorted(await self.witness.run(_rows)) == sorted(self.expected.items())
        limit = self.database.pool_status().limit
        assert limit
        all_in_use = asyncio.Barrier(limit)

        async def use() -> None:
            async with self.database.transaction(read_only=True) as session:
                await session.scalar(sa.select(sa.literal(1)))
                await all_in_use.wait()

        await together(use() for _ in range(limit))
        async with self.database.transaction() as session:
            session.add(Author(email=uuid4().hex))
        assert self.database.pool_status().in_use == 0

    @asynccontextmanager
    async def using(self, **settings: object) -> AsyncGenerator[db.Database]:
        """The service's database opened anew with other settings, for the length of the block."""
        before = self.database
        async with db.Database(before.settings.model_copy(update=settings)) as self.database:
            yield self.database
        self.database = before

    async def add(self, name: str) -> None:
        """A unit of work that must succeed."""
        async with self.database.transaction() as session:
            await insert(session, name)
        self.expected[name] = 0


async def _rows(session: AsyncSession) -> list[tuple[str, int]]:
    rows = await session.execute(sa.select(Unit.name, Unit.value))
    return [(name, value) for name, value in rows]


async def insert(session: AsyncSession, name: str) -> None:
    session.add(Unit(name=name))
    await session.flush()


async def together(works: Iterable[Coroutine[object, object, object]]) -> None:
    """Await all of them; if one fails end the others, so that none lives on in the next fault."""
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)


async def cancel_after(task: asyncio.Task[None], steps: int) -> None:
    """Cancel a task when the event loop has gone round so many times."""
    for _ in range(steps):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def steps_of(work: Callable[[], Awaitable[None]]) -> int:
    """How many times the event loop goes round while work is done."""
    task, steps = asyncio.ensure_future(work()), 0
    while not task.done():
        steps += 1
        await asyncio.sleep(0)
    await task
    return steps
