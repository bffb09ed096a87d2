"""The async session: commits and rollbacks that a cancellation cannot interrupt."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from sqlalchemy.exc import PendingRollbackError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    AsyncSessionTransaction,
)

from ..errors import ConcurrentSessionUse, TransactionRolledBack
from .ending import finish
from .on_commit import run_callbacks
from .reader import Reader
from .sync_session import Callback, SyncSession, sync_session_of

JoinMode = Literal["conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"]


def create_session(
    bind: AsyncEngine | AsyncConnection,
    *,
    join_transaction_mode: JoinMode = "conditional_savepoint",
    reader: bool = False,
    deliver: Callable[[Sequence[Callback]], Awaitable[None]] = run_callbacks,
) -> AsyncSession:
    """Return a session of the layer on an engine, or on a connection whose transaction it joins.

    Args:
        bind: The engine or the connection.
        join_transaction_mode: How the session joins the transaction of a connection.
        reader: Refuse whatever needs a transaction, because each statement commits by itself.
        deliver: Receives the callbacks of `on_commit` after each commit.
    """
    session = Session(
        bind,
        sync_session_class=Reader if reader else SyncSession,
        # Attributes stay readable after the commit: to load them again would need an await.
        expire_on_commit=False,
        # Otherwise a closed session could be used again, and would leak a connection.
        close_resets_only=False,
        join_transaction_mode=join_transaction_mode,
    )
    session.deliver = deliver
    return session


class Session(AsyncSession):
    """An AsyncSession whose commits and rollbacks finish even if their task is cancelled."""

    deliver: Callable[[Sequence[Callback]], Awaitable[None]]

    def begin(self) -> AsyncSessionTransaction:
        """Return a transaction that ends as the session does."""
        return _Transaction(self)

    def begin_nested(self) -> AsyncSessionTransaction:
        """Return a savepoint that ends as the session does."""
        return _Transaction(self, nested=True)

    async def commit(self) -> None:
        """Commit to the end, and run the callbacks of `on_commit`."""
        await self.end(super().commit())

    async def rollback(self) -> None:
        """Roll back to the end."""
        await self.end(super().rollback())

    async def reset(self) -> None:
        """Roll back to the end, and remove all objects."""
        await self.end(super().reset())

    async def invalidate(self) -> None:
        """Close the session and its connections to the end."""
        await self.end(super().invalidate())

    async def close(self) -> None:
        """Close the session after a call of another task has returned; refuse further calls.

        A connection that is closed or rolled back during a call cannot be used again.
        """
        sync_session = sync_session_of(self)
        while sync_session.is_shared():
            sync_session.closing = True
            await asyncio.sleep(0.01)
        await super().close()

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if self.in_transaction():
            with _note_failure(error):
                await super().__aexit__(kind, error, traceback)
        else:
            # SQLAlchemy would create a task, which takes a twentieth of a short query's time.
            await self.close()

    async def end(self, ending: Coroutine[Any, Any, None]) -> None:
        """Await a commit or a rollback, and then the callbacks, to the end."""
        await finish(self._end(ending))

    async def _end(self, ending: Coroutine[Any, Any, None]) -> None:
        sync_session = sync_session_of(self)
        if sync_session.is_shared():
            ending.close()
            raise ConcurrentSessionUse
        try:
            await ending
        finally:
            # A listener of the project's own may raise after the commit.
            await self._deliver(sync_session)

    async def _deliver(self, sync_session: SyncSession) -> None:
        due, sync_session.due = sync_session.due, []
        if due:
            # Nothing would commit a transaction that begins by itself in a callback.
            # PRIVATE: sqlalchemy Session.autobegin: the parameter is public, changing it later is not
            sync_session.autobegin = False
            try:
                await self.deliver(due)
            finally:
                sync_session.autobegin = True


@contextmanager
def _note_failure(error: BaseException | None) -> Generator[None]:
    """Add a failed rollback as a note to the cancellation `error` that caused the rollback.

    If the failure replaced the cancellation, then `Database.run` would catch it and try again.
    """
    try:
        yield
    except Exception as failure:
        if error is None or isinstance(error, Exception):
            raise
        error.add_note(f"The rollback failed: {failure!r}")


class _Transaction(AsyncSessionTransaction):
    """A transaction or savepoint that ends as the session does, and reports a lost flush."""

    # PRIVATE: sqlalchemy AsyncSessionTransaction.__init__: begin() returns no class of one's own
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
            # Raise this error, not ConcurrentSessionUse. Close the session, so that code which
            # catches the error cannot commit unfinished work.
            error.add_note("Another task was still using the session, which is now closed.")
            await self.session.close()
            return
        # A failed flush has rolled back. If the code caught its error, SQLAlchemy has nothing to
        # commit, and raises nothing.
        rolled_back = kind is None and not sync_session.is_active
        try:
            with _note_failure(error):
                await self._end(super().__aexit__(kind, error, traceback))
        except PendingRollbackError as lost:
            # The connection was lost, and the code caught that error or timeout.
            raise TransactionRolledBack from lost
        if rolled_back:
            raise TransactionRolledBack from sync_session.failure
