"""The rows of one model: found, paged, made, changed. A repository flushes and never commits."""

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, get_args, get_origin

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, QueryableAttribute, selectinload
from sqlalchemy.orm.interfaces import ORMOption

from .errors import NotFound, UnknownField
from .mixins import SoftDeletable, Timestamped
from .pagination import Column, Page, sort_order

M = TypeVar("M", bound=DeclarativeBase)
T = TypeVar("T")
Criterion = sa.ColumnExpressionArgument[bool]
Lock = Literal["wait", "nowait", "skip_locked"]

# A statement takes 32,767 parameters at most, on PostgreSQL as on SQLite.
_KEYS_PER_STATEMENT = 10_000


class Repository(Generic[M]):
    """The rows of a model, in one session.

        class UserRepository(Repository[User]):
            sortable = {"email": User.email}
            writable = {"email", "name"}

        users = UserRepository(session)      # or Repository[User](session)

    `sortable` are the names that `page` sorts by; `writable` the ones that `create` and `update`
    take, by default every column but the key, the version, and what the layer's mixins keep.
    """

    sortable: ClassVar[Mapping[str, Column]] = {}
    writable: ClassVar[Collection[str] | None] = None
    _model: ClassVar[type[Any] | None] = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            if issubclass(get_origin(base) or object, Repository):
                cls._model = next((m for m in get_args(base) if isinstance(m, type)), cls._model)

    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self._include_deleted = False

    @property
    def model(self) -> type[M]:
        # Repository[User](session) knows its argument too, once it has been made.
        arguments = get_args(getattr(self, "__orig_class__", None))
        model: type[M] | None = self._model or next(iter(arguments), None)
        if model is None:
            raise TypeError("a repository of what? Write Repository[User](session), or a subclass")
        return model

    def statement(self) -> sa.Select[M]:
        """What every read starts from: override it to put a filter on all of them."""
        return sa.select(self.model)

    def with_deleted(self) -> Self:
        """The same repository, with the rows that were softly deleted."""
        other = copy.copy(self)
        other._include_deleted = True
        return other

    async def get(
        self,
        key: object,
        *,
        options: Sequence[ORMOption] = (),
        for_update: Lock | None = None,
    ) -> M | None:
        """The row with this key (a tuple where it has several columns), or None.

        `for_update` locks the row until the transaction ends: "wait" waits for whoever holds it,
        "nowait" raises LockTimeout instead, "skip_locked" takes the row for missing.
        """
        statement = self._select(self._has_key([key]), options=options)
        if for_update:
            # What the session holds may be older than the lock.
            statement = statement.execution_options(populate_existing=True).with_for_update(
                nowait=for_update == "nowait",
                skip_locked=for_update == "skip_locked",
            )
        return (await self.session.scalars(statement)).one_or_none()

    async def get_one(
        self,
        key: object,
        *,
        options: Sequence[ORMOption] = (),
        for_update: Lock | None = None,
    ) -> M:
        """The row with this key. Raises NotFound if there is none."""
        found = await self.get(key, options=options, for_update=for_update)
        if found is None:
            raise NotFound(self.model, key)
        return found

    async def get_many(self, keys: Iterable[object]) -> list[M]:
        """The rows with these keys, any number, in their order; those that are missing left out."""
        wanted = list(keys)
        found: dict[object, M] = {}
        for start in range(0, len(wanted), _KEYS_PER_STATEMENT):
            some = wanted[start : start + _KEYS_PER_STATEMENT]
            rows = await self.session.scalars(self._select(self._has_key(some)))
            found.update((_key_of(row), row) for row in rows)
        return [found[key] for key in wanted if key in found]

    async def find(
        self,
        *where: Criterion,
        order_by: Column | Sequence[Column] = (),
        limit: int | None = None,
        options: Sequence[ORMOption] = (),
    ) -> list[M]:
        """The rows that meet all of these criteria."""
        columns = [order_by] if isinstance(order_by, sa.SQLColumnExpression) else order_by
        statement = self._select(*where, options=options).order_by(*columns).limit(limit)
        return list(await self.session.scalars(statement))

    async def find_one(self, *where: Criterion, options: Sequence[ORMOption] = ()) -> M | None:
        """The one row that meets the criteria, or None. Raises MultipleResultsFound for two."""
        statement = self._select(*where, options=options).limit(2)
        return (await self.session.scalars(statement)).one_or_none()

    async def count(self, *where: Criterion) -> int:
        """How many rows meet the criteria."""
        keys = self._select(*where).with_only_columns(*self._key).order_by(None)
        counted = sa.select(sa.func.count()).select_from(keys.subquery())
        return await self.session.scalar(self._visible(counted)) or 0

    async def exists(self, *where: Criterion) -> bool:
        """Whether any row meets the criteria."""
        statement = sa.select(self._select(*where).with_only_columns(*self._key).exists())
        return bool(await self.session.scalar(self._visible(statement)))

    async def page(
        self,
        *where: Criterion,
        number: int = 1,
        size: int = 50,
        sort: Sequence[str] = (),
        options: Sequence[ORMOption] = (),
    ) -> Page[M]:
        """A page of the rows that meet the criteria; `sort` names `sortable` ones, "-" for down.

        Raises UnknownField for another name, ValueError for a page that cannot be.
        """
        if number < 1 or size < 1:
            raise ValueError(f"pages and their size count from 1: number={number}, size={size}")
        order = sort_order(sa.inspect(self.model), self.sortable, sort)
        statement = self._select(*where, options=options).order_by(None).order_by(*order)
        rows = await self.session.scalars(statement.limit(size).offset((number - 1) * size))
        return Page(rows.all(), number, size, await self.count(*where))

    async def create(self, **values: object) -> M:
        """A new row of these values, flushed. Raises UnknownField for one that is not writable."""
        self._check_writable(values)
        return await self.add(self.model(**values))

    async def add(self, row: M) -> M:
        """The row, flushed: its key and its defaults are set."""
        self.session.add(row)
        await self.session.flush()
        return row

    async def update(self, row: M, **values: object) -> M:
        """Change these values of a row, and flush. Raises UnknownField, StaleVersion."""
        self._check_writable(values)
        for name, value in values.items():
            setattr(row, name, value)
        await self.session.flush()
        return row

    async def delete(self, row: M) -> None:
        """Delete a row: hide it, where the model is SoftDeletable."""
        if isinstance(row, SoftDeletable):
            row.deleted_at = datetime.now(UTC)
        else:
            await self.session.delete(row)
        await self.session.flush()

    async def restore(self, row: M) -> M:
        """Bring a softly deleted row back. Raises TypeError for a model that has no such rows."""
        if not isinstance(row, SoftDeletable):
            raise TypeError(f"{self.model.__name__} is not SoftDeletable: it cannot be restored")
        row.deleted_at = None
        await self.session.flush()
        return row

    async def load(self, row: M, *relationships: str) -> M:
        """Load these relationships of a row in hand, anew if they were loaded before."""
        self.session.expire(row, relationships)
        options = [selectinload(getattr(self.model, name)) for name in relationships]
        await self.session.scalars(self._select(self._has_key([_key_of(row)]), options=options))
        return row

    @property
    def _key(self) -> Sequence[QueryableAttribute[Any]]:
        # Attributes rather than columns: only a statement on a model is filtered by do_orm_execute.
        mapper = sa.inspect(self.model)
        return [mapper.get_property_by_column(key).class_attribute for key in mapper.primary_key]

    def _has_key(self, keys: Sequence[object]) -> sa.ColumnElement[bool]:
        column, *others = self._key
        if others:
            return sa.tuple_(column, *others).in_(keys)
        return column == keys[0] if len(keys) == 1 else column.in_(keys)

    def _select(self, *where: Criterion, options: Sequence[ORMOption] = ()) -> sa.Select[M]:
        return self._visible(self.statement().where(*where).options(*options))

    def _visible(self, statement: sa.Select[T]) -> sa.Select[T]:
        if not self._include_deleted:
            return statement
        return statement.execution_options(include_deleted=True)

    def _check_writable(self, names: Iterable[str]) -> None:
        writable = self._default_writable() if self.writable is None else self.writable
        if unknown := set(names) - set(writable):
            raise UnknownField(self.model, unknown, writable)

    def _default_writable(self) -> set[str]:
        mapper = sa.inspect(self.model)
        mixins = [mixin for mixin in (Timestamped, SoftDeletable) if issubclass(self.model, mixin)]
        kept = {name for mixin in mixins for name in mixin.__annotations__}
        key_and_version = {*mapper.primary_key, mapper.version_id_col}
        return {
            attribute.key
            for attribute in mapper.column_attrs
            if attribute.key not in kept and key_and_version.isdisjoint(attribute.columns)
        }


def _key_of(row: DeclarativeBase) -> object:
    """The key of a row as `get` takes it: a tuple only where it has several columns."""
    key: Sequence[object] = sa.inspect(row, raiseerr=True).identity or ()
    return key[0] if len(key) == 1 else key
