"""The async session: commits and rollbacks that come to their end, and due callbacks."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import PendingRollbackError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    AsyncSessionTransaction,
)
from sqlalchemy.orm.session import JoinTransactionMode

from ..errors import ConcurrentSessionUse, TransactionRolledBack
from .on_commit import run_callbacks
from .reader import Reader
from .sync_session import Callback, SyncSession, sync_session_of


def create_session(
    bind: AsyncEngine | AsyncConnection,
    *,
    join_transaction_mode: JoinTransactionMode = "conditional_savepoint",
    reader: bool = False,
    deliver: Callable[[Sequence[Callback]], Awaitable[None]] = run_callbacks,
) -> AsyncSession:
    """A session as the layer means it, on an engine or on a connection that it joins.

    A `reader` refuses all that goes wrong in silence where each statement stands alone. `deliver`
    gets the callbacks of `on_commit` once they are due.
    """
    session = Session(
        bind,
        sync_session_class=Reader if reader else SyncSession,
        # What was loaded stays readable after the commit: reading it again would need an await.
        expire_on_commit=False,
        # A session that was closed would otherwise come back to life, and leak a connection.
        close_resets_only=False,
        join_transaction_mode=join_transaction_mode,
    )
    session.deliver = deliver
    return session


class Session(AsyncSession):
    """An AsyncSession whose commits and rollbacks come to their end, whoever cancels them."""

    deliver: Callable[[Sequence[Callback]], Awaitable[None]]

    def begin(self) -> AsyncSessionTransaction:
        return _Transaction(self)

    def begin_nested(self) -> AsyncSessionTransaction:
        return _Transaction(self, nested=True)

    async def commit(self) -> None:
        await self.end(super().commit())

    async def rollback(self) -> None:
        await self.end(super().rollback())

    async def reset(self) -> None:
        await self.end(super().reset())

    async def invalidate(self) -> None:
        await self.end(super().invalidate())

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if self.in_transaction():
            with _noted_on(error):
                await super().__aexit__(kind, error, traceback)
        else:
            # SQLAlchemy makes a task for it, which takes a twentieth of a short query's time.
            await self.close()

    async def end(self, ending: Coroutine[Any, Any, None]) -> None:
        """Await a commit or rollback, and the callbacks that it makes due, to the end.

        A COMMIT that is cancelled has taken effect or not, and nobody would know: a cancellation
        that comes meanwhile is raised afterwards.
        """
        task = asyncio.create_task(self._end(ending))
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
        if not cancelled:
            return task.result()
        problem = task.exception()
        cancelled.add_note(f"The transaction ended first: {problem or 'as it was meant to'}.")
        # The very same error: a subclass of it would escape from `asyncio.timeout`.
        raise cancelled

    async def _end(self, ending: Coroutine[Any, Any, None]) -> None:
        sync_session = sync_session_of(self)
        if sync_session.is_shared():
            ending.close()
            raise ConcurrentSessionUse
        await ending
        due, sync_session.due = sync_session.due, []
        if due:
            # What begins by itself in a callback would be committed by nobody.
            sync_session.autobegin = False
            try:
                await self.deliver(due)
            finally:
                sync_session.autobegin = True


@contextmanager
def _noted_on(error: BaseException | None) -> Generator[None]:
    """Let what a rollback fails with be no more than a note on the cancellation that it follows.

    In its place it would be caught, and what was cancelled tried anew by `Database.run`.
    """
    try:
        yield
    except Exception as problem:
        if error is None or isinstance(error, Exception):
            raise
        error.add_note(f"The rollback failed: {problem!r}")


class _Transaction(AsyncSessionTransaction):
    """What `begin()` and `begin_nested()` give: it ends as the session does, and not in silence."""

    def __init__(self, session: Session, nested: bool = False) -> None:
        super().__init__(session, nested)
        self._end = session.end

    async def commit(self) -> None:
        await self._end(super().commit())

    async def rollback(self) -> None:
        await self._end(super().rollback())

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        sync_session = sync_session_of(self.session)
        if error and not self.nested and sync_session.is_shared():
            # It is the one to tell of; and nobody who catches it is to commit what was half done.
            error.add_note("Another task was still using the session, which is now closed.")
            await self.session.close()
            return
        # A flush that fails rolls back; to SQLAlchemy a block that then ends has nothing to commit.
        undone = kind is None and not sync_session.is_active
        try:
            with _noted_on(error):
                await self._end(super().__aexit__(kind, error, traceback))
        except PendingRollbackError as lost:
            # The connection went, with an error or a timeout that was swallowed.
            raise TransactionRolledBack from lost
        if undone:
            raise TransactionRolledBack from sync_session.failure
