"""The guard against the use of one session by two tasks, which would mix up their work."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

from sqlalchemy import orm

from ..errors import ConcurrentSessionUse


class _Call(Protocol):
    """The part of a greenlet that is used here. The package greenlet has no types."""

    dead: bool
    parent: object | None


_current_call: Callable[[], _Call] = import_module("greenlet").getcurrent


class GuardedSession(orm.Session):
    """A session that refuses a call while another call on it waits for the database."""

    # PRIVATE: sqlalchemy util.greenlet_spawn: each call of an AsyncSession runs in a new greenlet,
    # which is dead after the call has returned
    _call: _Call | None = None
    closing = False

    def is_shared(self) -> bool:
        """Return whether another call on this session has not returned yet."""
        call = self._call
        return call is not None and not call.dead and call is not _current_call()

    def _enter(self) -> None:
        call = _current_call()
        if self.is_shared() or (self.closing and call is not self._call):
            raise ConcurrentSessionUse
        # The main greenlet has no parent. A call in it awaits nothing, so no other call can begin.
        if call.parent:
            self._call = call

    def get_bind(self, *args: Any, **kwargs: Any) -> Any:
        """Check the call, since every statement gets its connection here."""
        self._enter()
        return super().get_bind(*args, **kwargs)

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        """Check the call before a flush, which would ask for its connection only half-way."""
        self._enter()
        super().flush(objects)

    def merge(self, *args: Any, **kwargs: Any) -> Any:
        """Check the call, since during another call's flush this one would only warn."""
        self._enter()
        return super().merge(*args, **kwargs)
