"""SQLAlchemy's session as the layer needs it: soft deletion, named errors, due callbacks."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import SessionTransaction
from sqlalchemy.orm.exc import StaleDataError

from ..errors import StaleRow
from ..models.soft_delete import SoftDeletable, hide_deleted
from .guard import GuardedSession

Callback = Callable[[], object]


class SyncSession(GuardedSession):
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
            self.failure = StaleRow(f"{error} Read the row again, and decide anew.")
            raise self.failure from error
        except Exception as error:
            self.failure = error
            raise


def sync_session_of(session: AsyncSession) -> SyncSession:
    if not isinstance(session.sync_session, SyncSession):
        raise TypeError("this takes a session of Database.transaction() or session()")
    return session.sync_session


def _committed(session: SyncSession) -> None:
    # The event fires for each savepoint too, whose callbacks then wait for what is round it.
    savepoint = session.get_nested_transaction()
    callbacks = session.pending.pop(savepoint, [])
    if savepoint is None:
        session.due += callbacks
    else:
        outer = savepoint.parent
        around = outer if outer and outer.nested else None
        session.pending.setdefault(around, []).extend(callbacks)


def _ended(session: SyncSession, transaction: SessionTransaction) -> None:
    # What a commit has not taken away was rolled back. A flush is a transaction too, within one.
    if transaction.nested or transaction.parent is None:
        session.pending.pop(transaction if transaction.nested else None, None)


event.listen(SyncSession, "do_orm_execute", hide_deleted)
event.listen(SyncSession, "after_commit", _committed)
event.listen(SyncSession, "after_transaction_end", _ended)
