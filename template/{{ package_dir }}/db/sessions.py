"""The session as the layer means it: how it ends, what it awaits then, and what it refuses."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, orm
from sqlalchemy.exc import PendingRollbackError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    AsyncSessionTransaction,
)
from sqlalchemy.orm import ORMExecuteState, SessionTransaction
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.orm.session import JoinTransactionMode

from .errors import ReadOnly, RolledBack, SharedSession, StaleVersion
from .guard import OneTask
from .mixins import SoftDeletable, hide_deleted

logger = logging.getLogger(__name__)

Callback = Callable[[], object]


async def run_callbacks(callbacks: Sequence[Callback]) -> None:
    """Await callbacks in order. An error in one is logged: it cannot undo the commit."""
    for callback in callbacks:
        try:
            result = callback()
            if isawaitable(result):
                await result
        except (Exception, asyncio.CancelledError):
            logger.exception("a callback of on_commit failed: %r", callback)


def create_session(
    bind: AsyncEngine | AsyncConnection,
    *,
    join_transaction_mode: JoinTransactionMode = "conditional_savepoint",
    reader: bool = False,
    guard: bool = True,
    deliver: Callable[[Sequence[Callback]], Awaitable[None]] = run_callbacks,
) -> AsyncSession:
    """A session as the layer means it, on an engine or on a connection that it joins.

    A `reader` refuses all that goes wrong in silence where each statement stands alone; `guard`
    refuses a second task; `deliver` gets the callbacks of `on_commit` once they are due.
    """
    usual, reading = (_OneTask, _OneTaskReader) if guard else (_SyncSession, _Reader)
    session = _Session(
        bind,
        sync_session_class=reading if reader else usual,
        # What was loaded stays readable after the commit: reading it again would need an await.
        expire_on_commit=False,
        # A session that was closed would otherwise come back to life, and leak a connection.
        close_resets_only=False,
        join_transaction_mode=join_transaction_mode,
    )
    session.deliver = deliver
    return session


def on_commit(session: AsyncSession, callback: Callback) -> None:
    """Call and await `callback` once what the session does now is committed, for good.

    It runs after the outermost commit has returned, in the order of registration, and is dropped
    with the savepoint or transaction that is rolled back. An error in it is logged and stops
    nothing; nor does a cancellation cut it short: put a timeout in it. What it does in the database
    needs a transaction of its own. Raises TypeError for what cannot be called, and for a session
    that is not the layer's, ReadOnly for a reader, RuntimeError in a callback of that session.
    """
    sync_session = _sync(session)
    if isinstance(sync_session, _Reader):
        raise _Reader.refusal("on_commit")
    if not callable(callback):
        raise TypeError(f"on_commit takes a function, which it calls later: not {callback!r}")
    if not sync_session.in_transaction():
        if not sync_session.autobegin:
            raise RuntimeError("on_commit in a callback: open a transaction of its own first")
        # Nothing is sent yet; but a rollback now has something to end.
        sync_session.begin()
    savepoint = sync_session.get_nested_transaction()
    sync_session.pending.setdefault(savepoint, []).append(callback)


class _Session(AsyncSession):
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
        sync_session = _sync(self)
        if sync_session.is_shared():
            ending.close()
            raise SharedSession
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

    def __init__(self, session: _Session, nested: bool = False) -> None:
        super().__init__(session, nested)
        self._end = session.end

    async def commit(self) -> None:
        await self._end(super().commit())

    async def rollback(self) -> None:
        await self._end(super().rollback())

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        sync_session = _sync(self.session)
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
            raise RolledBack from lost
        if undone:
            raise RolledBack from sync_session.failure


class _SyncSession(orm.Session):
    """SQLAlchemy's session, for which a deleted row is not there and a lost race has a name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What waits for a commit, by savepoint, None for the transaction itself; and what it is
        # now due for.
        self.pending: dict[SessionTransaction | None, list[Callback]] = {}
        self.due: list[Callback] = []
        # Of the last flush that failed, and rolled back what it was in.
        self.failure: Exception | None = None

    def get(self, *args: Any, **kwargs: Any) -> Any:
        # No statement is run, and so no criteria apply, for a row that the session already holds.
        found = super().get(*args, **kwargs)
        return None if isinstance(found, SoftDeletable) and found.is_deleted else found

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        try:
            super().flush(objects)
        except StaleDataError as error:
            self.failure = StaleVersion(f"{error} Read the row again, and decide anew.")
            raise self.failure from error
        except Exception as error:
            self.failure = error
            raise

    def is_shared(self) -> bool:
        """Whether another call is under way; only a session with the guard knows."""
        return False


def _sync(session: AsyncSession) -> _SyncSession:
    if not isinstance(session.sync_session, _SyncSession):
        raise TypeError("this takes a session of Database.transaction() or session()")
    return session.sync_session


def _committed(session: _SyncSession) -> None:
    # The event fires for each savepoint too, whose callbacks then wait for what is round it.
    savepoint = session.get_nested_transaction()
    callbacks = session.pending.pop(savepoint, [])
    if savepoint is None:
        session.due += callbacks
    else:
        outer = savepoint.parent
        around = outer if outer and outer.nested else None
        session.pending.setdefault(around, []).extend(callbacks)


def _ended(session: _SyncSession, transaction: SessionTransaction) -> None:
    # What a commit has not taken away was rolled back. A flush is a transaction too, within one.
    if transaction.nested or transaction.parent is None:
        session.pending.pop(transaction if transaction.nested else None, None)


event.listen(_SyncSession, "do_orm_execute", hide_deleted)
event.listen(_SyncSession, "after_commit", _committed)
event.listen(_SyncSession, "after_transaction_end", _ended)


class _Reader(_SyncSession):
    """A session for reading in autocommit, which refuses what that would break in silence."""

    @staticmethod
    def refusal(what: str) -> ReadOnly:
        return ReadOnly(
            f"a reader runs each statement by itself, and only reads: {what} needs"
            " `async with database.transaction() as session`"
        )

    def begin_nested(self) -> SessionTransaction:
        raise self.refusal("a savepoint")


# What text may begin with, where it only reads. Data-modifying CTEs are for the database to refuse.
_READING = re.compile(
    r"\s*(--.*\n\s*)*\(*(SELECT|WITH|VALUES|TABLE|SHOW|EXPLAIN|DESC|PRAGMA)\b", re.I
)


def _refuse_changes(session: _Reader, *_: object) -> None:
    raise session.refusal("a flush")


def _refuse_writes(state: ORMExecuteState) -> None:
    statement, options = state.statement, state.execution_options
    written = isinstance(statement, sa.TextClause) and not _READING.match(statement.text)
    if written or statement.is_dml:
        raise _Reader.refusal("a statement that writes")
    # There is no public name for it; SQLite would not even render it.
    if getattr(statement, "_for_update_arg", None) is not None:
        raise _Reader.refusal("FOR UPDATE")
    if options.get("stream_results") or options.get("yield_per"):
        raise _Reader.refusal("a server-side cursor")


event.listen(_Reader, "before_flush", _refuse_changes)
event.listen(_Reader, "do_orm_execute", _refuse_writes)


class _OneTask(OneTask, _SyncSession):
    pass


class _OneTaskReader(OneTask, _Reader):
    pass
