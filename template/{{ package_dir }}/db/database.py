"""The database of a process: sessions, transactions, health, and an orderly end."""

import asyncio
import logging
import os
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self, TypeVar, overload
from weakref import WeakSet

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from .engine import Health, Password, PoolStatus, create_engine, dialect, health
from .errors import RETRYABLE, CommitOutcomeUnknown, DataLayerError
from .replicas import Replicas, create_replicas
from .session import create_session
from .settings import DatabaseSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
Work = Callable[[AsyncSession], Awaitable[T]]
Bind = AsyncEngine | AsyncConnection

# Sessions of one `gather` where there is no pool to bound them.
_UNPOOLED = 10

# The one slot of a work of `gather`, for what is gathered by the tasks that it starts, and by its
# callbacks of `on_commit`: whoever waited there for another slot could wait for itself.
_own_slot: ContextVar[asyncio.Semaphore] = ContextVar("own_slot")

# What a forked process has of its parent's. Collected here, a connection of asyncpg or asyncmy would
# take itself out of the epoll that both processes share, and the parent wait for its replies in vain.
_inherited: list[object] = []


class Database:
    """One per process and event loop: made where the service starts, closed where it ends.

        async with Database() as database:
            async with database.transaction() as session:
                session.add(User(email="ada@example.com"))

    `password` is called for each new connection, and may be async; `options` go to
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
        self._password = password
        self._options = options
        self._engine: AsyncEngine | None = None
        self._entered = 0
        self._replicas = Replicas()
        # The engine with execution options: to make one takes as long as a short query.
        self._variants: dict[tuple[object, ...], AsyncEngine] = {}
        self._process: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # Each knows the task that opened it: see _refuse_inside_a_transaction.
        self._sessions = WeakSet[AsyncSession]()
        self._limit = self.settings.pool_size + self.settings.max_overflow
        self._slots = asyncio.Semaphore()

    async def __aenter__(self) -> Self:
        # One that is open stays so until its first block ends: an application's may lie inside.
        self._entered += 1
        if self._engine is None:
            self._engine = create_engine(self.settings, password=self._password, **self._options)
            self._replicas = create_replicas(self.settings, self._password, self._options)
            self._process, self._loop = os.getpid(), asyncio.get_running_loop()
            # It belongs to the event loop in which it was first waited for.
            self._slots = asyncio.Semaphore(self._limit or _UNPOOLED)
            logger.info("database: %s", dialect.locate(self.settings.url))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered -= 1
        if self._entered <= 0:
            await self.dispose()

    async def dispose(self) -> None:
        """Close the pool's connections. A second call does nothing.

        In a forked process they are forgotten instead: they are the parent's, who still uses them.
        """
        if self._engine is not None:
            if self._process != os.getpid():
                _inherited.append((self._engine, self._replicas))
            else:
                ours = self._loop is asyncio.get_running_loop()
                await self._engine.dispose(close=ours)
                await self._replicas.dispose(close=ours)
            self._engine = None
            self._variants.clear()
        self._entered = 0

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for what sessions do not offer.

        Raises RuntimeError outside `async with`, in a forked process, and in another event loop.
        """
        if self._engine is None:
            raise RuntimeError("the database is not open: write `async with database:` first")
        if self._process != os.getpid():
            raise RuntimeError(
                "this process was forked from the one that opened the database, and must not share"
                " its connections: `await database.dispose()`, then `async with database:` anew"
            )
        if _running_loop() not in (None, self._loop):
            raise RuntimeError(
                "the database was opened in another event loop, to which its connections belong:"
                " open one with `async with Database():` in each asyncio.run()"
            )
        return self._engine

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[AsyncSession]:
        """An ordinary session, for those who drive it themselves: rolled back at the end."""
        async with self._opened(self.engine) as session:
            yield session

    @asynccontextmanager
    async def transaction(
        self, *, isolation_level: str | None = None, read_only: bool = False
    ) -> AsyncGenerator[AsyncSession]:
        """A unit of work: committed at the end, rolled back on any exception, cancelled or not.

        With `read_only` the database itself refuses writes, every read sees one moment, and a
        replica is read from where there is one.
        A COMMIT is awaited to its end even when the task is cancelled, and the cancellation raised
        after that. Raises CommitOutcomeUnknown if the connection is lost during COMMIT, TransactionRolledBack if the
        body swallowed an error after which the database had undone the unit.
        """
        options = dialect.transaction_options(isolation_level, read_only)
        # A replica cannot promise that there is an order of all transactions.
        replica = read_only and isolation_level != "SERIALIZABLE"
        async with (
            self._bind(options, replica=replica) as bind,
            self._opened(bind) as session,
            session.begin(),
        ):
            yield session

    @asynccontextmanager
    async def reader(self) -> AsyncGenerator[AsyncSession]:
        """A session for quick reads, each by itself: one round trip, where a transaction has three.

        It reads from a replica where there is one, and so perhaps not yet what was just committed.
        Raises ReadOnly for what needs a transaction: a flush, a statement that writes, FOR UPDATE,
        a savepoint, a server-side cursor. Several reads that must agree need one too. What hides
        a write, as a function or a CTE, is refused by the database itself.
        """
        options = dialect.reader_options(self.settings)
        async with (
            self._bind(options, replica=True) as bind,
            self._opened(bind, reader=True) as session,
        ):
            yield session
            # What was added and never flushed would be lost without a word.
            session.sync_session.flush()

    async def run(
        self,
        work: Work[T],
        attempts: int = 3,
        *,
        retry_on: tuple[type[DataLayerError], ...] = (),
        isolation_level: str | None = None,
        read_only: bool = False,
    ) -> T:
        """What `work(session)` returns, in a transaction; tried anew where that is safe.

        The whole of `work` is replayed, up to `attempts` times in all, in a new session, after a
        SerializationFailure, Deadlock, SchemaChanged, Unavailable, or an error of `retry_on`, such as
        LockTimeout or StaleRow. CommitOutcomeUnknown is never among them: the work may be done.
        Raises RuntimeError inside a transaction of the same task, which it could not replay.
        """
        self._refuse_inside_a_transaction("run")
        retryable = (*RETRYABLE, *retry_on)
        for attempt in range(1, attempts + 1):
            try:
                async with self.transaction(
                    isolation_level=isolation_level, read_only=read_only
                ) as session:
                    return await work(session)
            except retryable as error:
                if attempt >= attempts or isinstance(error, CommitOutcomeUnknown):
                    raise
                logger.info("attempt %d of %d failed: %s", attempt, attempts, error)
            # Those who met once must not meet again: each waits for a time of its own.
            await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))
        raise ValueError(f"attempts counts from 1: {attempts}")

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
        """What each `work(session)` returns, at the same time, each in a transaction of its own.

        All gathers together use no more sessions at once than the pool holds connections. The first
        error cancels the other works and is raised as it is; works that were committed stay so.
        Raises RuntimeError in a task that holds a transaction, or a reader that has read: all such
        tasks together could hold the connections that each of them waits for.
        """
        self._refuse_inside_a_transaction("gather")
        slots = _own_slot.get(self._slots)

        async def unit(work: Work[Any]) -> Any:
            async with slots:
                _own_slot.set(asyncio.Semaphore(1))
                async with self.transaction() as session:
                    return await work(session)

        try:
            async with asyncio.TaskGroup() as group:
                units = [group.create_task(unit(work)) for work in works]
        except BaseExceptionGroup as errors:
            first = errors.exceptions[0]
        else:
            return tuple(unit.result() for unit in units)
        raise first

    def _open_session(self, bind: Bind, *, reader: bool = False) -> AsyncSession:
        """A session on an engine or a connection; the test kit puts its own here."""
        return create_session(bind, reader=reader)

    def _opened(self, bind: Bind, *, reader: bool = False) -> AsyncSession:
        """The same, kept in mind for as long as anyone has it: see _refuse_inside_a_transaction."""
        session = self._open_session(bind, reader=reader)
        session.info["task"] = asyncio.current_task()
        self._sessions.add(session)
        return session

    def _bind(
        self, options: Mapping[str, object], *, replica: bool
    ) -> AbstractAsyncContextManager[Bind]:
        """What a session with these execution options is on: a replica, or the primary."""
        engine, name = self.engine, tuple(options.items())
        if options and name not in self._variants:
            self._variants[name] = engine.execution_options(**options)
        primary = self._variants.get(name, engine)
        if replica and self._replicas:
            return self._replicas.connection(options, otherwise=primary)
        return nullcontext(primary)

    def _refuse_inside_a_transaction(self, what: str) -> None:
        # By task: a ContextVar would be set in the tasks that a transaction starts, too.
        current = asyncio.current_task()
        if any(x.info["task"] is current and x.in_transaction() for x in self._sessions):
            raise RuntimeError(
                f"database.{what}() inside a transaction of the same task, or a reader that has read:"
                " it takes connections of its own, and cannot see or replay what was done there."
                " Call it outside, or do the work on the session in hand"
            )

    async def ping(self, timeout: float = 5) -> Health:
        """Whether the database answers within `timeout` seconds. Never raises."""
        return await health.ping(self.engine, timeout)

    def pool_status(self) -> PoolStatus:
        """How the pool stands at this moment."""
        return health.pool_status(self._engine.pool if self._engine else None, self._limit)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
