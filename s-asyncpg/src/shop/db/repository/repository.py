"""The repository: it creates, reads, changes and deletes the rows of one model."""

import copy
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Collection,
    Iterable,
    Mapping,
    Sequence,
    Set,
)
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, get_args, get_origin

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, selectinload
from sqlalchemy.orm.interfaces import ORMOption

from ..errors import NotFound, SerializationFailure, UniqueViolation
from ..models import SoftDeletable
from ..session.reader import Reader
from . import copy as writer
from .bulk import BulkWrite, Keys, Progress, Rows, change_keys, savepoint
from .columns import (
    columns_of,
    computed_columns,
    has_key,
    held_rows,
    insertable_names,
    key_columns,
    key_of,
    keys_per_statement,
    refresh,
    refuse_names,
    refuse_other_keys,
    remaining,
    writable_names,
)
from .cursor import Cursor
from .keyset import Column, Orders, in_order, sort_orders
from .pages import CursorPage, Page, Selection, fetch_after, fetch_page, refuse_unkept, select_rows

M = TypeVar("M", bound=DeclarativeBase)
T = TypeVar("T")
Criterion = sa.ColumnExpressionArgument[bool]
Ordering = Column | sa.OrderByList  # sa.desc() returns one or the other
Lock = Literal["wait", "nowait", "skip_locked"]


class Repository(Generic[M]):
    """The rows of a model, in one session. A repository flushes, and never commits.

        class UserRepository(Repository[User]):
            sortable = {"email": User.email}
            writable = {"email", "name"}

        users = UserRepository(session)      # or Repository[User](session)

    Reads leave out soft-deleted rows. Without `writable`, `create` and `update` take every column
    except the primary key, the version, and the columns of the layer's mixins. `create` also takes
    a primary key that has no default.
    """

    #: The names that pages can be sorted by, and their columns.
    sortable: ClassVar[Mapping[str, Column]] = {}
    #: The names that `create`, `update` and the bulk writes accept.
    writable: ClassVar[Collection[str] | None] = None
    _model: ClassVar[type[Any] | None] = None
    # Whether statement() is overridden.
    _is_filtered: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls._is_filtered = cls.statement is not Repository[Any].statement
        model = _argument(cls)
        cls._model = model if isinstance(model, type) else None

    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self._include_deleted = False

    @property
    def model(self) -> type[M]:
        """Return the class of the rows."""
        # PRIVATE: python __orig_class__: the only trace of the User in Repository[User](session)
        model: type[M] | None = self._model or _argument(getattr(self, "__orig_class__", None))
        if model is None:
            raise TypeError(
                "this repository has no model: write Repository[User](session), or a subclass"
            )
        return model

    def statement(self) -> sa.Select[M]:
        """Return the SELECT that every read starts from. Override it to filter all reads.

        A join that finds a row several times needs `.distinct()`, because pages count the result.
        """
        return _statement(self.model)

    def with_deleted(self) -> Self:
        """Return the same repository, including soft-deleted rows."""
        other = copy.copy(self)
        other._include_deleted = True
        return other

    async def create(self, /, **values: object) -> M:
        """Add a new row of these values, flush, and return it. Raise NotWritable."""
        refuse_names(self.model, values, writable_names(self.model, self.writable, new=True))
        return await self.add(self._new(values))

    async def add(self, row: M) -> M:
        """Add a row, flush, and return it: every column can be read without an await."""
        self.session.add(row)
        return await self._flush(row)

    async def get_or_create(
        self, unique: Mapping[str, object], defaults: Mapping[str, object] = {}
    ) -> tuple[M, bool]:
        """Return the row with these values, and whether it is new.

        Two requests may do this at once: at READ COMMITTED both get the same row.

        Args:
            unique: Values by attribute, whose columns have a unique constraint or index.
            defaults: What a new row has besides.

        Raises:
            SerializationFailure: At a stricter isolation level, another transaction created the row.
            UniqueViolation: Another row has one of the values: one that is soft-deleted or that
                `statement()` leaves out, or a row that differs in the other values.
        """
        return await self._get_or_create(unique, defaults, read=True)

    async def update_or_create(
        self, unique: Mapping[str, object], defaults: Mapping[str, object] = {}
    ) -> tuple[M, bool]:
        """Give the row with these values the `defaults`, or create it; return it, and whether it is new.

        The row is locked before it changes. The rest is as for `get_or_create`, but on MySQL more
        than two requests at once may raise Deadlock, which `Database.run` replays.
        """
        row, is_new = await self._get_or_create(unique, defaults, read=False)
        if not is_new and defaults:
            row = await self.get_one(key_of(row), for_update="wait")
            await self.update(row, **defaults)
        return row, is_new

    async def get(
        self,
        key: object,
        *,
        options: Sequence[ORMOption] = (),
        for_update: Lock | None = None,
    ) -> M | None:
        """Return the row with this primary key, or None.

        A row that the session already holds costs no statement, unless there are `options` or
        `for_update`.

        Args:
            key: A value, or a tuple if the key has several columns.
            options: Loader options, such as `selectinload`.
            for_update: Lock the row until the transaction ends. If another transaction has locked
                it, "wait" waits, "nowait" raises LockTimeout, and "skip_locked" returns None.
        """
        if not (options or for_update or self._include_deleted or self._is_filtered):
            return await self.session.get(self.model, key)
        statement = self._select(has_key(self.model, [key]), options=options)
        if for_update:
            # The session's copy may be older than the lock. Only the model's own tables are locked:
            # PostgreSQL refuses a lock on the nullable side of an outer join.
            statement = statement.execution_options(populate_existing=True).with_for_update(
                of=sa.inspect(self.model).tables,
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
        """Return the row with this primary key, or raise NotFound. See `get`."""
        row = await self.get(key, options=options, for_update=for_update)
        if row is None:
            raise NotFound(self.model, key)
        return row

    async def get_many(self, keys: Iterable[object]) -> list[M]:
        """Return the rows with these keys, in the order of the keys. Missing rows are left out."""
        keys, size = list(keys), keys_per_statement(self.model)
        rows: dict[object, M] = {}
        for start in range(0, len(keys), size):
            statement = self._select(has_key(self.model, keys[start : start + size]))
            rows |= {key_of(row): row for row in (await self.session.scalars(statement)).unique()}
        refuse_other_keys(self.model, rows.keys() - set(keys))
        return [rows[key] for key in keys if key in rows]

    async def find(
        self,
        *where: Criterion,
        order_by: Ordering | Sequence[Ordering] = (),
        limit: int | None = None,
        options: Sequence[ORMOption] = (),
    ) -> list[M]:
        """Return the rows that meet all criteria. Raise ValueError for a limit below 0."""
        statement = self._select(*where, options=options)
        if columns := _columns_of(order_by):
            statement = statement.order_by(*columns)
        if limit is not None:
            at_least(0, limit=limit)
            statement = statement.limit(limit)
        # joinedload() of a collection repeats a row for each of its elements.
        return list((await self.session.scalars(statement)).unique().all())

    async def find_one_or_none(
        self, *where: Criterion, options: Sequence[ORMOption] = ()
    ) -> M | None:
        """Return the row that meets the criteria, or None. Raise MultipleResultsFound for two."""
        statement = self._select(*where, options=options).limit(2)
        return (await self.session.scalars(statement)).unique().one_or_none()

    async def count(self, *where: Criterion) -> int:
        """Return how many rows meet the criteria."""
        return await self._count(self._select(*where), key_columns(self.model))

    async def exists(self, *where: Criterion) -> bool:
        """Return whether any row meets the criteria."""
        statement = sa.select(
            self._select(*where).with_only_columns(*key_columns(self.model)).exists()
        )
        return bool(await self.session.scalar(self._visible(statement)))

    async def update(self, row: M, /, **values: object) -> M:
        """Change these values of a row, flush, and return it. Raise NotWritable, StaleRow."""
        refuse_names(self.model, values, writable_names(self.model, self.writable))
        self._check_in_session(row)
        for name, value in values.items():
            setattr(row, name, value)
        return await self._flush(row)

    async def load(self, row: M, *relationships: str) -> M:
        """Load these relationships of a row, also if they were loaded before, and return the row.

        Raises:
            ValueError: The model has no relationship of such a name.
            NotFound: This repository's reads leave the row out.
        """
        known = sa.inspect(self.model).relationships.keys()
        if unknown := set(relationships).difference(known):
            raise ValueError(
                f"{self.model.__name__} has no relationship {', '.join(sorted(unknown))}: it has"
                f" {', '.join(sorted(known)) or 'none'}"
            )
        # To expire them would lose changes that are not flushed.
        await self.session.flush()
        self.session.expire(row, relationships)
        options = [selectinload(getattr(self.model, name)) for name in relationships]
        key = key_of(row)
        rows = await self.session.scalars(self._select(has_key(self.model, [key]), options=options))
        if not any(found is row for found in rows.unique()):
            raise NotFound(self.model, key)
        return row

    async def delete(self, row: M) -> None:
        """Delete a row. A SoftDeletable row is hidden: it gets a `deleted_at`, if it has none."""
        self._check_in_session(row)
        if isinstance(row, SoftDeletable):
            # A rolled back savepoint expires the row: reading it then takes a statement.
            deleted_at = await self.session.run_sync(lambda _: row.deleted_at)
            row.deleted_at = deleted_at or datetime.now(UTC)
            await self._flush(row)
        else:
            await self.session.delete(row)
            await self.session.flush()

    async def restore(self, row: M) -> M:
        """Restore a soft-deleted row, and return it. Raise TypeError if it is not SoftDeletable."""
        if not isinstance(row, SoftDeletable):
            raise TypeError(f"{self.model.__name__} is not SoftDeletable: it cannot be restored")
        self._check_in_session(row)
        row.deleted_at = None
        return await self._flush(row)

    async def create_many(self, rows: Rows) -> list[M]:
        """Create rows as `create` does, all or none, and return them. They are all in memory."""
        created: list[M] = []
        names = writable_names(self.model, self.writable, new=True)
        write = BulkWrite(self.session, columns_of(self.model), names)
        async with savepoint(self.session):
            async for chunk in write.chunks(rows):
                some = [self._new(row) for row in chunk]
                self.session.add_all(some)
                await self.session.flush()
                if any(computed_columns(row) for row in some):
                    await remaining(self.session, self.model, some)
                created += some
        return created

    async def insert_many(
        self,
        rows: Rows,
        *,
        allow: Collection[str] = (),
        progress: Progress | None = None,
    ) -> int:
        """Insert any number of rows, all or none, and return their number.

        The rows are as `session.add()` would store them, but `__init__`, validators, mapper events
        and relationships do not take part.

        Args:
            rows: Mappings by attribute name, from an iterable or an async iterable. It is read in
                chunks while the rows are written.
            allow: Names that are accepted beside `writable`, for imports. Without `writable` every
                column is accepted.
            progress: Called with the number of rows so far.

        Raises:
            NotWritable: A row has a name that is not accepted.
        """
        names = insertable_names(self.model, self.writable, allow)
        write = BulkWrite(self.session, columns_of(self.model), names, progress)
        async with savepoint(self.session):
            await writer.insert_rows(write, rows)
        return write.count

    async def upsert_many(
        self,
        rows: Rows,
        *,
        on: Sequence[str],
        allow: Collection[str] = (),
        progress: Progress | None = None,
    ) -> int:
        """Insert rows or update existing ones, all or none, and return the number of rows.

        An existing row takes the values that the new row has, and keeps the others. The later of
        two new rows with the same `on` wins: `on` are the attributes of a unique constraint or
        index. A row that `statement()` leaves out is not changed. A soft-deleted row is changed,
        and stays deleted. Rows that the session holds are not refreshed. On MySQL a conflict with
        any other unique constraint counts, too. The rest is as for `insert_many`.
        """
        if isinstance(on, str):
            raise TypeError(f'on takes several names: write on=("{on}",), with the comma')
        if not on:
            raise ValueError("upsert_many() was given no names of a unique constraint or index")
        refuse_names(self.model, on, columns_of(self.model).by_name)
        write = self._change(progress, {*insertable_names(self.model, self.writable, allow), *on})
        async with savepoint(self.session):
            async for chunk in write.chunks(rows, writer.CHUNK):
                await writer.upsert_chunk(write, chunk, on)
        return write.count

    async def update_rows(self, rows: Rows, *, progress: Progress | None = None) -> int:
        """Update each row by a mapping that has its primary key, and return the number of rows.

        Soft-deleted rows are not changed. All rows are changed, or none. See `insert_many`.

        Raises:
            StaleRow: The mappings have the version of the row, and a row has another one or is gone.
            ValueError: A mapping lacks the primary key.
            NotWritable: A mapping has a name that `update` does not accept.
        """
        found = columns_of(self.model)
        held, names = (
            held_rows(self.session, self.model),
            {*writable_names(self.model, self.writable), *found.key, found.version or ""},
        )
        write = self._change(progress, names, held.keys())
        async with savepoint(self.session):
            chunks = write.chunks(rows, writer.CHUNK)
            count = sum([await writer.update_chunk(write, chunk) async for chunk in chunks])
        await refresh(self.session, self.model, [held[key] for key in write.changed])
        return count

    async def update_many(self, keys: Keys, /, **values: object) -> int:
        """Give the rows with these keys the same values, and return the number of rows.

        Raises:
            TypeError: A key has another type than the model's keys.
            NotWritable: `update` does not accept a name.
            ValueError: There are no values.
        """
        refuse_names(self.model, values, writable_names(self.model, self.writable))
        if not values:
            raise ValueError("update_many() was given no values")
        return await self._update_many(keys, values)

    async def delete_many(self, keys: Keys, /) -> int:
        """Delete the rows with these keys, or hide SoftDeletable ones; return their number."""
        if issubclass(self.model, SoftDeletable):
            # A row that is already deleted keeps its `deleted_at`.
            visible = self.model.deleted_at.is_(None)
            return await self._update_many(keys, {"deleted_at": datetime.now(UTC)}, visible)
        held = held_rows(self.session, self.model)
        write = self._change(held=held.keys())
        async with savepoint(self.session):
            count = await change_keys(write, keys, sa.delete(self.model))
        rows = [held[key] for key in write.changed]
        for key in {*write.changed} - await remaining(self.session, self.model, rows):
            self.session.expunge(held[key])
        return count

    async def page(
        self,
        *where: Criterion,
        number: int = 1,
        size: int = 50,
        sort: Sequence[str] = (),
        options: Sequence[ORMOption] = (),
        statement: sa.Select[M] | None = None,
    ) -> Page[M]:
        """Return a page of the rows that meet the criteria, and the number of all such rows.

        Args:
            where: Conditions, beside those of the statement.
            number: The number of the page, from 1.
            size: How many rows a page has.
            sort: Names of `sortable`, with "-" before a descending one.
            options: Loader options, such as `selectinload`.
            statement: Any SELECT of the model alone, in place of `statement()`.

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
        """Return the page at a cursor: `next` or `previous` of another page, or None for the first.

        With an index on the columns of `sort` every page takes as long as the first. No row is
        skipped or repeated because others are inserted or deleted. The other arguments and errors
        are those of `page`.

        Raises:
            InvalidCursor: The cursor belongs to another model or sort, or is malformed.
            TypeError: A cursor cannot hold the values of a column of `sort`.
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

    @asynccontextmanager
    async def stream(
        self,
        *where: Criterion,
        order_by: Ordering | Sequence[Ordering] = (),
        batch_size: int = 1000,
        options: Sequence[ORMOption] = (),
    ) -> AsyncGenerator[AsyncIterator[M]]:
        """Stream the rows that meet the criteria, with at most one batch in memory.

            async with users.stream(User.name != "") as rows:
                async for user in rows: ...

        The end of the block closes the cursor.
        """
        at_least(1, batch_size=batch_size)
        statement = self._select(*where, options=options).order_by(*_columns_of(order_by))
        statement = statement.execution_options(yield_per=batch_size)
        result = await self.session.run_sync(lambda session: session.scalars(statement))
        try:
            async with aclosing(self._each(result)) as rows:
                yield rows
        finally:
            await self.session.run_sync(lambda _: result.close())

    async def batches(
        self,
        *where: Criterion,
        size: int = 1000,
        options: Sequence[ORMOption] = (),
    ) -> AsyncGenerator[Sequence[M]]:
        """Yield the rows that meet the criteria, in the order of their keys, `size` at a time.

        Each batch is a query of its own, for the rows after the last key. So every row comes once,
        and the code may change and commit a batch before the next one. In a reader each batch is of
        its own moment, and no connection is held between two batches.
        """
        at_least(1, size=size)
        statement = self._select(*where, options=options)
        orders = sort_orders(self.model, {}, (), self.session.get_bind().dialect)
        values: Sequence[object] | None = None
        # A join may find a row twice, so a batch before the last one may be short.
        while rows := await fetch_after(self.session, statement, orders, values, size):
            values = rows[-1][1:]
            if isinstance(self.session.sync_session, Reader):
                # Give the connection back: the code may wait long for whoever takes the batch.
                await self.session.commit()
            yield [row[0] for row in rows]

    async def _update_many(
        self, keys: Keys, values: Mapping[str, object], *where: sa.ColumnElement[bool]
    ) -> int:
        held = held_rows(self.session, self.model)
        write = self._change(held=held.keys())
        statement = sa.update(self.model).values({**values}).values(write.columns.version_after)
        async with savepoint(self.session):
            count = await change_keys(write, keys, statement.where(*where))
        await refresh(self.session, self.model, [held[key] for key in write.changed])
        return count

    def _change(
        self,
        progress: Progress | None = None,
        writable: Collection[str] = (),
        held: Set[object] = frozenset(),
    ) -> BulkWrite:
        """Return a bulk write of rows that this repository sees."""
        return BulkWrite(
            self.session,
            columns_of(self.model),
            writable,
            progress,
            self._criteria(),
            self._include_deleted,
            held,
        )

    def _criteria(self) -> Sequence[sa.ColumnElement[bool]]:
        """Return the WHERE of `statement()`, or raise TypeError if it is more than a WHERE."""
        if not self._is_filtered:
            return ()
        statement = self.statement().with_only_columns(*key_columns(self.model)).order_by(None)
        where, plain = statement.whereclause, sa.select(*key_columns(self.model))
        if str(statement) != str(plain if where is None else plain.where(where)):
            raise TypeError(
                f"the statement() of {type(self).__name__} has more than a WHERE, and a bulk change"
                " can apply only that: read the rows, and change each"
            )
        return () if where is None else (where,)

    def _new(self, values: Mapping[str, object]) -> M:
        if "self" not in values:
            return self.model(**values)
        # __init__() has a parameter of that name.
        row = self.model(**{name: value for name, value in values.items() if name != "self"})
        orm.attributes.set_attribute(row, "self", values["self"])
        return row

    async def _flush(self, row: M) -> M:
        """Flush, and load what the database computed, which otherwise only an await could read."""
        await self.session.flush()
        if names := computed_columns(row):
            await self.session.refresh(row, names)
        return row

    async def _get_or_create(
        self, unique: Mapping[str, object], defaults: Mapping[str, object], *, read: bool
    ) -> tuple[M, bool]:
        """Do what `get_or_create` does. Lock another request's row, FOR SHARE if it is to `read`."""
        values = {**unique, **defaults}
        refuse_names(self.model, values, writable_names(self.model, self.writable, new=True))
        if row := await self.find_one_or_none(*_equal(self.model, unique)):
            return row, False
        try:
            async with self.session.begin_nested():
                return await self.create(**values), True
        except UniqueViolation as violation:
            # MySQL reads an old snapshot, unless the statement locks.
            statement = self._select(*_equal(self.model, unique))
            statement = statement.with_for_update(read=read, of=sa.inspect(self.model).tables)
            if row := (await self.session.scalars(statement)).unique().one_or_none():
                return row, False
            await self._refuse_invisible(unique, violation)
            raise

    async def _refuse_invisible(
        self, unique: Mapping[str, object], violation: UniqueViolation
    ) -> None:
        """Raise SerializationFailure if this transaction's snapshot lacks the row in the way."""
        columns = sa.inspect(self.model).columns
        names = [x for x in unique if x in columns and columns[x].name in violation.fields]
        if not names:
            return
        conflict = _equal(self.model, {name: unique[name] for name in names})
        hidden = sa.select(self.model).where(*conflict).limit(1)
        options = {"include_deleted": True}
        if not (await self.session.scalars(hidden, execution_options=options)).first():
            raise SerializationFailure(
                "another transaction created the row after this one began: repeat the whole unit"
            ) from violation

    def _check_in_session(self, row: M) -> None:
        # A flush ignores a row of another session without an error.
        if row not in self.session:
            raise ValueError(
                f"this {self.model.__name__} is not in this session: add() it if it is new, else get it"
                " by its key here, or `await session.merge(row)`"
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
            selection = select_rows(chosen, self.model)
        database = self.session.get_bind().dialect
        orders = sort_orders(selection.entity, self.sortable, sort, database)
        if statement is not None or self._is_filtered:
            selection.check(orders)
        visible = self._visible(selection.statement.options(*options))
        return replace(selection, statement=visible), orders

    async def _count(
        self, statement: sa.Select[M], keys: Sequence[sa.SQLColumnExpression[object]]
    ) -> int:
        found = statement.with_only_columns(*keys, maintain_column_froms=True).order_by(None)
        counted = sa.select(sa.func.count()).select_from(found.subquery())
        return await self.session.scalar(self._visible(counted)) or 0

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

    async def _each(self, result: sa.ScalarResult[M]) -> AsyncGenerator[M]:
        partitions = result.partitions()

        def fetch(session: orm.Session) -> Sequence[M]:
            # This call lets the session's guard see that another statement is sent.
            session.get_bind(self.model)
            return next(partitions, ())

        # A partition at a time: every switch to the driver's greenlet costs as much as some rows.
        while rows := await self.session.run_sync(fetch):
            for row in rows:
                yield row


def _argument(kind: object) -> Any:
    """Return the argument of Repository's type variable, for a class or an alias such as Base[A, B]."""
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is Repository or not isinstance(origin, type):
        return arguments[0] if arguments else None
    # vars(): a class without generic bases inherits `__orig_bases__` from its parent.
    for base in vars(origin).get("__orig_bases__", getattr(origin, "__bases__", ())):
        if issubclass(get_origin(base) or base, Repository):
            bound = _argument(base)
            parameters: Sequence[object] = getattr(origin, "__parameters__", ())
            return (
                arguments[parameters.index(bound)] if arguments and bound in parameters else bound
            )
    return None


@cache
def _statement(model: type[M]) -> sa.Select[M]:
    # To build a select() takes a tenth of a short query's time.
    return sa.select(model)


def at_least(least: int, **numbers: int) -> None:
    """Raise ValueError for a number below `least`: not every database does."""
    for name, number in numbers.items():
        if number < least:
            raise ValueError(f"{name} is at least {least}, not {number}")


def _equal(
    model: type[DeclarativeBase], values: Mapping[str, object]
) -> list[sa.ColumnElement[bool]]:
    return [getattr(model, name) == value for name, value in values.items()]


def _columns_of(order_by: Ordering | Sequence[Ordering]) -> Sequence[Ordering]:
    return [order_by] if isinstance(order_by, sa.SQLColumnExpression | sa.OrderByList) else order_by
