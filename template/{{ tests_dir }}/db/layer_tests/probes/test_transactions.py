"""The promises of a transaction."""

import asyncio
import logging
import os
import random
import re
import time
import warnings
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from operator import methodcaller
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import InvalidRequestError, PendingRollbackError, SAWarning
from sqlalchemy.ext.asyncio import AsyncSession

from . import db, dialect
from .models import Author
from .proxy import proxy

count_authors = sa.select(sa.func.count(Author.id))


def at_commit(database: db.Database, what: Callable[[], object]) -> None:
    """Have `what` called at the moment at which COMMIT is sent."""

    def call(_connection: sa.Connection) -> None:
        what()

    event.listen(database.engine.sync_engine, "commit", call, once=True)


def author(session: AsyncSession, email: str = "ada@example.com") -> Author:
    row = Author(email=email)
    session.add(row)
    return row


async def emails(database: db.Database) -> list[str]:
    async with database.session() as session:
        return list(await session.scalars(sa.select(Author.email).order_by(Author.email)))


async def test_commits_at_its_end(database: db.Database) -> None:
    async with database.transaction() as session:
        author(session)
    assert await emails(database) == ["ada@example.com"]


async def test_rolls_back_on_any_exception(database: db.Database) -> None:
    for error in (ValueError, asyncio.CancelledError):
        with pytest.raises(error):
            async with database.transaction() as session:
                author(session)
                await session.flush()
                raise error
    assert await emails(database) == []


async def test_a_session_commits_nothing_by_itself(database: db.Database) -> None:
    async with database.session() as session:
        author(session)
        await session.flush()
    assert await emails(database) == []


async def test_a_session_that_was_closed_cannot_be_used_again(database: db.Database) -> None:
    async with database.session() as session:
        pass
    with pytest.raises(InvalidRequestError, match="permanently closed"):
        await session.scalar(sa.select(Author.id))


async def test_a_commit_inside_ends_it(database: db.Database) -> None:
    with pytest.raises(InvalidRequestError, match="closed transaction"):
        async with database.transaction() as session:
            await session.commit()
            await session.scalar(count_authors)


async def test_read_only_refuses_writes(fresh_database: db.Database) -> None:
    with pytest.raises(db.ReadOnly):
        async with fresh_database.transaction(read_only=True) as session:
            author(session)
    assert await emails(fresh_database) == []


async def test_read_only_sees_one_moment(fresh_database: db.Database) -> None:
    async with fresh_database.transaction(read_only=True) as session:
        assert await session.scalar(count_authors) == 0
        async with fresh_database.transaction() as other:
            author(other)
        assert await session.scalar(count_authors) == 0
    assert await emails(fresh_database) == ["ada@example.com"]


# A cancellation during COMMIT.


async def test_a_commit_that_is_cancelled_comes_to_its_end(fresh_database: db.Database) -> None:
    called: list[str] = []
    reached: list[str] = []

    async def unit() -> None:
        at_commit(fresh_database, lambda: task.cancel("enough"))
        async with fresh_database.transaction() as session:
            author(session)
            db.on_commit(session, lambda: called.append("committed"))
        reached.append("after")

    task = asyncio.create_task(unit())
    with pytest.raises(asyncio.CancelledError) as raised:
        await task
    assert await emails(fresh_database) == ["ada@example.com"]
    assert called == ["committed"]
    assert reached == []
    assert type(raised.value) is asyncio.CancelledError
    assert raised.value.__notes__ == ["The transaction ended first, without an error."]


async def test_a_timeout_during_commit_is_a_timeout_and_committed(
    fresh_database: db.Database,
) -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as timeout:
            at_commit(fresh_database, lambda: timeout.reschedule(loop.time()))
            async with fresh_database.transaction() as session:
                author(session)
    assert await emails(fresh_database) == ["ada@example.com"]


async def test_a_session_that_commits_itself_is_not_cut_short_either(
    fresh_database: db.Database,
) -> None:
    called: list[str] = []

    async def unit() -> None:
        at_commit(fresh_database, lambda: task.cancel())
        async with fresh_database.session() as session:
            author(session)
            db.on_commit(session, lambda: called.append("committed"))
            await session.commit()

    task = asyncio.create_task(unit())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await emails(fresh_database), called) == (["ada@example.com"], ["committed"])


async def test_a_cancelled_unit_leaves_the_pool_whole(fresh_database: db.Database) -> None:
    async def unit() -> None:
        async with fresh_database.transaction() as session:
            author(session)
            await session.flush()
            begun.set()
            await asyncio.Event().wait()

    for _ in range(5):
        begun = asyncio.Event()
        task = asyncio.create_task(unit())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert fresh_database.pool_status().in_use == 0
    assert await emails(fresh_database) == []


@pytest.mark.skipif(dialect.RENDER_AS_BATCH, reason="there is no network to lose a reply in")
async def test_a_commit_whose_reply_is_lost_is_not_done_again(fresh_database: db.Database) -> None:
    attempts: list[int] = []

    async def work(session: AsyncSession) -> None:
        attempts.append(1)
        author(session)

    async with proxy(fresh_database.settings.url) as (network, url):
        settings = fresh_database.settings.model_copy(update={"url": url})
        async with db.Database(settings) as database:
            at_commit(database, network.lose_the_next_reply)
            with pytest.raises(db.CommitOutcomeUnknown):
                await database.run(work)
            assert database.pool_status().in_use == 0
    assert len(attempts) == 1
    assert await emails(fresh_database) == ["ada@example.com"]


@pytest.mark.parametrize("code", ["40003", "08007"])
async def test_a_commit_whose_outcome_the_server_does_not_know_is_not_done_again(
    fresh_database: db.Database, code: str
) -> None:
    if not db.settings.DRIVER.startswith("postgresql"):
        pytest.skip("only PostgreSQL has these codes")
    attempts: list[int] = []
    async with fresh_database.transaction() as session:
        await session.execute(
            sa.text(
                "CREATE FUNCTION probe_fail() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$ BEGIN RAISE EXCEPTION 'who knows' USING ERRCODE = '{code}'; END $$"
            )
        )
        await session.execute(
            sa.text(
                "CREATE CONSTRAINT TRIGGER probe_fail AFTER INSERT ON probe_authors"
                " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION probe_fail()"
            )
        )

    async def work(session: AsyncSession) -> None:
        attempts.append(1)
        author(session)

    with pytest.raises(db.CommitOutcomeUnknown):
        await fresh_database.run(work)
    assert len(attempts) == 1
    assert fresh_database.pool_status().in_use == 0


@pytest.mark.skipif(dialect.RENDER_AS_BATCH, reason="there is no network to lose")
@pytest.mark.parametrize("where", ["a transaction", "a savepoint", "a session"])
async def test_a_cancellation_is_not_lost_with_the_connection(
    fresh_database: db.Database, where: str
) -> None:
    attempts: list[int] = []

    async def work(session: AsyncSession) -> None:
        attempts.append(1)
        await session.scalar(count_authors)
        async with session.begin_nested() if where == "a savepoint" else nullcontext():
            await network.reset()
            timeout.reschedule(asyncio.get_running_loop().time())
            await asyncio.Event().wait()

    async with proxy(fresh_database.settings.url) as (network, url):
        settings = fresh_database.settings.model_copy(update={"url": url})
        async with db.Database(settings) as database:
            # A rollback fails where there is no connection: run would begin anew.
            with pytest.raises(TimeoutError) as raised:
                async with asyncio.timeout(None) as timeout, asyncio.timeout(30):
                    if where == "a session":
                        async with database.session() as session:
                            await work(session)
                    else:
                        await database.run(work)
            assert database.pool_status().in_use == 0
    # Python 3.11 sets the __cause__ of this error only from 3.11.7 on.
    assert "The rollback failed" in str(getattr(raised.value.__context__, "__notes__", ""))
    assert attempts == [1]


@pytest.mark.skipif(not dialect.RENDER_AS_BATCH, reason="here no thread waits for a lock")
async def test_a_process_ends_while_a_unit_is_given_up(fresh_database: db.Database) -> None:
    async def unit() -> None:
        async with db.Database(settings) as database, database.transaction() as session:
            await session.connection()

    settings = fresh_database.settings.model_copy(update={"lock_timeout": 0.2})
    async with fresh_database.transaction() as session:
        await session.connection()
        others = asyncio.all_tasks()
        for steps in range(10):
            task = asyncio.create_task(unit())
            await asyncio.sleep(0.05)
            task.cancel()
            for _ in range(steps):
                await asyncio.sleep(0)
            # As asyncio.run does at its end, which then waits for all of them.
            left = asyncio.all_tasks() - others
            for one in left:
                one.cancel()
            _, waiting = await asyncio.wait({task, *left}, timeout=5)
            assert waiting == set()


async def test_an_error_that_was_swallowed_does_not_pass_for_a_commit(
    fresh_database: db.Database,
) -> None:
    called: list[str] = []
    try:
        async with fresh_database.transaction() as session:
            await session.execute(sa.insert(Author).values(email="ada@example.com", name="Ada"))
            db.on_commit(session, lambda: called.append("committed"))
            with pytest.raises(db.UniqueViolation):
                await session.execute(sa.insert(Author).values(email="ada@example.com", name="Ada"))
    except db.TransactionRolledBack as error:
        assert isinstance(error.__cause__, Exception)
    # Whether the database undoes the rest is its own affair; what counts is that we know.
    assert bool(await emails(fresh_database)) == bool(called)


@pytest.mark.parametrize("savepoint", [False, True])
async def test_a_connection_whose_loss_was_swallowed_does_not_pass_for_a_commit(
    fresh_database: db.Database, savepoint: bool
) -> None:
    called: list[str] = []
    with pytest.raises(db.TransactionRolledBack):
        async with fresh_database.transaction() as session:
            db.on_commit(session, lambda: called.append("committed"))
            async with session.begin_nested() if savepoint else nullcontext():
                author(session)
                await session.flush()
                # As a timeout does round a statement.
                await (await session.connection()).invalidate()
    assert called == []
    assert await emails(fresh_database) == []


async def test_an_error_in_a_savepoint_leaves_the_rest(fresh_database: db.Database) -> None:
    async with fresh_database.transaction() as session:
        author(session)
        await session.flush()
        with pytest.raises(db.UniqueViolation):
            async with session.begin_nested():
                author(session)
    assert await emails(fresh_database) == ["ada@example.com"]


async def test_a_flush_whose_error_was_swallowed_is_told_of(fresh_database: db.Database) -> None:
    called: list[str] = []

    async def work(session: AsyncSession) -> str:
        db.on_commit(session, lambda: called.append("committed"))
        authors = db.Repository[Author](session)
        await authors.create(email="ada@example.com")
        with pytest.raises(db.UniqueViolation):
            await authors.create(email="ada@example.com")
        return "done"

    with pytest.raises(db.TransactionRolledBack) as raised:
        await fresh_database.run(work)
    assert isinstance(raised.value.__cause__, db.UniqueViolation)
    async with fresh_database.session() as session:
        await work(session)
        with pytest.raises(InvalidRequestError, match="rolled back due to a previous exception"):
            await session.commit()
    assert (await emails(fresh_database), called) == ([], [])


async def test_a_flush_whose_error_was_swallowed_undoes_no_more_than_its_savepoint(
    database: db.Database,
) -> None:
    async with database.transaction() as session:
        authors = db.Repository[Author](session)
        await authors.create(email="ada@example.com")
        with pytest.raises(db.TransactionRolledBack):
            async with session.begin_nested():
                await authors.create(email="grace@example.com")
                with pytest.raises(db.UniqueViolation):
                    await authors.create(email="ada@example.com")
        await authors.create(email="joan@example.com")
    assert await emails(database) == ["ada@example.com", "joan@example.com"]


@pytest.mark.skipif(
    not dialect.RENDER_AS_BATCH, reason="here a transaction begins for what follows"
)
@pytest.mark.parametrize("savepoint", [False, True])
async def test_nothing_that_follows_an_error_which_undid_the_transaction_is_kept(
    fresh_database: db.Database, savepoint: bool
) -> None:
    # As after an error of the disk.
    insert = sa.insert(Author).prefix_with("OR ROLLBACK")
    with pytest.raises(PendingRollbackError):
        async with fresh_database.transaction() as session:
            await session.execute(insert.values(email="ada@example.com", name="Ada"))
            with pytest.raises(db.UniqueViolation):
                async with session.begin_nested() if savepoint else nullcontext():
                    await session.execute(insert.values(email="ada@example.com", name="Ada"))
            await session.execute(insert.values(email="joan@example.com", name="Joan"))
    assert fresh_database.pool_status().in_use == 0
    assert await emails(fresh_database) == []


@pytest.mark.skipif(not dialect.RENDER_AS_BATCH, reason="here one may write beside the other")
async def test_a_second_writer_in_one_task_is_told_that_it_waits_for_the_first(
    fresh_database: db.Database,
) -> None:
    settings = fresh_database.settings.model_copy(update={"lock_timeout": 0.1})
    async with db.Database(settings) as database, database.transaction() as session:
        await session.connection()
        with pytest.raises(db.LockTimeout, match="of this task"):
            async with database.transaction() as other:
                await other.connection()


# After the commit.


async def test_callbacks_are_awaited_in_order_after_the_commit(fresh_database: db.Database) -> None:
    order: list[object] = []

    async def look() -> None:
        # Committed, and the connection is back: this would else wait for ever in a pool of one.
        order.append((await emails(fresh_database), fresh_database.pool_status().in_use))

    async with fresh_database.transaction() as session:
        author(session)
        db.on_commit(session, lambda: order.append("first"))
        db.on_commit(session, look)
        db.on_commit(session, lambda: order.append("last"))
        await session.flush()
        order.append("body")
    assert order == ["body", "first", (["ada@example.com"], 0), "last"]


async def test_callbacks_are_dropped_with_what_rolled_back(fresh_database: db.Database) -> None:
    called: list[str] = []
    with pytest.raises(ValueError):
        async with fresh_database.transaction() as session:
            db.on_commit(session, lambda: called.append("transaction"))
            raise ValueError
    async with fresh_database.transaction() as session:
        db.on_commit(session, lambda: called.append("outer"))
        with pytest.raises(ValueError):
            async with session.begin_nested():
                db.on_commit(session, lambda: called.append("rolled back"))
                async with session.begin_nested():
                    db.on_commit(session, lambda: called.append("released, then rolled back"))
                raise ValueError
        async with session.begin_nested(), session.begin_nested():
            db.on_commit(session, lambda: called.append("inner"))
        assert called == []
        await session.scalar(count_authors)
    assert called == ["outer", "inner"]


async def test_a_session_awaits_them_at_each_of_its_commits(fresh_database: db.Database) -> None:
    called: list[str] = []
    async with fresh_database.session() as session:
        db.on_commit(session, lambda: called.append("first"))
        await session.commit()
        db.on_commit(session, lambda: called.append("rolled back"))
        await session.rollback()
        async with session.begin():
            db.on_commit(session, lambda: called.append("second"))
        assert called == ["first", "second"]
        db.on_commit(session, lambda: called.append("never"))
    assert called == ["first", "second"]


async def test_an_error_in_a_callback_is_reported_and_stops_nothing(
    fresh_database: db.Database, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[str] = []

    async def fail() -> None:
        raise ValueError("no mail server")

    async with fresh_database.transaction() as session:
        author(session)
        db.on_commit(session, fail)
        db.on_commit(session, lambda: called.append("next"))
    assert called == ["next"]
    assert "no mail server" in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert await emails(fresh_database) == ["ada@example.com"]


@pytest.mark.parametrize("what", ["a row", "a statement", "a callback"])
async def test_nothing_is_lost_in_a_callback_without_a_word(
    fresh_database: db.Database, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    async with fresh_database.transaction() as session:

        async def write() -> None:
            match what:
                case "a row":
                    author(session)
                case "a statement":
                    await session.execute(sa.delete(Author))
                case _:
                    db.on_commit(session, write)

        db.on_commit(session, write)
    assert re.search(r"session\.begin\(\)|open a transaction", caplog.text)


async def test_a_callback_may_begin_anew(fresh_database: db.Database) -> None:
    called: list[str] = []
    async with fresh_database.session() as session:

        async def write() -> None:
            async with session.begin():
                author(session)
                db.on_commit(session, lambda: called.append("again"))

        db.on_commit(session, write)
        await session.commit()
        author(session, "joan@example.com")
        await session.commit()
    assert await emails(fresh_database) == ["ada@example.com", "joan@example.com"]
    assert called == ["again"]


async def test_a_callback_is_what_can_be_called(session: AsyncSession) -> None:
    async def send() -> None:
        pass

    sending: Any = send()
    with pytest.raises(TypeError, match="takes a function"):
        db.on_commit(session, sending)
    sending.close()


# run


async def test_run_repeats_no_work_that_committed_by_itself(database: db.Database) -> None:
    async def work(session: AsyncSession) -> None:
        author(session)
        await session.commit()
        raise db.Unavailable("of another database")

    with pytest.raises(db.Unavailable, match="of another database"):
        await database.run(work)
    async with database.session() as session:
        assert await db.Repository[Author](session).count() == 1


async def test_run_returns_what_the_work_returns(database: db.Database) -> None:
    async def work(session: AsyncSession) -> str:
        return author(session).email

    email = await database.run(work)
    assert email.upper() == "ADA@EXAMPLE.COM"
    assert await emails(database) == [email]


@pytest.mark.parametrize(
    "kind", [db.SerializationFailure, db.Deadlock, db.SchemaChanged, db.Unavailable]
)
async def test_run_replays_the_whole_unit(
    database: db.Database, kind: type[db.DataLayerError]
) -> None:
    sessions: list[AsyncSession] = []

    async def work(session: AsyncSession) -> None:
        sessions.append(session)
        author(session)
        await session.flush()
        if len(sessions) < 3:
            raise kind("not now")

    await database.run(work)
    assert len(set(map(id, sessions))) == 3
    assert await emails(database) == ["ada@example.com"]


async def test_run_gives_up_after_its_attempts(database: db.Database) -> None:
    attempts: list[int] = []

    async def work(session: AsyncSession) -> None:
        attempts.append(1)
        raise db.Deadlock("again")

    with pytest.raises(db.Deadlock):
        await database.run(work, attempts=2)
    assert len(attempts) == 2


async def test_run_outlasts_an_outage(fresh_database: db.Database) -> None:
    attempts: list[float] = []

    async def work(session: AsyncSession) -> int:
        attempts.append(time.monotonic())
        if attempts[-1] < attempts[0] + 0.5:
            raise db.Unavailable("no server yet")
        return len(attempts)

    assert await fresh_database.run(work, retry_for=10) > 3
    attempts.clear()
    patient = fresh_database.settings.model_copy(update={"retry_for": 10})
    async with db.Database(patient) as database:
        assert await database.run(work) > 3
    attempts.clear()
    with pytest.raises(db.Unavailable):
        await fresh_database.run(work, attempts=1, retry_for=10)
    assert len(attempts) == 1


@pytest.mark.parametrize("kind", [db.Unavailable, db.Deadlock])
async def test_no_attempt_begins_after_the_time_for_retries(
    fresh_database: db.Database, kind: type[db.DataLayerError]
) -> None:
    attempts: list[float] = []

    async def work(session: AsyncSession) -> None:
        attempts.append(time.monotonic())
        raise kind("again")

    began = time.monotonic()
    with pytest.raises(kind):
        await fresh_database.run(work, attempts=15, retry_for=0.5)
    assert len(attempts) > 1
    assert attempts[-1] < began + 0.6


async def test_the_last_attempt_begins_at_the_end_of_the_time_for_retries(
    fresh_database: db.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[float] = []

    def longest(shortest: float, most: float) -> float:
        return most

    async def work(session: AsyncSession) -> None:
        attempts.append(time.monotonic())
        raise db.Unavailable("no server yet")

    monkeypatch.setattr(random, "uniform", longest)
    began = time.monotonic()
    with pytest.raises(db.Unavailable):
        await fresh_database.run(work, retry_for=0.5)
    assert began + 0.4 < attempts[-1] < began + 0.6


async def test_an_attempt_may_take_longer_than_the_time_for_retries(
    fresh_database: db.Database,
) -> None:
    async def work(session: AsyncSession) -> str:
        await asyncio.sleep(0.2)
        return "done"

    assert await fresh_database.run(work, retry_for=0.1) == "done"


async def test_waits_between_attempts_grow_to_about_a_second(
    fresh_database: db.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest: list[float] = []

    def uniform(shortest: float, most: float) -> float:
        longest.append(most)
        return shortest

    async def work(session: AsyncSession) -> None:
        # More attempts than a power of two fits into a float.
        if len(longest) < 1100:
            raise db.Unavailable("no server yet")

    monkeypatch.setattr(random, "uniform", uniform)
    await fresh_database.run(work, retry_for=60)
    assert longest == sorted(longest)
    assert longest[:3] == [0.04, 0.08, 0.16]
    assert 1 < longest[-1] < 1.5


async def test_run_replays_a_lock_timeout_where_that_is_asked(database: db.Database) -> None:
    attempts: list[int] = []

    async def work(session: AsyncSession) -> None:
        attempts.append(1)
        raise db.LockTimeout("held")

    with pytest.raises(db.LockTimeout):
        await database.run(work)
    assert len(attempts) == 1
    with pytest.raises(db.LockTimeout):
        await database.run(work, retry_on=(db.LockTimeout,))
    assert len(attempts) == 4


async def test_run_never_replays_what_may_be_committed(database: db.Database) -> None:
    attempts: list[int] = []

    async def work(session: AsyncSession) -> None:
        attempts.append(1)
        raise db.CommitOutcomeUnknown("who knows")

    with pytest.raises(db.CommitOutcomeUnknown):
        await database.run(work, retry_on=(db.DataLayerError,))
    assert len(attempts) == 1


async def test_run_is_refused_inside_a_transaction(fresh_database: db.Database) -> None:
    async def work(session: AsyncSession) -> None: ...

    async with fresh_database.transaction():
        with pytest.raises(RuntimeError, match="inside a transaction"):
            await fresh_database.run(work)
        # Another task holds none.
        if not dialect.RENDER_AS_BATCH:
            await asyncio.create_task(fresh_database.run(work))
    await fresh_database.run(work)


async def test_run_asks_only_the_sessions_of_its_own_task(
    fresh_database: db.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[AsyncSession] = []
    in_transaction = AsyncSession.in_transaction

    def note(session: AsyncSession) -> bool:
        asked.append(session)
        return in_transaction(session)

    async def work(session: AsyncSession) -> None: ...

    async def hold(end: asyncio.Event) -> None:
        async with fresh_database.session():
            await end.wait()

    monkeypatch.setattr(AsyncSession, "in_transaction", note)
    counts: list[int] = []
    for number in (0, 50):
        end = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(number):
                group.create_task(hold(end))
            await asyncio.sleep(0)
            asked.clear()
            await fresh_database.run(work)
            counts.append(len(asked))
            end.set()
    assert counts[0] == counts[1]


# gather


async def test_gather_returns_each_result(database: db.Database) -> None:
    async def name(session: AsyncSession) -> str:
        return "Ada"

    async def number(session: AsyncSession) -> int | None:
        return await session.scalar(count_authors)

    first, second = await database.gather(name, number)
    assert (first.upper(), second) == ("ADA", 0)
    assert await database.gather(*[name] * 20) == ("Ada",) * 20


async def test_gather_uses_no_more_sessions_than_the_pool_gives(
    fresh_database: db.Database,
) -> None:
    limit = fresh_database.pool_status().limit
    most = working = 0

    async def work(session: AsyncSession) -> None:
        nonlocal most, working
        working += 1
        most = max(most, working)
        await session.connection()
        working -= 1

    async def readers() -> None:
        await fresh_database.gather(*[work] * 20)

    async with asyncio.timeout(fresh_database.settings.pool_timeout * 4):
        await asyncio.gather(*[readers() for _ in range(5)])
    assert limit is None or most <= limit


async def test_gather_waits_for_other_calls_as_long_as_the_pool_does(
    fresh_database: db.Database,
) -> None:
    started, end = asyncio.Event(), asyncio.Event()

    async def hold(session: AsyncSession) -> None:
        started.set()
        await end.wait()

    async def quick(session: AsyncSession) -> int:
        return 1

    update = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2}
    async with db.Database(fresh_database.settings.model_copy(update=update)) as database:
        holding = asyncio.create_task(database.gather(hold))
        await started.wait()
        async with asyncio.timeout(5):
            with pytest.raises(db.PoolExhausted, match=r"for 0\.2 s"):
                await database.gather(quick)
        end.set()
        await holding
        assert await database.gather(quick, quick) == (1, 1)


async def test_the_works_of_one_gather_wait_for_each_other_without_a_limit(
    fresh_database: db.Database,
) -> None:
    async def work(session: AsyncSession) -> int:
        await asyncio.sleep(0.1)
        return 1

    update = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.15}
    async with db.Database(fresh_database.settings.model_copy(update=update)) as database:
        assert await database.gather(work, work, work) == (1, 1, 1)


async def test_a_work_of_gather_that_is_cancelled_cancels_the_call(database: db.Database) -> None:
    async def cancelled(session: AsyncSession) -> None:
        raise asyncio.CancelledError

    async def work(session: AsyncSession) -> None: ...

    with pytest.raises(asyncio.CancelledError):
        await database.gather(work, cancelled, work)


async def test_the_first_error_of_gather_cancels_the_rest(database: db.Database) -> None:
    ended: list[str] = []

    async def fail(session: AsyncSession) -> None:
        raise ValueError("the first")

    async def never(session: AsyncSession) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    with pytest.raises(ValueError, match="the first"):
        await asyncio.wait_for(database.gather(fail, never), 10)
    assert ended in ([], ["cancelled"])


async def test_gather_is_refused_in_a_task_that_holds_a_transaction(database: db.Database) -> None:
    async def work(session: AsyncSession) -> None: ...

    async with database.session() as session:
        await database.gather(work)
        await session.scalar(count_authors)
        with pytest.raises(RuntimeError, match="inside a transaction"):
            await database.gather(work)


@pytest.mark.parametrize("inside", ["the work", "a task of the work", "a callback of on_commit"])
async def test_gather_within_gather_does_not_wait_for_itself(
    fresh_database: db.Database, inside: str
) -> None:
    counts: list[int | None] = []

    async def count(session: AsyncSession) -> None:
        counts.append(await session.scalar(count_authors))

    async def gather() -> None:
        async with asyncio.timeout(10):
            await database.gather(count, count)

    async def work(session: AsyncSession) -> None:
        author(session)
        await session.flush()
        if inside == "the work":
            with pytest.raises(RuntimeError, match="inside a transaction"):
                await gather()
            counts.extend([1, 1])
        elif inside == "a task of the work":
            # Nobody can give it a connection, since the work that it is part of has the only one.
            with pytest.raises(db.PoolExhausted):
                await asyncio.create_task(gather())
            counts.extend([1, 1])
        else:
            db.on_commit(session, gather)

    update = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1}
    settings = fresh_database.settings.model_copy(update=update)
    async with db.Database(settings) as database:
        await database.gather(work)
    assert counts == [1, 1]


# One session, one task; one database, one event loop and process.


async def test_a_session_refuses_a_second_task(fresh_database: db.Database) -> None:
    async with fresh_database.session() as session:
        results = await asyncio.gather(
            *[session.scalar(count_authors) for _ in range(3)], return_exceptions=True
        )
        assert [type(result) for result in results] == [
            int,
            db.ConcurrentSessionUse,
            db.ConcurrentSessionUse,
        ]
        # One after the other is fine.
        assert await asyncio.create_task(session.scalar(count_authors)) == 0
    assert await emails(fresh_database) == []


async def test_a_shared_session_spoils_no_connection(fresh_database: db.Database) -> None:
    # Refused also where a project makes no errors of SQLAlchemy's warnings. A mark would be unknown
    # to a project that runs pytest without its warnings plugin.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)
        for _ in range(5):
            with pytest.raises(db.ConcurrentSessionUse):
                async with fresh_database.transaction() as session:
                    rows = [Author(email=f"{n}@example.com") for n in range(3)]
                    await session.connection()
                    await asyncio.gather(*[session.merge(row) for row in rows])
    await asyncio.gather(*[emails(fresh_database) for _ in range(8)])


async def _begin_nested(session: AsyncSession) -> None:
    await session.begin_nested()


async def _flush(session: AsyncSession) -> None:
    author(session)
    await session.flush()


@pytest.mark.parametrize(
    "call",
    [
        *map(methodcaller, ("rollback", "commit", "reset", "invalidate", "connection")),
        _begin_nested,
        _flush,
    ],
)
async def test_a_second_task_can_end_or_change_nothing(
    fresh_database: db.Database, call: Callable[[AsyncSession], Awaitable[object]]
) -> None:
    async with fresh_database.session() as session:
        await session.connection()
        found, refused = await asyncio.gather(
            session.scalar(count_authors), call(session), return_exceptions=True
        )
        assert (found, type(refused)) == (0, db.ConcurrentSessionUse)
    assert await emails(fresh_database) == []


async def test_a_session_that_is_closed_lets_one_call_end_and_no_other_begin(
    fresh_database: db.Database,
) -> None:
    counted: list[int | None] = []

    async def count() -> None:
        for _ in range(1000):
            counted.append(await session.scalar(count_authors))

    async with fresh_database.session() as session:
        await session.connection()
        task = asyncio.create_task(count())
        await asyncio.sleep(0)
    with pytest.raises(db.ConcurrentSessionUse):
        await task
    assert counted == [0]


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError])
async def test_an_error_is_not_hidden_by_a_task_that_still_uses_its_session(
    fresh_database: db.Database, kind: type[BaseException]
) -> None:
    tasks: list[asyncio.Task[int | None]] = []
    async with fresh_database.session() as session:
        with pytest.raises(kind) as raised:
            async with session.begin():
                await _flush(session)
                tasks.append(asyncio.create_task(session.scalar(count_authors)))
                await asyncio.sleep(0)
                raise kind
        assert "Another task was still using" in raised.value.__notes__[0]
        assert await tasks[0] == 1
        with pytest.raises(InvalidRequestError, match="closed"):
            await session.commit()
    assert await emails(fresh_database) == []


async def test_a_connection_that_could_not_be_rolled_back_is_not_used_again(
    fresh_database: db.Database,
) -> None:
    async with fresh_database.engine.connect() as connection:
        # A connection has no guard. Which of the two calls fails depends on the driver.
        await connection.scalar(count_authors)
        await asyncio.gather(
            connection.scalar(count_authors), connection.rollback(), return_exceptions=True
        )
    for number in range(2):
        async with fresh_database.transaction() as session:
            author(session, f"{number}@example.com")
    assert await emails(fresh_database) == ["0@example.com", "1@example.com"]


@pytest.mark.skipif(
    not dialect.TRANSACTIONAL_DDL,
    reason="MySQL's drivers send it into the midst of the other's answer",
)
async def test_a_commit_that_a_busy_connection_refuses_is_not_unknown(
    fresh_database: db.Database,
) -> None:
    async with fresh_database.engine.connect() as connection:
        await connection.execute(sa.insert(Author).values(email="ada@example.com"))
        # A connection has no guard.
        _, ended = await asyncio.gather(
            connection.scalar(count_authors), connection.commit(), return_exceptions=True
        )
        # Where it is not refused it waits for its turn.
        assert ended is None or isinstance(ended, db.ConcurrentSessionUse), repr(ended)
    assert await emails(fresh_database) == ([] if ended else ["ada@example.com"])


def test_a_second_event_loop_is_refused(database_server: sa.URL) -> None:
    database = db.Database(db.DatabaseSettings(url=database_server))

    async def open_it() -> None:
        await database.__aenter__()

    async def use_it() -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            async with database.session():
                pass
        await database.dispose()

    asyncio.run(open_it())
    asyncio.run(use_it())


def test_gather_takes_turns_in_each_event_loop_that_the_database_is_opened_in(
    database_server: sa.URL,
) -> None:
    update = {"pool_size": 1, "max_overflow": 0}
    settings = db.DatabaseSettings(url=database_server).model_copy(update=update)
    database = db.Database(settings)

    async def work(session: AsyncSession) -> str:
        await asyncio.sleep(0)
        return "done"

    async def gather() -> list[tuple[str, ...]]:
        async with database:
            return [*await asyncio.gather(database.gather(work), database.gather(work))]

    assert asyncio.run(gather()) == asyncio.run(gather()) == [("done",), ("done",)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_a_forked_process_is_refused_and_may_open_its_own(
    fresh_database: db.Database,
) -> None:
    assert await emails(fresh_database) == []
    child = os.fork()
    if not child:
        # Whatever happens, the child must not go on with the tests.
        try:
            with pytest.raises(RuntimeError, match="forked"):
                assert fresh_database.engine
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
    assert await emails(fresh_database) == []
