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
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from functools import cache, partial
from itertools import chain, islice, repeat
from typing import Any
from zlib import crc32

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.schema import DropTable

from ..engine import driver, driver_errors
from ..errors import InvalidValue
from . import bulk
from .bulk import BulkWrite, Groups, Rows, by_names, chunks, lists
from .columns import Columns, Row, has_default

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
IS_SAME = sa.text("""
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

# What makes so many values of a column.
Maker = Callable[[int], Iterable[object]]


async def insert_rows(write: BulkWrite, rows: Rows) -> None:
    """Insert rows: by COPY where it comes out as by INSERT."""
    columns = write.columns
    async for some in _sources(rows):
        while first := [*islice(some, LEAST // bulk.CHUNK)]:
            write.check(first[0])
            names, *_ = by_names(first[0], columns.optional)
            sent = sent_names(columns, names)
            if await is_same(write, sent, sum(map(len, first))):
                await _insert(write, sent, chain(first, some))
            else:
                for chunk in write.checked(first):
                    await bulk.insert_groups(write, by_names(chunk, columns.optional))


async def _sources(rows: Rows) -> AsyncIterator[Iterator[list[Row]]]:
    """Yield rows in chunks, all of them at once if they need not be awaited.

    What is awaited may come by way of the connection that the COPY has, and is taken before.
    """
    if isinstance(rows, AsyncIterable):
        async for some in chunks(rows, CHUNK):
            yield lists(iter(some))
    else:
        yield lists(iter(rows))


async def _insert(write: BulkWrite, sent: Sequence[str], chunks: Iterator[list[Row]]) -> None:
    """Insert the chunks that come for a while: by COPY, or else by INSERT those that differ."""
    others, end = list[Groups](), time.monotonic() + SECONDS

    def fitting() -> Iterator[Groups]:
        for chunk in write.checked(chunks):
            groups = by_names(chunk, write.columns.optional)
            fits = {x: sent_names(write.columns, x) == sent for x in groups}
            yield {names: rows for names, rows in groups.items() if fits[names]}
            if not all(fits.values()):
                others.append({names: rows for names, rows in groups.items() if not fits[names]})
            if time.monotonic() > end or len(others) * bulk.CHUNK > CHUNK:
                return

    await _copy(write, write.columns.table, sent, fitting())
    for groups in others:
        await bulk.insert_groups(write, groups)


async def upsert_chunk(write: BulkWrite, chunk: Sequence[Row], on: Sequence[str]) -> None:
    """Insert or change rows: by way of a temporary table where it comes out as one by one."""
    columns, groups = write.columns, by_names(chunk, write.columns.optional)
    names, *others = groups
    alone = all(x.is_clause_element for x in columns.onupdates(names).values())
    # No NULL is the same as another.
    unique = not any(columns.by_name[name].nullable for name in on)
    sent = sent_names(columns, names) if alone and unique and not others else ()
    if not await is_same(write, sent, len(chunk)):
        await bulk.upsert_chunk(write, chunk, on)
        return
    async with _staged(write, sent, groups, [columns.by_name[x] for x in on]) as rows:
        insert = bulk.upsert(write, names, on)
        keys = [columns.by_name[x].key for x in sent]
        await write.session.execute(insert.from_select(keys, rows, include_defaults=False))


async def update_chunk(write: BulkWrite, chunk: Sequence[Row]) -> int:
    """Change rows by their keys: by way of a temporary table where it comes out as one by one."""
    columns, groups = write.columns, by_names(chunk)
    names, *others = groups
    made = columns.onupdates(names).values()
    alone = not others and all(x.is_clause_element for x in made)
    if not await is_same(write, names if alone else (), len(chunk)):
        return await bulk.update_chunk(write, chunk)
    count, fixed = len({*bulk.keys_of(write, chunk)}), {*columns.key, columns.version}
    async with _staged(write, names, groups, [*columns.table.primary_key]) as rows:
        new = rows.subquery()
        pairs = {name: (columns.by_name[name], new.c[columns.by_name[name].name]) for name in names}
        same = [own == given for name, (own, given) in pairs.items() if name in fixed]
        values = {own: given for name, (own, given) in pairs.items() if name not in fixed}
        statement = sa.update(columns.model).where(*same)
        statement = statement.values({**values, **columns.version_after})
        found = await write.execute(statement)
    bulk.refuse_stale(write, (count - found) * (columns.version in names), count)
    return found


async def is_same(write: BulkWrite, sent: Sequence[str], count: int) -> bool:
    """Return whether COPY writes these columns of so many rows, and does it as INSERT does.

    It does not for a class that shares a table or has several, for a type with an expression of
    SQL round the value or that is not one of `TYPES`, for a view, nor for a table with rules,
    triggers or row security.
    """
    columns = [write.columns.by_name[name] for name in sent]
    if count < LEAST or not sent or write.columns.kind or not write.columns.is_one_table:
        return False
    if any(x.type.bind_expression(sa.bindparam(None, type_=x.type)) is not None for x in columns):
        return False
    table, connection = write.columns.table, await write.session.connection()
    compiler = connection.dialect.type_compiler_instance
    parameters = {
        "table": table.name,
        "schema": await connection.run_sync(lambda x: x.schema_for_object(table)),
        "names": [column.name for column in columns],
        "types": [compiler.process(x.type).partition(" COLLATE ")[0] for x in columns],
        "known": TYPES,
    }
    return bool(await connection.scalar(IS_SAME, parameters))


def sent_names(columns: Columns, names: Sequence[str]) -> Sequence[str]:
    """Return the columns that COPY sends for rows that give these: none if it cannot fill one."""
    makers = _makers(columns)
    absent = [x for x in columns.by_name if x not in names and x not in makers]
    if any(columns.by_name[name].default is not None for name in absent):
        return ()
    return [x for x in columns.by_name if x not in absent or not has_default(columns.by_name[x])]


@cache
def _makers(columns: Columns) -> Mapping[str, Maker]:
    """Return what makes columns for rows that do not give them, without SQL and without the row."""
    makers = dict[str, Maker]()
    for name, column in columns.by_name.items():
        made: Any = column.default
        if name == columns.version and columns.next_version:
            makers[name] = _by(columns.next_version)
        elif made is not None and made.is_scalar:
            makers[name] = partial(repeat, made.arg)
        elif made is not None and made.is_callable and _needs_no_row(made.arg):
            makers[name] = column.info.get("defaults") or _by(made.arg)
    return makers


def _by(function: Callable[[Any], object]) -> Maker:
    return lambda count: [function(None) for _ in range(count)]


def _needs_no_row(function: Callable[..., object]) -> bool:
    """Return whether SQLAlchemy calls a default without its context."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return True  # A type of Python's own, such as dict.
    return all(x.default is not x.empty or x.kind is x.VAR_KEYWORD for x in parameters)


def _values(
    columns: Columns, name: str, names: Sequence[str], rows: Sequence[Row], dialect: sa.Dialect
) -> Iterable[object]:
    """Return the values of a column in rows that give these names, as the driver takes them."""
    kind, make = columns.by_name[name].type, _makers(columns).get(name)
    values: Iterable[object] = repeat(None, len(rows))
    if name in names:
        values = [row[name] for row in rows]
    elif make is not None:
        values = make(len(rows))
    elif kind.should_evaluate_none:
        # What a row leaves out is NULL: None would be the null of JSON.
        return values
    process = kind.dialect_impl(dialect).bind_processor(dialect)
    if process is None:
        return values
    try:
        return [process(value) for value in values]
    except InvalidValue:
        raise
    except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError) as error:
        raise InvalidValue(InvalidValue.problem) from error


@asynccontextmanager
async def _staged(
    write: BulkWrite, sent: Sequence[str], groups: Groups, key: Sequence[sa.Column[Any]]
) -> AsyncGenerator[sa.Select[Any]]:
    """Copy rows to a temporary table; of those that have the same key the last is selected."""
    connection = await write.session.connection()
    columns = [write.columns.by_name[name] for name in sent]
    empty = sa.select(*(sa.cast(sa.null(), x.type).label(x.name) for x in columns)).limit(0)
    # asyncpg remembers the types of a table by its name.
    name = f"bulk_{crc32(str(empty.compile(dialect=connection.dialect)).encode()):x}"
    create = sa.CreateTableAs(empty, name, schema="pg_temp", temporary=True)
    await connection.execute(create)
    await _copy(write, create.table, sent, [groups])
    # Without types, which may read a column in another way than it is stored. The system column
    # has the order in which the rows came.
    same: list[sa.ColumnElement[Any]] = [sa.column(x.name) for x in key]
    values: list[sa.ColumnElement[Any]] = [sa.column(x.name) for x in columns]
    ordered = sa.select(*values).order_by(*same, sa.column("ctid").desc())
    yield ordered.select_from(create.table).ext(distinct_on(*same))
    await connection.execute(DropTable(create.table))


async def _copy(
    write: BulkWrite, table: sa.Table[Any], sent: Sequence[str], chunks: Iterable[Groups]
) -> None:
    """Write rows to a table by one COPY."""
    connection, failures = await write.session.connection(), list[Exception]()
    columns = write.columns
    schema = await connection.run_sync(lambda x: x.schema_for_object(table))

    def records() -> Iterator[tuple[object, ...]]:
        # An error of what gives the rows, or of a type, must not be taken for one of the driver.
        try:
            for names, rows in chain.from_iterable(groups.items() for groups in chunks):
                values = (_values(columns, x, names, rows, connection.dialect) for x in sent)
                yield from zip(*values, strict=True)
        except Exception as error:
            failures.append(error)

    names = [columns.by_name[name].name for name in sent]
    try:
        await driver.copy_rows(connection, schema, table.name, names, records())
    except Exception as error:
        told = failures[0] if failures else driver_errors.of_driver(error, table)
        if told is None:
            raise
        raise told from error
    if failures:
        raise failures[0]
