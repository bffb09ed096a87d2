"""The database of a process: sessions, transactions, retries and health."""

import asyncio
import logging
import os
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any, Self, TypeVar, overload
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from .engine import Health, Password, PoolStatus, create_engine, dialect, health
from .errors import RETRYABLE, CommitOutcomeUnknown, DataLayerError, Unavailable
from .session import Slots, create_session, sync_session_of, wait_until_finished
from .settings import DatabaseSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
Work = Callable[[AsyncSession], Awaitable[T]]
Bind = AsyncEngine | AsyncConnection
BindContext = AbstractAsyncContextManager[Bind]

# How many sessions gather() opens at once if there is no pool.
_UNPOOLED = 10

# How many seconds before the end of `retry_for` the last attempt of run() begins: a sleep may take
# some milliseconds longer.
_LAST_ATTEMPT = 0.02

# A forked process has inherited these from its parent. They are kept for ever: a garbage-collected
# connection of most drivers removes its socket from the epoll that both processes share, and
# the parent then never receives a reply.
_inherited: list[object] = []


class Database:
    """The database of one process and one event loop.

        async with Database() as database:
            async with database.transaction() as session:
                session.add(User(email="ada@example.com"))

    `password` is called for each new connection, and may be async. `options` are passed to
    `create_async_engine`.
    """

    def __init__(
        self,
        settings: DatabaseSettings | None = None,
        *,
        password: Password | None = None,
        **options: object,
    ) -> None:
        self.settings = settings or DatabaseSettings()
        self._create_engine = partial(create_engine, self.settings, password=password, **options)
        self._entered = 0
        self._engine: AsyncEngine | None = None
        # The engine by execution options: a new variant takes as long as a short query.
        self._variants: dict[tuple[object, ...], AsyncEngine] = {}
        self._process: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # The sessions that each task opened: see _refuse_inside_a_transaction.
        self._sessions = WeakKeyDictionary[asyncio.Task[Any] | None, WeakSet[AsyncSession]]()
        self._limit = self.settings.pool_size + self.settings.max_overflow
        self._slots = Slots(1)

    async def __aenter__(self) -> Self:
        if self._engine is None:
            self._engine = self._create_engine()
            self._variants = {(): self._engine}
            self._process, self._loop = os.getpid(), asyncio.get_running_loop()
            # A semaphore belongs to the event loop in which a task first waited for it.
            self._slots = Slots(self._limit or _UNPOOLED, self.settings.pool_timeout)
            logger.info("database: %s", dialect.locate(self.settings.url))
        # Blocks may be nested: the outermost one closes the database.
        self._entered += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._entered -= 1
        if self._entered <= 0:
            await self.dispose()

    async def dispose(self) -> None:
        """Close the connections of the pool. A second call has no effect.

        Before that, wait for commits that have begun, and for their callbacks. In a forked process,
        leave the connections open: they belong to the parent, which still uses them.
        """
        if self._engine is not None:
            if self._process != os.getpid():
                _inherited.append(vars(self).copy())
            else:
                # A web server may end the process as soon as this returns.
                await wait_until_finished({x for each in self._sessions.values() for x in each})
                await self._engine.dispose(close=self._loop is _running_loop())
            self._engine = None
        self._entered = 0

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for what sessions do not offer.

        Raises:
            RuntimeError: The database is not open, or this process was forked from the one that
                opened it, or this is another event loop.
        """
        if self._engine is None:
            raise RuntimeError("the database is not open: write `async with database:` first")
        if self._process != os.getpid():
            raise RuntimeError(
                "a forked process must not use the connections of its parent: call"
                " `await database.dispose()`, then open the database again"
            )
        if _running_loop() not in (None, self._loop):
            raise RuntimeError(
                "the database was opened in another event loop: write `async with Database():` in"
                " each asyncio.run()"
            )
        return self._engine

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[AsyncSession]:
        """Open an ordinary session: it begins when it is first used, and commits when you say so.

        At the end of the block it is rolled back and closed.
        """
        async with self._bind({}, read_only=False) as bind, self._opened(bind) as session:
            yield session

    @asynccontextmanager
    async def transaction(
        self, *, isolation_level: str | None = None, read_only: bool = False
    ) -> AsyncGenerator[AsyncSession]:
        """Open a session in a transaction: commit at the end of the block, roll back on any error.

        A COMMIT is awaited to its end even if the task is cancelled; the cancellation is raised
        afterwards.

        Args:
            isolation_level: As SQLAlchemy names it; by default the one of the server.
            read_only: The database itself refuses writes, and all reads see the same moment.

        Raises:
            CommitOutcomeUnknown: The connection was lost during COMMIT.
            TransactionRolledBack: The block caught an error after which the database had rolled
                back the transaction.
        """
        options = dialect.transaction_options(isolation_level, read_only)
        async with (
            self._bind(options, read_only=read_only) as bind,
            self._opened(bind) as session,
            session.begin(),
        ):
            yield session

    @asynccontextmanager
    async def reader(self) -> AsyncGenerator[AsyncSession]:
        """Open a session for quick reads: one round trip each, where a transaction takes three.

        Each statement runs in autocommit. Reads that must agree with each other need
        `transaction(read_only=True)`.

        Raises:
            ReadOnly: Something needs a transaction: a flush, a statement that writes, FOR UPDATE, a
                savepoint, or a server-side cursor. The database itself refuses a write that is
                hidden in a function or a CTE.
        """
        async with (
            self._bind(dialect.reader_options(self.settings), read_only=True) as bind,
            self._opened(bind, reader=True) as session,
        ):
            yield session
            # Refuse what was added and never flushed: it would be lost without an error.
            session.sync_session.flush()

    async def run(
        self,
        work: Work[T],
        attempts: int = 3,
        *,
        retry_on: tuple[type[DataLayerError], ...] = (),
        retry_for: float | None = None,
        isolation_level: str | None = None,
        read_only: bool = False,
    ) -> T:
        """Return what `work(session)` returns, in a transaction that is retried where that is safe.

        After an error of RETRYABLE or `retry_on`, the whole of `work` runs again in a new
        transaction. It never runs again after CommitOutcomeUnknown, because that run may be
        committed, nor after `work` itself has called `session.commit()`.

        Args:
            work: A coroutine function that takes the session.
            attempts: How often `work` runs at most. After Unavailable, as in a failover, `retry_for`
                is the limit instead, unless `attempts` is 1.
            retry_on: Further errors to retry after, such as LockTimeout or StaleRow.
            retry_for: The seconds after which no further attempt begins. It never interrupts an
                attempt. The default, DATABASE_RETRY_FOR, limits only attempts after Unavailable.
            isolation_level: See `transaction`.
            read_only: See `transaction`.

        Raises:
            RuntimeError: The task already has a transaction, which a retry could not repeat.
        """
        self._refuse_inside_a_transaction("run")
        if attempts < 1:
            raise ValueError(f"attempts must be at least 1, not {attempts}")
        retryable = (*RETRYABLE, *retry_on)
        limit = self.settings.retry_for if retry_for is None else retry_for
        end = time.monotonic() + limit - _LAST_ATTEMPT
        attempt = 0
        while True:
            attempt += 1
            session: AsyncSession | None = None
            try:
                async with self.transaction(
                    isolation_level=isolation_level, read_only=read_only
                ) as session:
                    return await work(session)
            except retryable as error:
                is_committed = session is not None and sync_session_of(session).is_committed
                # Wait for a random time, so that transactions that collided do not collide again.
                wait = random.uniform(0, 0.02 * 2 ** min(attempt, 6))
                left = end - time.monotonic()
                in_time = left > 0
                by_number = attempt < attempts and (in_time or retry_for is None)
                by_time = attempts > 1 and in_time and isinstance(error, Unavailable)
                again = (by_number or by_time) and not isinstance(error, CommitOutcomeUnknown)
                if is_committed or not again:
                    raise
                logger.info("attempt %d failed: %s", attempt, error)
            # The last attempt begins just before the end.
            await asyncio.sleep(min(wait, left) if in_time else wait)

    @overload
    async def gather(self, a: Work[T1], b: Work[T2], /) -> tuple[T1, T2]: ...
    @overload
    async def gather(self, a: Work[T1], b: Work[T2], c: Work[T3], /) -> tuple[T1, T2, T3]: ...
    @overload
    async def gather(
        self, a: Work[T1], b: Work[T2], c: Work[T3], d: Work[T4], /
    ) -> tuple[T1, T2, T3, T4]: ...
    @overload
    async def gather(self, *works: Work[T]) -> tuple[T, ...]: ...

    async def gather(self, *works: Work[Any]) -> tuple[Any, ...]:
        """Run works at the same time, each in a transaction of its own, and return their results.

        All calls together open no more sessions at once than the pool has connections. The works of
        one call wait for each other for as long as it takes. The first error cancels the other
        works and is raised; works that are already committed stay committed.

        Raises:
            PoolExhausted: Other calls used all connections for the whole DATABASE_POOL_TIMEOUT.
            RuntimeError: The task already has a transaction, or a reader that has read. If many
                such tasks waited for more connections, none would ever become free.
        """
        self._refuse_inside_a_transaction("gather")

        async def unit(work: Work[Any]) -> Any:
            async with self.transaction() as session:
                return await work(session)

        return await self._slots.map(unit, works)

    def _bind(self, options: Mapping[str, object], *, read_only: bool) -> BindContext:
        """Return what a session with these execution options runs on: the engine.

        A subclass may choose something else for a session that is `read_only`.
        """
        engine, key = self.engine, tuple(options.items())
        if key not in self._variants:
            self._variants[key] = engine.execution_options(**options)
        return nullcontext(self._variants[key])

    def _opened(self, bind: Bind, *, reader: bool = False) -> AsyncSession:
        """Return a new session, and remember which task opened it."""
        session = self._open_session(bind, reader=reader)
        self._sessions_of_this_task().add(session)
        return session

    def _open_session(self, bind: Bind, *, reader: bool = False) -> AsyncSession:
        """Return a new session. The fixtures for tests override this."""
        return create_session(bind, reader=reader)

    def _sessions_of_this_task(self) -> WeakSet[AsyncSession]:
        return self._sessions.setdefault(asyncio.current_task(), WeakSet())

    def _refuse_inside_a_transaction(self, method: str) -> None:
        # A ContextVar cannot tell: the tasks that are started inside a transaction inherit it.
        if any(session.in_transaction() for session in self._sessions_of_this_task()):
            raise RuntimeError(
                f"database.{method}() inside a transaction of the same task, or a reader that has"
                " read: it uses other connections. Call it outside, or use the session that is open"
            )

    async def ping(self, timeout: float = 5, *, read_only: bool = False) -> Health:
        """Return whether the database answers within `timeout` seconds. Errors are in the result.

        A server that refuses writes is such an error, unless `read_only` is True.
        """
        return await health.ping(self.engine, timeout, read_only=read_only)

    def pool_status(self) -> PoolStatus:
        """Return how many connections are in use, idle, and possible at most."""
        return health.pool_status(self._engine.pool if self._engine else None, self._limit)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
