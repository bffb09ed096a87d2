"""Callbacks that run after a transaction is committed."""

import asyncio
import logging
from collections.abc import Sequence
from inspect import isawaitable

from sqlalchemy.ext.asyncio import AsyncSession

from .reader import Reader
from .sync_session import Callback, sync_session_of

logger = logging.getLogger(__name__)


def on_commit(session: AsyncSession, callback: Callback) -> None:
    """Call `callback`, and await its result, after the work of the session is committed.

    Callbacks run in the order of registration, after the outermost commit has returned. A rollback
    of the savepoint or the transaction drops them. An error in a callback is logged, and the next
    callback runs. A cancellation does not interrupt callbacks, so give them a timeout. A callback
    that uses the database needs a transaction of its own.

    Raises:
        TypeError: `callback` is not callable, or the session was not opened by a Database.
        ReadOnly: The session is a reader.
        RuntimeError: A callback of the same session calls this outside a transaction.
    """
    sync_session = sync_session_of(session)
    if isinstance(sync_session, Reader):
        raise Reader.refusal("on_commit")
    if not callable(callback):
        raise TypeError(f"on_commit takes a function and calls it later, not {callback!r}")
    if not sync_session.in_transaction():
        if not sync_session.autobegin:
            raise RuntimeError("on_commit inside a callback: open a transaction there first")
        # Nothing is sent yet. It makes a rollback drop the callback.
        sync_session.begin()
    savepoint = sync_session.get_nested_transaction()
    sync_session.pending.setdefault(savepoint, []).append(callback)


async def run_callbacks(callbacks: Sequence[Callback]) -> None:
    """Call and await callbacks in order. An error is logged, since the commit cannot be undone.

    SystemExit and KeyboardInterrupt are raised after the last callback.
    """
    exits: list[BaseException] = []
    for callback in callbacks:
        try:
            result = callback()
            if isawaitable(result):
                await result
        except (Exception, asyncio.CancelledError):
            logger.exception("a callback of on_commit failed: %r", callback)
        except BaseException as error:
            exits.append(error)
    if exits:
        raise exits[0]
