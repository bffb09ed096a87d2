"""The rows of one model, read: by key, by criteria, in pages."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import (
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    Self,
    TypeGuard,
    TypeVar,
    get_args,
    get_origin,
)

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapper
from sqlalchemy.orm.interfaces import ORMOption

from ..engine import dialect
from ..errors import NotFound
from ..models.soft_delete import without_deleted
from .cursor import Cursor
from .keyset import (
    Column,
    Orders,
    in_order,
    key_attributes,
    refuse_misfit,
    refuse_unkept,
    sort_orders,
)
from .pages import CursorPage, Page, fetch_page

M = TypeVar("M", bound=DeclarativeBase)
T = TypeVar("T")
Criterion = sa.ColumnExpressionArgument[bool]
Ordering = Column | sa.OrderByList  # either is what sa.desc() gives
Lock = Literal["wait", "nowait", "skip_locked"]


class Reading(Generic[M]):
    """The part of a repository that reads: in one session, leaving out what is softly deleted."""

    #: The names that pages sort by.
    sortable: ClassVar[Mapping[str, Column]] = {}
    _model: ClassVar[type[Any] | None] = None
    # Whether statement() is overridden.
    _is_filtered: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls._is_filtered = cls.statement is not Reading[Any].statement
        for base in getattr(cls, "__orig_bases__", ()):
            if issubclass(get_origin(base) or object, Reading):
                cls._model = next((m for m in get_args(base) if isinstance(m, type)), cls._model)

    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self._include_deleted = False

    @property
    def model(self) -> type[M]:
        model: type[M] | None = self._model
        if model is None:
            # Repository[User](session) knows its argument too, once it has been made.
            model = next(iter(get_args(getattr(self, "__orig_class__", None))), None)
        if model is None:
            raise TypeError("a repository of what? Write Repository[User](session), or a subclass")
        return model

    def statement(self) -> sa.Select[M]:
        """What every read starts from: override it to put a filter on all of them.

        A join that may find a row several times needs `.distinct()`: pages count what it finds.
        """
        return _statement(self.model)

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

        A row that the session holds is not asked for again, but with `options` or `for_update`.
        `for_update` locks the row until the transaction ends: "wait" waits for whoever holds it,
        "nowait" raises LockTimeout instead, "skip_locked" takes the row for missing.
        """
        if not (options or for_update or self._include_deleted or self._is_filtered):
            return await self._get(key)
        statement = self._select(self._has_key([key]), options=options)
        if for_update:
            # What the session holds may be older than the lock; and what is joined has no lock:
            # PostgreSQL refuses one on a row that may be missing.
            statement = statement.execution_options(populate_existing=True).with_for_update(
                of=self.model,
                nowait=for_update == "nowait",
                skip_locked=for_update == "skip_locked",
            )
        return (await self.session.scalars(statement)).unique().one_or_none()

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
        wanted, size = list(keys), self._keys_at_once
        found: dict[object, M] = {}
        for start in range(0, len(wanted), size):
            some = wanted[start : start + size]
            rows = await self.session.scalars(self._select(self._has_key(some)))
            found.update((key_of(row), row) for row in rows.unique())
        if mistaken := found.keys() - set(wanted):
            raise TypeError(
                f"the database takes a key for {mistaken.pop()!r} that Python does not: give keys of"
                f" {self.model.__name__} as its rows have them, of the same type"
            )
        return [found[key] for key in wanted if key in found]

    async def find(
        self,
        *where: Criterion,
        order_by: Ordering | Sequence[Ordering] = (),
        limit: int | None = None,
        options: Sequence[ORMOption] = (),
    ) -> list[M]:
        """The rows that meet all of these criteria. Raises ValueError for a limit below 0."""
        statement = self._select(*where, options=options)
        if columns := columns_of(order_by):
            statement = statement.order_by(*columns)
        if limit is not None:
            at_least(0, limit=limit)
            statement = statement.limit(limit)
        # A row comes once for each of a collection that is loaded by joinedload().
        return list((await self.session.scalars(statement)).unique().all())

    async def find_one_or_none(
        self, *where: Criterion, options: Sequence[ORMOption] = ()
    ) -> M | None:
        """The one row that meets the criteria, or None. Raises MultipleResultsFound for two."""
        statement = self._select(*where, options=options).limit(2)
        return (await self.session.scalars(statement)).unique().one_or_none()

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
        at_least(1, number=number, size=size)
        statement = in_order(self._orders(sort), self._select(*where, options=options))
        rows = await self.session.scalars(statement.limit(size).offset((number - 1) * size))
        return Page(rows.unique().all(), number, size, await self.count(*where))

    async def cursor_page(
        self,
        *where: Criterion,
        size: int = 50,
        cursor: str | None = None,
        sort: Sequence[str] = (),
        options: Sequence[ORMOption] = (),
    ) -> CursorPage[M]:
        """The page at a cursor, which an earlier page gave as `next` or `previous`; None: the first.

        Every page takes as long as the first where an index has the columns of `sort`, and no row
        is skipped or repeated when others come and go. Raises InvalidCursor for a cursor of another
        model or sort, UnknownField as `page` does, ValueError for a size below 1, TypeError for a
        column whose values a cursor cannot keep.
        """
        at_least(1, size=size)
        orders = self._orders(sort)
        refuse_unkept(orders)
        place = Cursor.decode(cursor, self.model, sort)
        refuse_misfit(place, orders)
        statement = self._select(*where, options=options)
        rows, after, before = await fetch_page(place, self.session, statement, orders, size)
        return CursorPage(
            rows,
            next=after.encode(self.model, sort) if after else None,
            previous=before.encode(self.model, sort) if before else None,
        )

    async def _get(self, key: object) -> M | None:
        """What `session.get` gives, by a statement that is made once: a sixth of the time."""
        by_key = _by_key(self.model)
        keys = key if _is_tuple(key) else (key,)
        if len(keys) != len(by_key.names):
            raise ValueError(f"a key of {self.model.__name__} has {len(by_key.names)} columns")
        held = self.session.sync_session.identity_map
        if by_key.mapper.identity_key_from_primary_key(keys) in held:
            # The session looks at what it holds; and leaves it out if it is deleted.
            return await self.session.get(self.model, key)
        parameters = dict(zip(by_key.names, keys, strict=True))
        rows = await self.session.scalars(by_key.statement, parameters)
        return rows.unique().one_or_none()

    def _orders(self, sort: Sequence[str]) -> Orders:
        if isinstance(sort, str):
            raise TypeError('sort takes several names: write sort=("-created_at",), with the comma')
        return _orders(self.model, tuple(self.sortable.items()), tuple(sort))

    @property
    def _key(self) -> Sequence[Column]:
        return key_attributes(sa.inspect(self.model))

    @property
    def _keys_at_once(self) -> int:
        # PostgreSQL makes a tree of the pairs, whose depth the server's stack bounds.
        return dialect.KEYS_PER_STATEMENT if len(self._key) == 1 else 1000

    def _has_key(self, keys: Sequence[object]) -> sa.ColumnElement[bool]:
        column, *others = self._key
        if others:
            return sa.tuple_(column, *others).in_(keys)
        return column == keys[0] if len(keys) == 1 else dialect.is_one_of(column, keys)

    def _select(self, *where: Criterion, options: Sequence[ORMOption] = ()) -> sa.Select[M]:
        statement = self.statement()
        if where:
            statement = statement.where(*where)
        if options:
            statement = statement.options(*options)
        return self._visible(statement)

    def _visible(self, statement: sa.Select[T]) -> sa.Select[T]:
        if not self._include_deleted:
            return statement
        return statement.execution_options(include_deleted=True)


class _ByKey(NamedTuple, Generic[M]):
    """The statement for one row by its key, whose columns are the parameters of these names."""

    mapper: Mapper[Any]
    statement: sa.Select[M]
    names: Sequence[str]


@lru_cache(1000)
def _orders(
    model: type[DeclarativeBase],
    sortable: tuple[tuple[str, Column], ...],
    sort: tuple[str, ...],
) -> Orders:
    return sort_orders(sa.inspect(model), dict(sortable), sort)


@cache
def _statement(model: type[M]) -> sa.Select[M]:
    # To make it anew would take a tenth of a short query's time.
    return sa.select(model)


@cache
def _by_key(model: type[M]) -> _ByKey[M]:
    mapper: Mapper[Any] = sa.inspect(model)
    columns = {f"key_{index}": column for index, column in enumerate(key_attributes(mapper))}
    same = [column == sa.bindparam(name) for name, column in columns.items()]
    return _ByKey(mapper, without_deleted(sa.select(model).where(*same)), [*columns])


def key_of(row: DeclarativeBase) -> object:
    """The key of a row as `get` takes it: a tuple only where it has several columns."""
    key: Sequence[object] = sa.inspect(row, raiseerr=True).identity or ()
    return key[0] if len(key) == 1 else key


def _is_tuple(key: object) -> TypeGuard[tuple[object, ...]]:
    return isinstance(key, tuple)


def at_least(least: int, **given: int) -> None:
    """Raise ValueError for a number that is less: not every database does."""
    for name, number in given.items():
        if number < least:
            raise ValueError(f"{name} is at least {least}, not {number}")


def columns_of(order_by: Ordering | Sequence[Ordering]) -> Sequence[Ordering]:
    return [order_by] if isinstance(order_by, sa.SQLColumnExpression | sa.OrderByList) else order_by
