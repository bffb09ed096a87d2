"""Commits and callbacks come to their end, whatever cancels the tasks that wait for them."""

import asyncio
import sys
import time
from collections.abc import Awaitable
from contextvars import Context
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session

from . import db
from .models import Author


def count_wakeups(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that grows by one for each callback that the event loop is given."""
    loop, calls = asyncio.get_running_loop(), list[object]()
    call_soon: Any = loop.call_soon

    def counted(*arguments: Any, context: Context | None = None) -> Any:
        calls.append(arguments[0])
        return call_soon(*arguments, context=context)

    monkeypatch.setattr(loop, "call_soon", counted)
    return calls


async def test_repeated_cancellations_cost_nothing(
    fresh_database: db.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def callback() -> None:
        started.set()
        await asyncio.sleep(0.5)
        ended.set()

    async def unit() -> None:
        async with fresh_database.transaction() as session:
            await db.Repository[Author](session).create(email="ada@example.com")
            db.on_commit(session, callback)

    task = asyncio.create_task(unit())
    await started.wait()
    calls = count_wakeups(monkeypatch)
    for _ in range(100):
        task.cancel()
        await asyncio.sleep(0.001)
    assert not ended.is_set()
    # The sleeps themselves cost one each.
    assert len(calls) < 120

    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert ended.is_set()
    assert caught.value.__notes__ == ["The transaction ended first, without an error."]


async def test_a_connection_may_close_while_it_is_abandoned(fresh_database: db.Database) -> None:
    if fresh_database.engine.dialect.name != "sqlite":
        pytest.skip("only SQLite interrupts a connection that is abandoned")
    tasks = list[asyncio.Task[None]]()

    def note(_: object, record: Any, __: object) -> None:
        tasks.append(record.info["abandoning"])

    event.listen(fresh_database.engine.sync_engine, "invalidate", note)
    async with fresh_database.engine.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        # Its thread closes it, and is slow to say so.
        closing: list[Awaitable[None]] = [
            raw._execute(raw._conn.close),
            raw._execute(time.sleep, 0.2),
        ]
        slow = asyncio.gather(*closing)
        await asyncio.sleep(0.01)
        await connection.invalidate()
        await slow
    await tasks[0]


async def test_a_timeout_in_a_callback_has_its_effect(fresh_database: db.Database) -> None:
    expired = list[bool]()

    async def callback() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)
        except TimeoutError:
            expired.append(True)

    async with fresh_database.transaction() as session:
        db.on_commit(session, callback)
        await session.execute(sa.text("SELECT 1"))
    assert expired == [True]


@pytest.mark.parametrize("in_the_loop", [True, False])
async def test_rows_and_callbacks_agree_when_all_tasks_are_cancelled(
    fresh_database: db.Database, in_the_loop: bool
) -> None:
    told = list[str]()

    async def unit(database: db.Database, email: str) -> None:
        async def callback() -> None:
            await asyncio.sleep(0.01)
            told.append(email)

        async with database.transaction() as session:
            await db.Repository[Author](session).create(email=email)
            db.on_commit(session, callback)

    def process(number: int) -> None:
        """Do what asyncio.run() does, and dispose of the database afterwards."""
        database = db.Database(fresh_database.settings)
        tasks = list[asyncio.Task[None]]()

        async def main() -> None:
            await database.__aenter__()
            emails = [f"{number}-{n}@example.com" for n in range(4)]
            tasks.extend(asyncio.create_task(unit(database, email)) for email in emails)
            await asyncio.sleep(0.001 * number**2)
            if in_the_loop:
                cancel_all(asyncio.current_task())

        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        if not in_the_loop:
            cancel_all(loop=loop)
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(database.dispose())
        # A thread of aiosqlite whose connect was cancelled still reports to the event loop.
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()

    for number in range(12):
        await asyncio.to_thread(process, number)
    async with fresh_database.session() as session:
        stored = list(await session.scalars(sa.select(Author.email)))
    assert told
    if _waits_in_tasks(fresh_database):
        # The wait for the reply to COMMIT may be cancelled directly. No callback lacks its row.
        assert set(told) <= set(stored)
    else:
        assert sorted(told) == sorted(stored)


def _waits_in_tasks(database: db.Database) -> bool:
    """Return whether the driver waits in tasks of its own: in Python 3.11 wait_for() creates one."""
    is_mysql = database.engine.dialect.name in ("mysql", "mariadb")
    return is_mysql and sys.version_info < (3, 12)


def cancel_all(
    but: asyncio.Task[None] | None = None, loop: asyncio.AbstractEventLoop | None = None
) -> None:
    for task in asyncio.all_tasks(loop) - {but}:
        task.cancel()


async def test_the_end_of_the_database_waits_for_the_callbacks_of_a_commit(
    fresh_database: db.Database,
) -> None:
    began, told = asyncio.Event(), list[str]()

    async with db.Database(fresh_database.settings) as database:

        async def callback() -> None:
            began.set()
            await asyncio.sleep(0.2)
            async with database.transaction() as session:
                await db.Repository[Author](session).create(email="grace@example.com")
            told.append("ada@example.com")

        async def unit() -> None:
            async with database.transaction() as session:
                await db.Repository[Author](session).create(email="ada@example.com")
                db.on_commit(session, callback)

        task = asyncio.create_task(unit())
        await asyncio.wait_for(began.wait(), timeout=10)
        # uvicorn does this when the time for a graceful shutdown is over.
        task.cancel()
    assert told == ["ada@example.com"]
    with pytest.raises(asyncio.CancelledError):
        await task
    async with fresh_database.session() as session:
        assert await db.Repository[Author](session).count() == 2


async def test_callbacks_run_where_a_listener_fails_after_the_commit(
    fresh_database: db.Database,
) -> None:
    told = list[str]()

    def fail(session: Session) -> None:
        raise ValueError("a listener of the project")

    with pytest.raises(ValueError, match="a listener of the project"):
        async with fresh_database.transaction() as session:
            await db.Repository[Author](session).create(email="ada@example.com")
            db.on_commit(session, lambda: told.append("committed"))
            event.listen(session.sync_session, "after_commit", fail)
    assert told == ["committed"]
    async with fresh_database.session() as session:
        assert await db.Repository[Author](session).count() == 1


async def test_an_exit_in_a_callback_lets_the_others_run(fresh_database: db.Database) -> None:
    told = list[str]()

    def leave() -> None:
        told.append("leave")
        raise SystemExit(3)

    async def process() -> None:
        async with (
            db.Database(fresh_database.settings) as database,
            database.transaction() as session,
        ):
            await session.execute(sa.text("SELECT 1"))
            db.on_commit(session, leave)
            db.on_commit(session, lambda: told.append("after"))

    with pytest.raises(SystemExit) as caught:
        await asyncio.to_thread(asyncio.run, process())
    assert caught.value.code == 3
    assert told == ["leave", "after"]
