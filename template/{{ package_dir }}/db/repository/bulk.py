"""Any number of rows at once: the part of a repository that loads, changes and clears tables."""

from array import array
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.exc import InvalidRequestError, ResourceClosedError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import DeclarativeBase, undefer
from sqlalchemy.orm.interfaces import ORMOption

from ..engine import dialect, driver, driver_errors
from ..engine.rows import Batch, Row, Rows, chunks, names_of, runs
from ..errors import NotWritable, StaleRow
from ..models import SoftDeletable, Timestamped
from .layout import Layout, layout
from .reading import Criterion, M, Reading, key_of

Keys = Iterable[object] | AsyncIterable[object]
Progress = Callable[[int], object]


class Bulk(Reading[M]):
    """The part of a repository that writes many rows: lazily, and within the session's transaction.

    `rows` are mappings by the names of attributes, from any iterable or async iterable; `keys` are
    of the type that the rows have them in, or TypeError is raised. Each call does all of its work or
    none; `progress` is called with the number of rows so far, every few thousand. What the session
    holds of these rows follows, but for `upsert_many`.
    """

    #: The names that `create` and `update` take, in whichever number.
    writable: ClassVar[Collection[str] | None] = None

    async def insert_many(self, rows: Rows, *, progress: Progress | None = None) -> int:
        """Insert rows with the defaults that the ORM would give them; how many there were.

        Raises NotWritable for a name that is no column's, and what a flush would.
        """
        target, count = layout(self.model), 0

        def batches(chunk: list[Row]) -> Iterator[Batch]:
            nonlocal count
            for batch in target.inserts(chunk):
                yield batch
                count = _report(progress, count + len(batch))

        async with self._writing(target) as connection:
            async for run in runs(rows, batches):
                await driver.insert_rows(connection, target.table, run)
        return count

    async def create_many(self, rows: Rows) -> list[M]:
        """New rows as `create` makes them, all in memory. Raises what it does."""
        made: list[M] = []
        async with self.session.begin_nested():
            async for chunk in chunks(rows):
                self._check_writable(names_of(chunk), new=True)
                some = [self.model(**row) for row in chunk]
                self.session.add_all(some)
                await self.session.flush()
                made += some
        return made

    async def upsert_many(
        self, rows: Rows, *, on: Sequence[str], progress: Progress | None = None
    ) -> int:
        """Insert rows, or update those that are there; how many there were.

        `on` are the names of a unique constraint or index. A row that has the same values there
        takes over what the new one gives, and keeps the rest; of two new ones that are the same
        there the later wins. A row that `statement()` leaves out is left as it is; one that is
        deleted softly is updated, and stays deleted. On MySQL any other unique constraint counts
        too. Raises as `insert_many` does.
        """
        if isinstance(on, str):
            raise TypeError(f'on takes several names: write on=("{on}",), with the comma')
        if not on:
            raise ValueError("upsert_many() was given no names of a unique constraint or index")
        target, count = layout(self.model), 0
        fixed = {*on, *target.key, target.version}

        def batches(chunk: list[Row]) -> Iterator[Batch]:
            nonlocal count
            for batch in target.inserts(chunk, alike=True):
                yield batch
                count = _report(progress, count + len(batch))

        changes = ((run, target.columns_of(run.given - fixed)) async for run in runs(rows, batches))

        async with self._writing(target) as connection:
            await dialect.upsert_rows(
                connection,
                target.table,
                changes,
                on=target.columns_of(on),
                always=target.renewals(),
                only=[*target.kinds, *self._criteria()],
            )
        return count

    async def update_many(self, keys: Keys, **values: object) -> int:
        """Give the rows with these keys these values; how many there were.

        Raises NotWritable for a name that is not writable, ValueError for no values.
        """
        self._check_writable(values)
        if not values:
            raise ValueError("update_many() was given no values")
        return await self._change(keys, values)

    async def update_rows(self, rows: Rows, *, progress: Progress | None = None) -> int:
        """Give each row the values of its own mapping, which has its key too; how many there were.

        Where mappings have the version that was read and a row has another by now, or is gone,
        StaleRow is raised and nothing is changed. Rows that are deleted softly are left as they
        are. Raises what `update_many` does, and ValueError for a mapping without its key.
        """
        target, held = layout(self.model), self._held()
        # Of the keys their hashes, in eight bytes each: they only tell what a failure was.
        touched, versioned, count = set[object](), array("q"), 0
        same = {*target.key, target.version}

        def batches(chunk: list[Row]) -> Iterator[Batch]:
            nonlocal count
            for batch in target.updates(chunk):
                self._check_writable(batch.given - same)
                if held:
                    touched.update(held.keys() & batch.row_keys())
                if target.version in batch.given:
                    versioned.extend(map(hash, batch.row_keys()))
                yield batch
                count = _report(progress, count + len(batch))

        changes = ((run, target.columns_of(run.given - same)) async for run in runs(rows, batches))
        only = [*target.kinds, *self._criteria()]
        if issubclass(self.model, SoftDeletable) and not self._include_deleted:
            only.append(self.model.deleted_at.is_(None))
        async with self._writing(target) as connection:
            changed = await dialect.update_rows(
                connection,
                target.table,
                changes,
                always=target.renewals(),
                only=only,
            )
            if versioned and changed < count:
                if len(set(versioned)) < len(versioned):
                    raise ValueError("a row is given twice, with the version that was read")
                raise StaleRow(
                    f"{count - changed} of {count} rows of {self.model.__name__} have changed since"
                    " they were read, or are gone. Read them again, and decide anew."
                )
        await self._reread([held[key] for key in touched])
        return changed

    async def delete_many(self, keys: Keys) -> int:
        """Delete the rows with these keys, or hide them where they are SoftDeletable; how many."""
        if issubclass(self.model, SoftDeletable):
            # One that is deleted already keeps its time.
            there = self.model.deleted_at.is_(None)
            return await self._change(keys, {"deleted_at": datetime.now(UTC)}, there)
        return await self._change(keys, None)

    async def _change(
        self, keys: Keys, values: Mapping[str, object] | None, *where: Criterion
    ) -> int:
        """Give the rows with these keys these values, or delete them for None; how many."""
        target, held = layout(self.model), self._held()
        statement: sa.Update | sa.Delete = sa.delete(self.model)
        if values is not None:
            raised = {target.table.c[name]: x for name, x in target.next_version().items()}
            statement = sa.update(self.model).values(**values).values(raised)
        statement = statement.where(*self._criteria(), *where)
        # What the session holds follows below: few of many keys are in it.
        options = {"synchronize_session": False, "include_deleted": self._include_deleted}
        touched, count = set[object](), 0
        async with self._writing(target):
            async for some in chunks(keys, self._keys_at_once):
                target.check_keys(some)
                result = await self.session.execute(
                    statement.where(self._has_key(some)), execution_options=options
                )
                assert isinstance(result, sa.CursorResult)
                count += result.rowcount
                if held:
                    touched.update(held.keys() & some)
        rows = [held[key] for key in touched]
        if values is not None:
            await self._reread(rows)
        else:
            left = await self._there(rows)
            for row in rows:
                if row not in left:
                    self.session.expunge(row)
        return count

    def _criteria(self) -> Sequence[sa.ColumnElement[bool]]:
        """What `statement()` asks of a row. Raises TypeError where that is more than a WHERE."""
        if not self._is_filtered:
            return ()
        statement = self.statement().with_only_columns(*self._key).order_by(None)
        where, plain = statement.whereclause, sa.select(*self._key)
        if str(statement) != str(plain if where is None else plain.where(where)):
            raise TypeError(
                f"the statement() of {type(self).__name__} is more than a WHERE, which is all that"
                " many rows can be changed by: read them, and change each"
            )
        return () if where is None else (where,)

    async def _reread(self, rows: Collection[M]) -> None:
        """Have rows in hand hold what the database now holds for them."""
        attributes = sa.inspect(self.model).column_attrs
        unloaded = set(attributes.keys()).intersection(*(sa.inspect(row).unloaded for row in rows))
        for row in rows:
            self.session.expire(row, attributes.keys())
        # Whoever has loaded what is otherwise left out goes on to read it.
        shown = [x for x in attributes if x.deferred and x.key not in unloaded]
        await self._there(rows, [undefer(x.class_attribute) for x in shown])

    async def _there(self, rows: Collection[M], options: Sequence[ORMOption] = ()) -> set[M]:
        """Those of the rows that are still in the database; what is expired of them is read."""
        found = set[M]()
        async for some in chunks(map(key_of, rows), self._keys_at_once):
            statement = sa.select(self.model).where(self._has_key(some)).options(*options)
            read = await self.session.scalars(
                statement, execution_options={"include_deleted": True}
            )
            found.update(read.unique())
        return found

    @asynccontextmanager
    async def _writing(self, target: Layout) -> AsyncGenerator[AsyncConnection]:
        """The session's connection, in a savepoint: what a driver raises by itself is translated."""
        # The savepoint also sees to it that the transaction has begun: a COPY does not.
        async with self.session.begin_nested() as savepoint:
            try:
                yield await self.session.connection()
            except Exception as error:
                if isinstance(error, ResourceClosedError) and not savepoint.is_active:
                    raise InvalidRequestError(
                        "what gives the rows has ended the session's transaction, which they are"
                        " written in: let it commit in a session of its own"
                    ) from error
                told = driver_errors.of_driver(error, target.table)
                if told is None:
                    raise
                raise told from error

    def _held(self) -> Mapping[object, M]:
        """The rows of this model that the session holds, by their keys."""
        rows = self.session.sync_session.identity_map.values()
        return {key_of(row): row for row in rows if isinstance(row, self.model)}

    def _check_writable(self, names: Iterable[str], *, new: bool = False) -> None:
        writable = self.writable
        if writable is None:
            writable = _writable(self.model) | (_own_keys(self.model) if new else frozenset[str]())
        if unknown := set(names) - set(writable):
            error = NotWritable(self.model, unknown, writable)
            known = unknown.intersection(sa.inspect(self.model).all_orm_descriptors.keys())
            if known:
                # Not in the message, which a web service may pass on.
                also = ", ".join(f'"{name}"' for name in sorted(known))
                error.add_note(f"To allow it: writable = {{..., {also}}}, on the repository")
            raise error


@cache
def _writable(model: type[DeclarativeBase]) -> frozenset[str]:
    """What of a model may be written, where its repository does not say."""
    mapper = sa.inspect(model)
    mixins = [mixin for mixin in (Timestamped, SoftDeletable) if issubclass(model, mixin)]
    maintained = {name for mixin in mixins for name in mixin.__annotations__}
    others = {*mapper.primary_key, mapper.version_id_col, mapper.polymorphic_on}
    return frozenset(
        attribute.key
        for attribute in mapper.column_attrs
        if attribute.key not in maintained
        and others.isdisjoint(attribute.columns)
        # Not what the database computes, nor an expression.
        and all(isinstance(x, sa.Column) and x.computed is None for x in attribute.columns)
    )


@cache
def _own_keys(model: type[DeclarativeBase]) -> frozenset[str]:
    """The names of the key that nobody else makes: a new row needs them, an old one keeps them."""
    mapper = sa.inspect(model)
    return frozenset(
        attribute.key
        for attribute in mapper.column_attrs
        if not {*mapper.primary_key}.isdisjoint(attribute.columns)
        and not any(map(_is_made, attribute.columns))
    )


def _is_made(column: sa.ColumnElement[Any]) -> bool:
    return isinstance(column, sa.Column) and (
        column.default is not None
        or column.server_default is not None
        or column.table.autoincrement_column is column
    )


def _report(progress: Progress | None, count: int) -> int:
    if progress is not None:
        progress(count)
    return count
