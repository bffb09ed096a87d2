"""The guard against one session in two tasks, which would mix up what they do to the database."""

import asyncio
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

from sqlalchemy import orm
from sqlalchemy.util import await_

from ..errors import ConcurrentSessionUse


class _Call(Protocol):
    """What is used here of a greenlet, which has no types of its own."""

    dead: bool
    parent: object | None


_current_call: Callable[[], _Call] = import_module("greenlet").getcurrent


class GuardedSession(orm.Session):
    """A session that refuses a call while another task is waiting in the midst of one.

    SQLAlchemy runs each call in a greenlet of its own, which is dead once the call has returned.
    """

    _call: _Call | None = None
    _closing = False

    def is_shared(self) -> bool:
        call = self._call
        return call is not None and not call.dead and call is not _current_call()

    def _enter(self) -> None:
        call = _current_call()
        if self.is_shared() or (self._closing and call is not self._call):
            raise ConcurrentSessionUse
        # Without a greenlet nothing is awaited, and nobody else can come in between.
        if call.parent:
            self._call = call

    # Whatever is sent asks for its connection here, but a flush only when it is half done.
    def get_bind(self, *args: Any, **kwargs: Any) -> Any:
        self._enter()
        return super().get_bind(*args, **kwargs)

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        self._enter()
        super().flush(objects)

    # While another call flushes it would flush nothing, and no more than warn.
    def merge(self, *args: Any, **kwargs: Any) -> Any:
        self._enter()
        return super().merge(*args, **kwargs)

    def close(self) -> None:
        if self.is_shared():
            # A connection that is closed under the other call, or rolled back, would be of no use
            # to anyone: it comes to its end first, and no further one begins.
            self._closing = True
            while self.is_shared():
                await_(asyncio.sleep(0.01))
        super().close()
