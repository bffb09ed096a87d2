"""The rows of one model, read: by key, by criteria, in pages."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
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
from .keyset import Column, Orders, in_order, key_attributes, sort_orders
from .pages import CursorPage, Page, Selection, fetch_page, refuse_unkept

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
            # PRIVATE: python __orig_class__: no public way to the User of Repository[User](session)
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
        """Return how many rows meet the criteria."""
        return await self._count(self._select(*where), self._key)

    async def _count(
        self, statement: sa.Select[M], keys: Sequence[sa.SQLColumnExpression[object]]
    ) -> int:
        found = statement.with_only_columns(*keys, maintain_column_froms=True).order_by(None)
        counted = sa.select(sa.func.count()).select_from(found.subquery())
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
        statement: sa.Select[M] | None = None,
    ) -> Page[M]:
        """Return a page of the rows that meet the criteria, and how many rows there are.

        Args:
            where: Conditions, beside those of the statement.
            number: Which page, counted from 1.
            size: How many rows a page has.
            sort: Names of `sortable`, "-" before one for descending.
            options: Loader options, such as `selectinload`.
            statement: Any select of the model alone, in place of `statement()`.

        Raises:
            UnknownField: A name of `sort` is not in `sortable`.
            ValueError: The number or the size is below 1.
            TypeError: The statement selects something else, or finds a row several times.
        """
        at_least(1, number=number, size=size)
        selection, orders = self._selection(where, sort, options, statement)
        found = in_order(orders, selection.statement).limit(size).offset((number - 1) * size)
        rows = (await self.session.scalars(found)).unique().all()
        await selection.refuse_repeated(self.session, rows)
        return Page(rows, number, size, await self._count(selection.statement, selection.keys))

    async def cursor_page(
        self,
        *where: Criterion,
        size: int = 50,
        cursor: str | None = None,
        sort: Sequence[str] = (),
        options: Sequence[ORMOption] = (),
        statement: sa.Select[M] | None = None,
    ) -> CursorPage[M]:
        """Return the page at a cursor.

        Every page takes as long as the first where an index has the columns of `sort`, and no row
        is skipped or repeated when others come and go.

        Args:
            where: Conditions, beside those of the statement.
            size: How many rows a page has.
            cursor: What an earlier page gave as `next` or `previous`; None for the first page.
            sort: Names of `sortable`, "-" before one for descending.
            options: Loader options, such as `selectinload`.
            statement: Any select of the model alone, in place of `statement()`.

        Raises:
            InvalidCursor: The cursor is of another model or another sort, or was not made here.
            UnknownField: A name of `sort` is not in `sortable`.
            ValueError: The size is below 1.
            TypeError: A cursor cannot keep values of a column of `sort`; the statement selects
                something else, or finds a row several times.
        """
        at_least(1, size=size)
        selection, orders = self._selection(where, sort, options, statement)
        refuse_unkept(orders)
        place = Cursor.decode(cursor, self.model, sort).fit([x.nullable for x in orders])
        rows, after, before = await fetch_page(self.session, selection, orders, place, size)
        return CursorPage(
            rows,
            next=after.encode(self.model, sort) if after else None,
            previous=before.encode(self.model, sort) if before else None,
        )

    def _selection(
        self,
        where: Sequence[Criterion],
        sort: Sequence[str],
        options: Sequence[ORMOption],
        statement: sa.Select[M] | None,
    ) -> tuple[Selection[M], Orders]:
        """Return the rows to page through, and their order."""
        if isinstance(sort, str):
            raise TypeError('sort takes several names: write sort=("-created_at",), with the comma')
        chosen = (self.statement() if statement is None else statement).where(*where)
        selection = Selection(chosen, self.model)
        if statement is not None or self._is_filtered:
            selection = Selection.of(chosen, self.model)
        database = self.session.get_bind().dialect
        orders = sort_orders(selection.entity, self.sortable, sort, database)
        if statement is not None or self._is_filtered:
            selection.check(orders)
        visible = self._visible(selection.statement.options(*options))
        return replace(selection, statement=visible), orders

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
