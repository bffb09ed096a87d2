"""A session that only reads, each statement by itself, and refuses everything else."""

import re

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, SessionTransaction

from ..errors import ReadOnly
from .sync_session import SyncSession


class Reader(SyncSession):
    """A session in autocommit, which refuses whatever needs a transaction."""

    @staticmethod
    def refusal(operation: str) -> ReadOnly:
        """Return the error for an operation that needs a transaction."""
        return ReadOnly(
            f"a reader runs each statement by itself, and only reads: {operation} needs"
            " `async with database.transaction() as session`"
        )

    def begin_nested(self) -> SessionTransaction:
        """Refuse savepoints."""
        raise self.refusal("a savepoint")


# The beginnings of text that only reads. The database itself refuses a WITH that changes data.
# Comments and hints may come first, but MySQL executes what is in /*! */. Without the atomic group
# (?>...) a comment could reach to the end of a later one, over a statement that writes.
_READING = re.compile(
    r"(?>(?:\s|--[^\n]*\n|/\*(?!M?!)(?s:.*?)\*/|\()*)"
    r"(SELECT|WITH|VALUES|TABLE|SHOW|EXPLAIN|DESC|PRAGMA)\b",
    re.I,
)


def _refuse_flush(session: Reader, *_: object) -> None:
    raise session.refusal("a flush")


def _refuse_writes(state: ORMExecuteState) -> None:
    statement, options = state.statement, state.execution_options
    text_writes = isinstance(statement, sa.TextClause) and not _READING.match(statement.text)
    if text_writes or statement.is_dml:
        raise Reader.refusal("a statement that writes")
    # PRIVATE: sqlalchemy Select._for_update_arg: with_for_update() has no public getter, and SQLite
    # does not even render it
    if getattr(statement, "_for_update_arg", None) is not None:
        raise Reader.refusal("FOR UPDATE")
    if options.get("stream_results") or options.get("yield_per"):
        raise Reader.refusal("a server-side cursor")


event.listen(Reader, "before_flush", _refuse_flush)
event.listen(Reader, "do_orm_execute", _refuse_writes)
