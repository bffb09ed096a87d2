"""Rows that are hidden rather than removed, and how every statement leaves them out."""

from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import Mapped, ORMExecuteState, RelationshipDirection, mapped_column
from sqlalchemy.orm.util import LoaderCriteriaOption

from .types import UTCDateTime

T = TypeVar("T")


class SoftDeletable:
    """A row that is hidden rather than removed: reads leave it out once `deleted_at` is set."""

    deleted_at: Mapped[datetime | None] = mapped_column(UTCDateTime, sort_order=92)

    @property
    def is_deleted(self) -> bool:
        return self.deleted_at is not None


class _NotDeleted(LoaderCriteriaOption):
    """The criterion that a row is not deleted, everywhere but in the load of a many-to-one.

    A foreign key says that there is a row: the one it refers to shows, deleted or not.
    """

    # Its key in the cache of compiled statements is its class alone: there is one such option, and
    # to look through it takes as long as to fetch a row.
    _traverse_internals = []

    def process_compile_state(self, compile_state: Any) -> None:
        # An UPDATE and a DELETE have no path.
        path = compile_state.current_path.path if hasattr(compile_state, "current_path") else ()
        directions = [step.direction for step in path if hasattr(step, "direction")]
        if directions[-1:] != [RelationshipDirection.MANYTOONE]:
            super().process_compile_state(compile_state)
        for place, loading in list(compile_state.attributes.items()):
            if getattr(loading, "strategy", None) == (("lazy", "joined"),):
                compile_state.attributes[place] = self._joined(place[1][-1], loading)

    def _joined(self, followed: Any, loading: Any) -> Any:
        """What joinedload() asked of a relationship, without a collection's deleted rows.

        A join that loads has no part in the criteria of a statement, unless they propagate, and
        then it does not know which relationship it follows. This is what `joinedload(User.posts.and_
        (Post.deleted_at.is_(None)))` makes of the option: there is no public way to make it later.
        """
        if isinstance(followed, str):
            raise TypeError('joinedload("*") would show deleted rows: name the relationships')
        to_one = followed.direction is RelationshipDirection.MANYTOONE
        if to_one or not issubclass(followed.mapper.class_, SoftDeletable):
            return loading
        loading = loading._clone()
        loading._extra_criteria += (followed.mapper.class_.deleted_at.is_(None),)
        return loading


_NOT_DELETED = _NotDeleted(
    SoftDeletable,
    lambda model: model.deleted_at.is_(None),
    include_aliases=True,
    # True would also filter the joinedload of a many-to-one: see _joined.
    propagate_to_loaders=False,
)


def without_deleted(statement: Select[T]) -> Select[T]:
    """The statement without deleted rows, for one that is kept and used again."""
    return statement.options(_NOT_DELETED).execution_options(include_deleted=None)


def hide_deleted(state: ORMExecuteState) -> None:
    """Leave deleted rows out of a statement, but for one with `include_deleted=True`.

    For the session's `do_orm_execute` event; a refresh of a row in hand goes by.
    """
    # None says that it was done already.
    wanted = state.execution_options.get("include_deleted", False)
    if wanted is False and not state.is_column_load:
        state.statement = state.statement.options(_NOT_DELETED)
