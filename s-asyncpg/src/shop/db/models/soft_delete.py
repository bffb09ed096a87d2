"""Soft deletion: rows that are hidden instead of removed, and the option that hides them."""

from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Select, event
from sqlalchemy.orm import Mapped, Mapper, ORMExecuteState, mapped_column, object_session
from sqlalchemy.orm.interfaces import MANYTOONE
from sqlalchemy.orm.util import LoaderCriteriaOption

from .types import UTCDateTime

T = TypeVar("T")


class SoftDeletable:
    """A row that is hidden instead of removed: reads leave it out after `deleted_at` is set.

    A new row may refer to a deleted one, since the foreign key holds. To refuse that, lock and read
    the row that it refers to first: `await users.get_one(user_id, for_update="wait")` raises
    NotFound. `session.delete(row)` removes the row itself. A row that leaves a relationship with
    the cascade "delete-orphan" is refused: call the repository's `delete(row)`.
    """

    deleted_at: Mapped[datetime | None] = mapped_column(UTCDateTime, sort_order=92)

    @property
    def is_deleted(self) -> bool:
        """Return whether the row is soft-deleted."""
        return self.deleted_at is not None


# PRIVATE: sqlalchemy LoaderCriteriaOption: with_loader_criteria() cannot tell which relationship it
# filters, and cannot filter a joinedload() without propagating to many-to-ones
class _NotDeleted(LoaderCriteriaOption):
    """The criterion that a row is not deleted, for all loads except that of a many-to-one.

    A foreign key says that a row exists. So a many-to-one shows its row, deleted or not.
    """

    # PRIVATE: sqlalchemy HasCacheKey._traverse_internals: there is one such option, so its class is
    # its key in the cache of compiled statements; inherit_cache is not supported here
    _traverse_internals = []

    def process_compile_state(self, compile_state: Any) -> None:
        """Add the criterion to a statement that is being compiled."""
        # UPDATE and DELETE have no path.
        # PRIVATE: sqlalchemy ORMCompileState.current_path: the relationship that is being loaded
        path = compile_state.current_path.path if hasattr(compile_state, "current_path") else ()
        directions = [step.direction for step in path if hasattr(step, "direction")]
        if directions[-1:] != [MANYTOONE]:
            super().process_compile_state(compile_state)
        # PRIVATE: sqlalchemy ORMCompileState.attributes: the statement's loader options, by path
        for key, option in list(compile_state.attributes.items()):
            # PRIVATE: sqlalchemy _LoadElement.strategy: identifies the options of joinedload()
            if getattr(option, "strategy", None) == (("lazy", "joined"),):
                compile_state.attributes[key] = self._filter_joined(key[1][-1], option)

    def _filter_joined(self, relationship: Any, option: Any) -> Any:
        """Return a joinedload() option without a collection's deleted rows.

        An option with propagate_to_loaders=False does not reach the join of a joinedload(). With
        True it does not know which relationship the join follows. So this adds the criterion to the
        option, as `joinedload(User.posts.and_(Post.deleted_at.is_(None)))` does.
        """
        if isinstance(relationship, str):
            raise TypeError('joinedload("*") would show deleted rows: name the relationships')
        if not _hides_rows(relationship):
            return option
        # PRIVATE: sqlalchemy _LoadElement._clone: the option belongs to the caller's statement
        option = option._clone()
        # PRIVATE: sqlalchemy _LoadElement._extra_criteria: and_() works only on a new option
        option._extra_criteria += (relationship.mapper.class_.deleted_at.is_(None),)
        return option


_NOT_DELETED = _NotDeleted(
    SoftDeletable,
    lambda model: model.deleted_at.is_(None),
    include_aliases=True,
    # True would also filter the joinedload() of a many-to-one: see _filter_joined.
    propagate_to_loaders=False,
)


def without_deleted(statement: Select[T]) -> Select[T]:
    """Return the statement without deleted rows. Use it for a statement that is cached."""
    return statement.options(_NOT_DELETED).execution_options(include_deleted=None)


def hide_deleted(state: ORMExecuteState) -> None:
    """Leave deleted rows out of a statement, unless it has the option `include_deleted=True`.

    This is a listener for the session's event `do_orm_execute`. For the refresh of a row that the
    session holds, SQLAlchemy itself ignores the criterion, except in joined collections.
    """
    # None means that without_deleted() has already done this. A Sequence takes no options.
    hides = state.execution_options.get("include_deleted", False) is False
    if hides and isinstance(state.statement, sa.ClauseElement):
        state.statement = state.statement.options(_NOT_DELETED)


def _hides_rows(relationship: Any) -> bool:
    """Return whether deleted rows are left out of a relationship."""
    to_one = relationship.direction is MANYTOONE
    return not to_one and issubclass(relationship.mapper.class_, SoftDeletable)


@event.listens_for(Mapper, "mapper_configured")
def _load_collections_apart(mapper: Any, model: type) -> None:
    """Load what is mapped with lazy="joined" by selectin, which leaves deleted rows out."""
    for relationship in mapper.relationships:
        # The criterion does not reach such a join: see _filter_joined.
        if relationship.lazy in ("joined", False) and _hides_rows(relationship):
            relationship.lazy = "selectin"
            # PRIVATE: sqlalchemy StrategizedProperty.strategy: no event comes after the classes of
            # the rows are known, and before the loaders are chosen
            # PRIVATE: sqlalchemy StrategizedProperty._get_strategy: as for `strategy`
            relationship.strategy = relationship._get_strategy((("lazy", "selectin"),))


@event.listens_for(SoftDeletable, "before_delete", propagate=True)
def _refuse_orphans(mapper: Mapper[Any], connection: sa.Connection, row: object) -> None:
    """Refuse to remove the row of an object that left a collection with "delete-orphan"."""
    session = object_session(row)
    if session and row not in session.deleted:
        raise TypeError(
            f'the cascade "delete-orphan" would remove the row of a {type(row).__name__}: hide it'
            " with the repository's delete(), or remove it with session.delete()"
        )
