"""Units of work that want the same rows at the same time."""

import asyncio
from collections.abc import Coroutine

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from .. import db
from .ground import Ground, Unit, together
from .servers import has_server, only


@has_server
async def test_deadlock(ground: Ground) -> None:
    await ground.add("a")
    await ground.add("b")
    async with ground.witness.session() as session:
        # By its key: whoever looks for a name locks all rows on MySQL.
        keys = {unit.name: unit.id for unit in await session.scalars(sa.select(Unit))}
    attempts = 0

    async def fault(number: int) -> None:
        both_hold_one = asyncio.Barrier(2)

        def transfer(source: str, target: str, amount: int) -> Coroutine[object, object, None]:
            tried = False

            async def work(session: AsyncSession) -> None:
                nonlocal tried, attempts
                attempts += 1
                await change(session, keys[source], -amount)
                if not tried:
                    tried = True
                    await both_hold_one.wait()
                await change(session, keys[target], amount)

            return ground.database.run(work, attempts=10)

        await together([transfer("a", "b", 5), transfer("b", "a", 3)])
        ground.expected["a"] -= 2
        ground.expected["b"] += 2

    await ground.survive(fault, 20)
    # Each time one of the two had to be done anew.
    assert attempts >= ground.times * 3


async def change(session: AsyncSession, key: int, amount: int) -> None:
    values = {"value": Unit.value + amount}
    await session.execute(sa.update(Unit).where(Unit.id == key).values(values))


@only("postgresql", "mysql", why="SQLite's transactions come one after the other")
async def test_serialization_failure(ground: Ground) -> None:
    await ground.add("the one")
    attempts = 0

    async def increment(session: AsyncSession) -> None:
        nonlocal attempts
        attempts += 1
        value = await session.scalar(sa.select(Unit.value))
        assert value is not None
        await session.execute(sa.update(Unit).values(value=value + 1))

    async with ground.using(pool_size=10) as database:

        async def increments() -> None:
            for _ in range(20):
                await database.run(increment, attempts=100, isolation_level="SERIALIZABLE")

        async def fault(number: int) -> None:
            await together(increments() for _ in range(10))
            ground.expected["the one"] += 200

        await ground.survive(fault, 200, at_once=200)
    assert attempts > ground.times


async def test_lost_update_where_rows_are_locked(ground: Ground) -> None:
    await ground.add("the one")

    async def increment(session: AsyncSession) -> None:
        key = await session.scalar(sa.select(Unit.id))
        unit = await db.Repository[Unit](session).get_one(key, for_update="wait")
        unit.value += 1

    async def fault(number: int) -> None:
        await together(ground.database.run(increment) for _ in range(10))
        ground.expected["the one"] += 10

    await ground.survive(fault, 100, at_once=10)


async def test_lost_update_where_versions_are_compared(ground: Ground) -> None:
    await ground.add("the one")

    async def increment(session: AsyncSession) -> None:
        unit = (await session.scalars(sa.select(Unit))).one()
        await asyncio.sleep(0)
        unit.value += 1

    async def fault(number: int) -> None:
        await together(
            ground.database.run(increment, attempts=100, retry_on=(db.StaleRow,)) for _ in range(10)
        )
        ground.expected["the one"] += 10

    await ground.survive(fault, 100, at_once=10)
