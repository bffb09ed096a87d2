"""Tasks that are cancelled, at whatever point they have come to."""

import asyncio
import gc
import threading
import warnings

import sqlalchemy as sa
from sqlalchemy import event

from .. import db
from .ground import Ground, Unit, cancel_after, insert, steps_of, together
from .servers import BACKEND, busy_connections

# From the flush on: before COMMIT, while it is sent, while the answer is waited for, and after it.
STEPS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)


async def test_cancellation_at_random_points(ground: Ground) -> None:
    begun, committed = set[str](), set[str]()

    async def unit(name: str) -> None:
        async with ground.database.transaction() as session:
            db.on_commit(session, lambda: committed.add(name))
            await session.scalar(sa.select(Unit.id).limit(1))
            await insert(session, name)
            async with session.begin_nested():
                await session.scalar(sa.select(Unit.id).limit(1))

    await unit("warm")
    steps = await steps_of(lambda: unit("first"))

    async def cancelled(name: str) -> None:
        begun.add(name)
        await cancel_after(asyncio.create_task(unit(name)), ground.random.randrange(steps))

    async def fault(batch: int) -> None:
        # Some that have the database to themselves get as far as they will; others must wait.
        for n in range(5):
            await cancelled(f"{batch}.{n}")
        await together(cancelled(f"{batch}.{n}") for n in range(5, 10))
        ground.expected = dict.fromkeys(committed, 0)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await ground.survive(fault, 1000, at_once=10)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    assert len(committed) < len(begun)


async def test_cancellation_during_commit(ground: Ground) -> None:
    cancelled, committed = set[str](), set[str]()

    async def fault(number: int) -> None:
        flushed = {f"{number}.{n}": asyncio.Event() for n in range(2)}

        async def unit(name: str) -> None:
            async with ground.database.transaction() as session:
                await insert(session, name)
                db.on_commit(session, lambda: committed.add(name))
                flushed[name].set()
                for _ in range(5):
                    await asyncio.sleep(0)

        async def cancel(name: str) -> None:
            task = asyncio.create_task(unit(name))
            await flushed[name].wait()
            await cancel_after(task, ground.random.choice(STEPS))
            if task.cancelled():
                cancelled.add(name)

        await together(map(cancel, flushed))
        ground.expected = dict.fromkeys(committed, 0)

    await ground.survive(fault, 500, at_once=2)
    # It came before COMMIT, and during it: else this would show nothing.
    assert cancelled - committed and cancelled & committed


# Nobody would wait for the end of them; but SQLite's comes within a minute.
_LONG = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200000000)"
    " SELECT max(i) FROM n",
    "postgresql": "SELECT count(*) FROM generate_series(1, 1000000000000)",
    "mysql": "SELECT benchmark(1000000000000, md5('long'))",
}


async def test_cancellation_of_a_long_statement(ground: Ground) -> None:
    # MySQL's drivers only hang up, and the server goes on for as long as a statement may take.
    limits: dict[str, object] = {"command_timeout": 0, "statement_timeout": 0}
    limits = {} if BACKEND == "mysql" else limits

    async def fault(number: int) -> None:
        threads = threading.active_count()

        async def unit() -> None:
            async with database.transaction() as session:
                await session.execute(sa.text(_LONG[BACKEND]))

        async def is_busy() -> bool:
            if BACKEND == "sqlite":
                # Each connection has one.
                return threading.active_count() > threads
            return await busy_connections(ground.witness) > 0

        def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement == _LONG[BACKEND]:
                sent.set()

        async with ground.using(**limits) as database:
            sent = asyncio.Event()
            event.listen(database.engine.sync_engine, "before_cursor_execute", note)
            task = asyncio.create_task(unit())
            await sent.wait()
            while not await is_busy():
                await asyncio.sleep(0.01)
            task.cancel()
            try:
                async with asyncio.timeout(10):
                    await asyncio.wait([task])
                    while await is_busy():
                        await asyncio.sleep(0.01)
            finally:
                # Its connection is to be closed in any case: a thread of it would go on for ever.
                await asyncio.wait([task])
            assert task.cancelled()

    await ground.check()
    await ground.survive(fault, 3)


async def test_timeout_round_a_transaction(ground: Ground) -> None:
    loop = asyncio.get_running_loop()
    committed, late = set[str](), set[str]()

    async def unit(name: str) -> None:
        async with ground.database.transaction() as session:
            await insert(session, name)
            db.on_commit(session, lambda: committed.add(name))

    await unit("warm")
    began = loop.time()
    await unit("first")
    took = loop.time() - began

    async def fault(number: int) -> None:
        try:
            async with asyncio.timeout(ground.random.uniform(0, took)):
                await unit(f"{number}")
        except TimeoutError:
            late.add(f"{number}")
        ground.expected = dict.fromkeys(committed, 0)
        # Who was in time has committed.
        assert late | committed >= {f"{number}"}

    await ground.survive(fault, 100)
    assert late
