"""A session that only reads, each statement by itself, and refuses everything else."""

import re

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, SessionTransaction

from ..errors import ReadOnly
from .sync_session import SyncSession


class Reader(SyncSession):
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


def _refuse_changes(session: Reader, *_: object) -> None:
    raise session.refusal("a flush")


def _refuse_writes(state: ORMExecuteState) -> None:
    statement, options = state.statement, state.execution_options
    written = isinstance(statement, sa.TextClause) and not _READING.match(statement.text)
    if written or statement.is_dml:
        raise Reader.refusal("a statement that writes")
    # There is no public name for it; SQLite would not even render it.
    if getattr(statement, "_for_update_arg", None) is not None:
        raise Reader.refusal("FOR UPDATE")
    if options.get("stream_results") or options.get("yield_per"):
        raise Reader.refusal("a server-side cursor")


event.listen(Reader, "before_flush", _refuse_changes)
event.listen(Reader, "do_orm_execute", _refuse_writes)
