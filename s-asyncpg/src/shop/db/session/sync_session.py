"""SQLAlchemy's session with soft deletion, the error StaleRow, and callbacks after a commit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Query, SessionTransaction
from sqlalchemy.orm.exc import StaleDataError

from ..errors import StaleRow
from ..models.soft_delete import SoftDeletable, hide_deleted
from .guard import GuardedSession

Callback = Callable[[], object]


def _visible(row: Any, options: Mapping[str, Any]) -> Any:
    """Return a row, or None if it is soft-deleted and the options do not ask for it.

    For a row that the session already holds no statement runs, so no criterion hides it.
    """
    hidden = isinstance(row, SoftDeletable) and row.is_deleted
    return None if hidden and not options.get("include_deleted") else row


class _Query(Query[Any]):
    """SQLAlchemy's legacy query, which hides soft-deleted rows too."""

    def get(self, ident: Any) -> Any:
        return _visible(super().get(ident), self.get_execution_options())


class SyncSession(GuardedSession):
    """A session that hides soft-deleted rows, and collects the callbacks of `on_commit`."""

    _merging = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, query_cls=_Query, **kwargs)
        # Callbacks that wait for a commit, by savepoint; None is the transaction itself.
        self.pending: dict[SessionTransaction | None, list[Callback]] = {}
        # Callbacks whose transaction is committed.
        self.due: list[Callback] = []
        # Whether a transaction of this session was committed.
        self.is_committed = False
        # The error of the last flush that failed, and so rolled back.
        self.failure: Exception | None = None

    def get(self, entity: Any, *args: Any, **kwargs: Any) -> Any:
        """Return a row by its key, or None if there is none or it is soft-deleted.

        The execution option `include_deleted=True` shows a soft-deleted row. So does merge(), since
        another row with its key could not be inserted.
        """
        row = _visible(super().get(entity, *args, **kwargs), kwargs.get("execution_options", {}))
        if row is None and self._merging:
            row = super().get(entity, *args, execution_options={"include_deleted": True}, **kwargs)
        return row

    # PRIVATE: sqlalchemy Session._merge: merge() and merge_all() look for a row by it
    def _merge(self, *args: Any, **kwargs: Any) -> Any:
        self._merging = True
        try:
            return super()._merge(*args, **kwargs)
        finally:
            self._merging = False

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        """Flush, and raise StaleRow if a row has changed since it was read."""
        try:
            super().flush(objects)
        except StaleDataError as error:
            self.failure = StaleRow(f"{error} Read the row again.")
            raise self.failure from error
        except Exception as error:
            self.failure = error
            raise


def sync_session_of(session: AsyncSession) -> SyncSession:
    """Return the synchronous session, or raise TypeError for a session of another origin."""
    if not isinstance(session.sync_session, SyncSession):
        raise TypeError("the session was not opened by a Database: use database.transaction()")
    return session.sync_session


def _after_commit(session: SyncSession) -> None:
    # The event also fires when a savepoint is released: its callbacks wait for the outer commit.
    savepoint = session.get_nested_transaction()
    callbacks = session.pending.pop(savepoint, [])
    if savepoint is None:
        session.is_committed = True
        session.due += callbacks
    else:
        outer = savepoint.parent if savepoint.parent and savepoint.parent.nested else None
        session.pending.setdefault(outer, []).extend(callbacks)


def _after_end(session: SyncSession, transaction: SessionTransaction) -> None:
    # Callbacks that no commit has moved were rolled back. A flush is an inner transaction: it has
    # none.
    if transaction.nested or transaction.parent is None:
        session.pending.pop(transaction if transaction.nested else None, None)


event.listen(SyncSession, "do_orm_execute", hide_deleted)
event.listen(SyncSession, "after_commit", _after_commit)
event.listen(SyncSession, "after_transaction_end", _after_end)
