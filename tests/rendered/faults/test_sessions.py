"""Sessions and pools that are used as they should not be."""

import asyncio
import gc
import warnings
from contextlib import AsyncExitStack

import pytest
from sqlalchemy.exc import SAWarning
from sqlalchemy.ext.asyncio import AsyncSession

from .. import db
from .ground import Ground, insert


async def test_pool_exhausted(ground: Ground) -> None:
    async with ground.using(pool_timeout=0.05) as database:

        async def fault(number: int) -> None:
            async with AsyncExitStack() as stack:
                for _ in range(2):
                    held = await stack.enter_async_context(database.transaction(read_only=True))
                    await held.connection()
                with pytest.raises(db.PoolExhausted):
                    await ground.add(f"{number}")
            await ground.add(f"{number} again")

        await ground.survive(fault, 20)


async def test_session_never_closed(ground: Ground) -> None:
    async def forget(name: str) -> None:
        session = await ground.database.transaction().__aenter__()
        await insert(session, name)

    async def fault(number: int) -> None:
        await forget(f"{number}")
        gc.collect()
        while ground.database.pool_status().in_use:
            await asyncio.sleep(0)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await ground.survive(fault, 10)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


async def test_session_used_after_its_end(ground: Ground) -> None:
    async def fault(number: int) -> None:
        async with ground.database.transaction() as session:
            await insert(session, f"{number}")
        ground.expected[f"{number}"] = 0
        with pytest.raises(Exception, match="permanently closed"):
            await insert(session, f"{number} again")

    await ground.survive(fault, 20)


async def test_session_shared_by_tasks(ground: Ground) -> None:
    async def fault(number: int) -> None:
        with pytest.raises(db.ConcurrentSessionUse):
            async with ground.database.transaction() as session:
                await session.connection()
                await asyncio.gather(*[insert(session, f"{number}.{n}") for n in range(3)])

    # Made an error, SQLAlchemy's warning that a row is added during a flush would come before.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)
        await ground.survive(fault, 20)


async def test_retry_inside_a_transaction(ground: Ground) -> None:
    async def fault(number: int) -> None:
        async def work(session: AsyncSession) -> None:
            await insert(session, f"{number} inside")

        async with ground.database.transaction() as session:
            await insert(session, f"{number}")
            with pytest.raises(RuntimeError, match="inside a transaction"):
                await ground.database.run(work)
            with pytest.raises(RuntimeError, match="inside a transaction"):
                await ground.database.gather(work, work)
        ground.expected[f"{number}"] = 0

    await ground.survive(fault, 20)


async def test_second_event_loop(ground: Ground) -> None:
    async def fault(number: int) -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(ground.add(f"{number}")))
        await ground.add(f"{number} again")

    await ground.survive(fault, 20)
