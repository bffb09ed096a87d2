"""Bulk writes by COPY, PostgreSQL's fast way to load rows, where they come out as by INSERT."""

import inspect
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Sequence,
    Set,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from typing import Any
from zlib import crc32

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.schema import DropTable

from ..engine import driver, driver_errors
from ..errors import InvalidValue
from . import bulk
from .bulk import BulkWrite, Row, Rows, Target, chunks, lists
from .writable import has_default

# With fewer rows the time goes into round trips, of which COPY has more.
LEAST = 1000
# How many rows a temporary table takes.
CHUNK = 10_000
# For how many seconds one COPY takes rows, so that client and server work at the same time. That is
# far from any limit on a statement's time, however slowly rows come.
SECONDS = 0.5

# The built-in types whose values COPY and INSERT send in the same way, as they send arrays of them.
TYPES = (
    "bool int2 int4 int8 float4 float8 numeric text varchar bpchar bytea uuid json jsonb inet cidr"
    " date time timetz timestamp timestamptz interval"
    " int4range int8range numrange daterange tsrange tstzrange"
)
TAKES_COPY = sa.text("""
    SELECT relkind IN ('r', 'p') AND NOT relhasrules AND NOT row_security_active(pg_class.oid)
    AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND NOT tgisinternal)
    AND NOT EXISTS (
        SELECT FROM unnest(CAST(:names AS text[]), CAST(:types AS text[])) AS sent (name, type)
        LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attname = name
        LEFT JOIN pg_type ON pg_type.oid = atttypid
        WHERE (
            atttypid = to_regtype(type) AND attidentity <> 'a' AND attgenerated = ''
            AND ltrim(typname, '_') = ANY(string_to_array(:known, ' '))
        ) IS NOT TRUE
    )
    FROM pg_class
    WHERE oid = to_regclass(concat_ws('.', quote_ident(CAST(:schema AS text)), quote_ident(:table)))
""")

# What a row does not give, where None is a value.
ABSENT = object()


@dataclass(frozen=True)
class Field:
    """A column that COPY sends, and what makes so many values of it for rows that give none."""

    name: str
    column: sa.Column[Any]
    make: Callable[[int], Sequence[object]] | None = None

    def values(self, rows: Sequence[Row], dialect: sa.Dialect) -> Iterable[object]:
        """Return the values of the column in these rows, as the driver takes them."""
        kind = self.column.type
        absent = ABSENT if kind.should_evaluate_none else None
        values = [row.get(self.name, absent) for row in rows]
        if self.make is not None:
            missing = [index for index, value in enumerate(values) if value is absent]
            for index, value in zip(missing, self.make(len(missing)), strict=True):
                values[index] = value
        process = kind.dialect_impl(dialect).bind_processor(dialect)
        if process is None:
            return values
        try:
            return [None if value is absent else process(value) for value in values]
        except InvalidValue:
            raise
        except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError) as error:
            raise InvalidValue(InvalidValue.problem) from error


async def insert_rows(write: BulkWrite, rows: Rows) -> None:
    """Insert rows: by COPY where it comes out as by INSERT."""
    async for some in _sources(rows):
        while first := [*islice(some, 2)]:
            sample = [*chain.from_iterable(first)]
            write.check(sample)
            given = _given(write.target, sample)
            fields = () if given is None else _fields(write.target, given)
            if await _takes_copy(write, fields, sample):
                await _insert(write, chain(first, some), fields, given)
            else:
                for chunk in write.checked(first):
                    await bulk.insert_chunk(write, chunk)


async def _sources(rows: Rows) -> AsyncIterator[Iterator[list[Row]]]:
    """Yield rows in chunks, all of them at once if they need not be awaited.

    What is awaited may come by way of the connection that the COPY has, and is taken before.
    """
    if isinstance(rows, AsyncIterable):
        async for some in chunks(rows, CHUNK):
            yield lists(iter(some))
    else:
        yield lists(iter(rows))


async def _insert(
    write: BulkWrite,
    chunks: Iterator[list[Row]],
    fields: Sequence[Field],
    given: Set[str] | None,
) -> None:
    """Insert the chunks that come for a while: by COPY, or else by INSERT those that differ."""
    others, end = list[Row](), time.monotonic() + SECONDS

    def fitting() -> Iterator[list[Row]]:
        for chunk in write.checked(chunks):
            if _given(write.target, chunk) == given:
                yield chunk
            else:
                others.extend(chunk)
            if time.monotonic() > end or len(others) > CHUNK:
                return

    await _copy(write, write.target.table, fields, fitting())
    for chunk in lists(iter(others)):
        await bulk.insert_chunk(write, chunk)


async def upsert_chunk(write: BulkWrite, chunk: Sequence[Row], on: Sequence[str]) -> None:
    """Insert or change rows: by way of a temporary table where it comes out as one by one."""
    target = write.target
    names = _given_alike(target, chunk, target.defaulted)
    fields = _fields(target, names) if names else ()
    # No NULL is the same as another.
    if any(target.columns[name].nullable for name in on) or not await _takes_copy(
        write, fields, chunk
    ):
        await bulk.upsert_chunk(write, chunk, on)
        return
    insert = bulk.upsert(write, {target.names[name] for name in names}, on)
    async with _staged(write, fields, chunk, [target.columns[name] for name in on]) as rows:
        keys = [field.column.key for field in fields]
        await write.session.execute(insert.from_select(keys, rows, include_defaults=False))


async def update_chunk(write: BulkWrite, chunk: Sequence[Row]) -> int:
    """Change rows by their keys: by way of a temporary table where it comes out as one by one."""
    target = write.target
    names = _given_alike(target, chunk, frozenset())
    fields = [Field(name, target.columns[name]) for name in names]
    if not await _takes_copy(write, fields, chunk):
        return await bulk.update_chunk(write, chunk)
    count, fixed = len({*bulk.keys_of(write, chunk)}), {*target.key, target.version}
    async with _staged(write, fields, chunk, [*target.table.primary_key]) as rows:
        new = rows.subquery()
        same = [x.column == new.c[x.column.name] for x in fields if x.name in fixed]
        values = {x.column: new.c[x.column.name] for x in fields if x.name not in fixed}
        statement = sa.update(target.model).where(*same).values({**values, **target.version_after})
        found = await write.execute(statement)
    bulk.refuse_stale(write, (count - found) * (target.version in names), count)
    return found


def _given(target: Target, rows: Sequence[Row]) -> Set[str] | None:
    """Return what rows give of the attributes that COPY cannot fill; None where they differ."""
    names = frozenset[str]().union(*rows) & _unfilled(target)
    # For the others None is a value.
    alike = names <= target.defaulted
    alike = alike and all(row.get(name) is not None for name in names for row in rows)
    return names if alike else None


def _given_alike(target: Target, rows: Sequence[Row], defaulted: Set[str]) -> Set[str]:
    """Return what all rows give, or nothing where they differ, or need a function for each."""
    names = frozenset[str]().union(*rows)
    made = bulk.onupdates(target.table, {target.names[name] for name in names})
    alike = (
        all(default.is_clause_element for default in made.values())
        and all(len(row) == len(names) for row in rows)
        and all(row[name] is not None for name in names & defaulted for row in rows)
    )
    return names if alike else frozenset[str]()


@cache
def _unfilled(target: Target) -> Set[str]:
    """Return the attributes whose value for a row that gives none only the database makes."""
    return {n for n, x in target.columns.items() if has_default(x) and _maker(target, n) is None}


def _fields(target: Target, given: Set[str]) -> Sequence[Field]:
    """Return the columns that COPY sends for rows that give these, none if it cannot fill one."""
    fields = list[Field]()
    for name, column in target.columns.items():
        make = _maker(target, name)
        if name in given or make is not None or not has_default(column):
            fields.append(Field(name, column, make))
        elif column.default is not None:
            return ()
    return fields


@cache
def _maker(target: Target, name: str) -> Callable[[int], Sequence[object]] | None:
    """Return what makes a column without SQL and without the row, if anything does."""
    column, version = target.columns[name], target.next_version
    made: Any = column.default
    if name == target.version and version is not None:
        return lambda count: [version(None) for _ in range(count)]
    if made is None or not (made.is_scalar or (made.is_callable and _needs_no_row(made.arg))):
        return None
    if made.is_scalar:
        return lambda count: [made.arg] * count
    several: Callable[[int], Sequence[object]] | None = column.info.get("defaults")
    return several or (lambda count: [made.arg(None) for _ in range(count)])


def _needs_no_row(function: Callable[..., object]) -> bool:
    """Return whether SQLAlchemy calls a default without its context."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return True  # A type of Python's own, such as dict.
    return all(x.default is not x.empty or x.kind is x.VAR_KEYWORD for x in parameters)


async def _takes_copy(write: BulkWrite, fields: Sequence[Field], rows: Sequence[Row]) -> bool:
    """Return whether COPY writes these columns of many rows as INSERT does.

    It does not for a class that shares a table or has several, for a type with an expression of
    SQL round the value or that is not one of `TYPES`, for a view, nor for a table with rules,
    triggers or row security.
    """
    target, columns = write.target, [field.column for field in fields]
    wrapped = (x.type.bind_expression(sa.bindparam(None, type_=x.type)) for x in columns)
    plain = target.is_one_table and target.mapper.polymorphic_on is None
    if len(rows) < LEAST or not (fields and plain) or any(x is not None for x in wrapped):
        return False
    connection = await write.session.connection()
    compiler = connection.dialect.type_compiler_instance
    parameters = {
        "table": target.table.name,
        "schema": await connection.run_sync(lambda x: x.schema_for_object(target.table)),
        "names": [column.name for column in columns],
        "types": [compiler.process(x.type).partition(" COLLATE ")[0] for x in columns],
        "known": TYPES,
    }
    return bool(await connection.scalar(TAKES_COPY, parameters))


@asynccontextmanager
async def _staged(
    write: BulkWrite, fields: Sequence[Field], rows: Sequence[Row], key: Sequence[sa.Column[Any]]
) -> AsyncGenerator[sa.Select[Any]]:
    """Copy rows to a temporary table; of those that have the same key the last is selected."""
    connection, columns = await write.session.connection(), [field.column for field in fields]
    empty = sa.select(*(sa.cast(sa.null(), x.type).label(x.name) for x in columns)).limit(0)
    # asyncpg remembers the types of a table by its name.
    name = f"bulk_{crc32(str(empty.compile(dialect=connection.dialect)).encode()):x}"
    create = sa.CreateTableAs(empty, name, schema="pg_temp", temporary=True)
    await connection.execute(create)
    await _copy(write, create.table, fields, [rows])
    # Without types, which may read a column in another way than it is stored. The system column
    # has the order in which the rows came.
    same: list[sa.ColumnElement[Any]] = [sa.column(x.name) for x in key]
    values: list[sa.ColumnElement[Any]] = [sa.column(x.name) for x in columns]
    ordered = sa.select(*values).order_by(*same, sa.column("ctid").desc())
    yield ordered.select_from(create.table).ext(distinct_on(*same))
    await connection.execute(DropTable(create.table))


async def _copy(
    write: BulkWrite, table: sa.Table[Any], fields: Sequence[Field], chunks: Iterable[Sequence[Row]]
) -> None:
    """Write rows to a table by one COPY."""
    connection, failures = await write.session.connection(), list[Exception]()
    schema = await connection.run_sync(lambda x: x.schema_for_object(table))

    def records() -> Iterator[tuple[object, ...]]:
        # An error of what gives the rows, or of a type, must not be taken for one of the driver.
        try:
            for rows in chunks:
                values = [field.values(rows, connection.dialect) for field in fields]
                yield from zip(*values, strict=True)
        except Exception as error:
            failures.append(error)

    try:
        names = [field.column.name for field in fields]
        await driver.copy_rows(connection, schema, table.name, names, records())
    except Exception as error:
        told = failures[0] if failures else driver_errors.of_driver(error, table)
        if told is None:
            raise
        raise told from error
    if failures:
        raise failures[0]
