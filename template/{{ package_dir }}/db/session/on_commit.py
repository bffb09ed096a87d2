"""Callbacks that run once a transaction is committed."""

import asyncio
import logging
from collections.abc import Sequence
from inspect import isawaitable

from sqlalchemy.ext.asyncio import AsyncSession

from .reader import Reader
from .sync_session import Callback, sync_session_of

logger = logging.getLogger(__name__)


def on_commit(session: AsyncSession, callback: Callback) -> None:
    """Call and await `callback` once what the session does now is committed, for good.

    It runs after the outermost commit has returned, in the order of registration, and is dropped
    with the savepoint or transaction that is rolled back. An error in it is logged and stops
    nothing; nor does a cancellation cut it short: put a timeout in it. What it does in the database
    needs a transaction of its own. Raises TypeError for what cannot be called, and for a session
    that is not the layer's, ReadOnly for a reader, RuntimeError in a callback of that session.
    """
    sync_session = sync_session_of(session)
    if isinstance(sync_session, Reader):
        raise Reader.refusal("on_commit")
    if not callable(callback):
        raise TypeError(f"on_commit takes a function, which it calls later: not {callback!r}")
    if not sync_session.in_transaction():
        if not sync_session.autobegin:
            raise RuntimeError("on_commit in a callback: open a transaction of its own first")
        # Nothing is sent yet; but a rollback now has something to end.
        sync_session.begin()
    savepoint = sync_session.get_nested_transaction()
    sync_session.pending.setdefault(savepoint, []).append(callback)


async def run_callbacks(callbacks: Sequence[Callback]) -> None:
    """Await callbacks in order. An error in one is logged: it cannot undo the commit."""
    for callback in callbacks:
        try:
            result = callback()
            if isawaitable(result):
                await result
        except (Exception, asyncio.CancelledError):
            logger.exception("a callback of on_commit failed: %r", callback)
