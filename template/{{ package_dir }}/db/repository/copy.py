"""Bulk writes by COPY, PostgreSQL's fast way to load rows, where they come out as by INSERT."""

import inspect
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
from functools import cache
from itertools import chain, islice
from time import monotonic
from typing import Any
from zlib import crc32

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import DropTable

from ..engine import driver, driver_errors
from ..errors import Unavailable
from . import bulk
from .bulk import BulkWrite, Group, Groups, Rows, by_names, chunks, lists, new_groups
from .columns import Columns, Row, has_default

# With fewer rows the time goes into round trips, of which COPY has more.
MINIMUM_ROWS = 1000
# How many rows are taken before it is decided how they are sent.
READY_ROWS = MINIMUM_ROWS
# How many rows one temporary table takes, and the first COPY.
CHUNK_SIZE = 10_000
# About how long a COPY takes: meanwhile asyncpg keeps the event loop for itself.
COPY_SECONDS = 0.1

CATALOG = sa.text("""
    SELECT array_agg(CAST(typname AS text) ORDER BY place)
    FROM unnest(CAST(:names AS text[]), CAST(:types AS text[])) WITH ORDINALITY AS sent (name, type, place)
    JOIN pg_class ON pg_class.oid
        = to_regclass(concat_ws('.', quote_ident(CAST(:schema AS text)), quote_ident(:table)))
    LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attname = name
        AND atttypid = to_regtype(type) AND attidentity <> 'a' AND attgenerated = ''
    LEFT JOIN pg_type ON pg_type.oid = atttypid
    WHERE relkind IN ('r', 'p') AND NOT relhasrules AND NOT row_security_active(pg_class.oid)
    AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND NOT tgisinternal)
""")

# The columns that COPY sends, and their types in the catalog.
Sent = Mapping[str, str]
# The values of rows, column by column.
Block = Sequence[Sequence[object]]


async def insert_rows(write: BulkWrite, rows: Rows) -> None:
    """Insert rows: by COPY where it comes out as by INSERT."""
    columns, known, size = write.columns, dict[tuple[str, ...], Sent](), CHUNK_SIZE
    dialect = (await write.session.connection()).dialect
    async for source in _sources(rows):
        async for ready in write.checked(chunks(source, READY_ROWS)):
            others, errors = list[Group](), list[BaseException]()
            groups: Iterable[Group] = new_groups(columns, ready)
            names, _ = next(iter(groups))
            sent = known.get(names)
            if sent is None:
                sent = await types_sent(write, names_sent(columns, names), len(ready))
            # Fewer rows are the last ones, or come slowly.
            if len(ready) == READY_ROWS:
                known[names] = sent
            if sent:
                groups = chain(groups, _while_open(write, islice(source, size), errors))
            count, began = write.count - len(ready), monotonic()
            blocks = _blocks(columns, sent, groups, others, dialect)
            for first in blocks:
                await _copy(write, columns.table, sent, chain([first], blocks))
            for error in errors:
                raise error
            # The server may check rows for long when a COPY ends: the next one has as many rows as
            # it can write in COPY_SECONDS.
            count, took = write.count - count, max(monotonic() - began, 0.001)
            size = min(4 * count, int(count * COPY_SECONDS / took))
            await bulk.insert_groups(write, others)


async def _sources(rows: Rows) -> AsyncIterator[Iterator[Row]]:
    """Yield rows in parts, from which they can be taken while a COPY is open.

    Asynchronous code may use the session, and may wait for long: it runs before.
    """
    if isinstance(rows, AsyncIterable):
        async for part in chunks(rows, CHUNK_SIZE):
            yield iter(part)
    else:
        yield iter(rows)


def _while_open(
    write: BulkWrite, source: Iterator[Row], errors: list[BaseException]
) -> Iterator[Group]:
    """Yield rows by the names that they give, for COPY_SECONDS.

    While a COPY is open, our time counts as the server's. An error is raised when the COPY has
    ended: the driver would take it for its own.
    """
    end = monotonic() + COPY_SECONDS
    try:
        for chunk in lists(source, bulk.CHUNK_SIZE, COPY_SECONDS):
            write.check(chunk)
            write.count += len(chunk)
            yield from new_groups(write.columns, chunk)
            if monotonic() > end:
                return
    except BaseException as error:
        errors.append(error)


def _blocks(
    columns: Columns, sent: Sent, groups: Iterable[Group], others: list[Group], dialect: sa.Dialect
) -> Iterator[Block]:
    """Yield the rows that COPY sends, and add those that INSERT must send to `others`."""
    for names, rows in groups:
        block = None
        # Rows that may refer to each other keep their order.
        if names_sent(columns, names) == [*sent] and not (others and columns.refers_to_itself):
            block = _block(columns, sent, names, rows, dialect)
        if block:
            yield block
        else:
            others.append((names, rows))


async def upsert_chunk(write: BulkWrite, chunk: Sequence[Row], on: Sequence[str]) -> None:
    """Insert or change rows: by way of a temporary table where it comes out as one by one."""
    columns, groups = write.columns, new_groups(write.columns, chunk)
    names, _ = groups[0]
    # No NULL is the same as another.
    unique = not any(columns.by_name[name].nullable for name in on)
    key = [columns.by_name[name] for name in on]
    async with _staged(write, groups, names_sent(columns, names) if unique else (), key) as staged:
        if staged is None:
            await bulk.upsert_chunk(write, chunk, on)
        else:
            insert = bulk.upsert(write, names, on)
            keys = [columns.by_name[x].key for x in names_sent(columns, names)]
            await write.session.execute(insert.from_select(keys, staged, include_defaults=False))


async def update_chunk(write: BulkWrite, chunk: Sequence[Row]) -> int:
    """Change rows by their keys: by way of a temporary table where it comes out as one by one."""
    columns, groups = write.columns, by_names(chunk)
    names, _ = groups[0]
    async with _staged(write, groups, names, [*columns.table.primary_key]) as staged:
        if staged is None:
            return await bulk.update_chunk(write, chunk)
        count, fixed = len({*bulk.keys_of(write, chunk)}), {*columns.key, columns.version}
        new = staged.subquery()
        pairs = {name: (columns.by_name[name], new.c[columns.by_name[name].name]) for name in names}
        same = [own == given for name, (own, given) in pairs.items() if name in fixed]
        values = {own: given for name, (own, given) in pairs.items() if name not in fixed}
        statement = sa.update(columns.model).where(*same)
        found = await write.execute(statement.values({**values, **columns.version_after}))
        bulk.refuse_stale(write, (count - found) * (columns.version in names), count)
        return found


async def types_sent(write: BulkWrite, names: Sequence[str], count: int) -> Sent:
    """Return the columns with their types, or nothing if COPY could store other rows than INSERT.

    Nothing is returned for:

    - fewer rows than MINIMUM_ROWS, for which COPY is no faster
    - a class that shares its table with others, or has several tables
    - a type with a `bind_expression`, which is a part of INSERT
    - a type outside the driver's COPIED, or another type in the database than in the model
    - a view, or a table with rules, triggers or row security: COPY ignores or refuses some of them
    """
    columns = [write.columns.by_name[name] for name in names]
    if count < MINIMUM_ROWS or not names or write.columns.kind or not write.columns.is_one_table:
        return {}
    if any(x.type.bind_expression(sa.bindparam(None, type_=x.type)) is not None for x in columns):
        return {}
    table, connection = write.columns.table, await write.session.connection()
    compiler = connection.dialect.type_compiler_instance
    parameters = {
        "table": table.name,
        "schema": await connection.run_sync(lambda x: x.schema_for_object(table)),
        "names": [column.name for column in columns],
        "types": [compiler.process(x.type).partition(" COLLATE ")[0] for x in columns],
    }
    # None for a column that is not as the model has it.
    types: Sequence[str] = await connection.scalar(CATALOG, parameters) or [""]
    return dict(zip(names, types, strict=True)) if {*types} <= driver.COPIED else {}


def names_sent(columns: Columns, names: Sequence[str]) -> Sequence[str]:
    """Return the columns that COPY sends for rows that give these: none if it cannot fill one."""
    sent = list[str]()
    for name, column in columns.by_name.items():
        if name in names or _maker(columns, name) or not has_default(column):
            sent.append(name)
        elif column.default is not None:
            return ()
    return sent


@cache
def _maker(columns: Columns, name: str) -> Callable[[int], Sequence[object]] | None:
    """Return what makes a column without SQL and without the row, if anything does."""
    column, version = columns.by_name[name], columns.next_version
    made: Any = column.default
    if name == columns.version and version is not None:
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


def _block(
    columns: Columns, sent: Sent, names: Sequence[str], rows: Sequence[Row], dialect: sa.Dialect
) -> Block | None:
    """Return rows that give these names as COPY sends them; None if INSERT may send them otherwise."""
    try:
        block = [_values(columns, x, names, rows, dialect) for x in sent]
    except Exception:
        # INSERT raises it again, as a flush does.
        return None
    return block if all(map(driver.copies, sent.values(), block)) else None


def _values(
    columns: Columns, name: str, names: Sequence[str], rows: Sequence[Row], dialect: sa.Dialect
) -> Sequence[object]:
    """Return the values of a column in rows that give these names, as the driver takes them."""
    kind, make = columns.by_name[name].type, _maker(columns, name)
    values: Sequence[object] = [None] * len(rows)
    if name in names:
        values = [row[name] for row in rows]
    elif make is not None:
        values = make(len(rows))
    elif kind.should_evaluate_none:
        # A column that a row leaves out is NULL. None would become the null of JSON.
        return values
    process = kind.dialect_impl(dialect).bind_processor(dialect)
    return [process(value) for value in values] if process else values


@asynccontextmanager
async def _staged(
    write: BulkWrite, groups: Groups, names: Sequence[str], key: Sequence[sa.Column[Any]]
) -> AsyncGenerator[sa.Select[Any] | None]:
    """Copy rows to a temporary table, and yield a SELECT of the last row for each key.

    Yield None if the rows give different columns, or if COPY could store other rows than INSERT.
    """
    (given, rows), *others = groups
    made = write.columns.onupdates(given).values()
    alone = not others and all(x.is_clause_element for x in made)
    sent = await types_sent(write, names if alone else (), len(rows))
    connection, columns = await write.session.connection(), [write.columns.by_name[x] for x in sent]
    block = _block(write.columns, sent, given, rows, connection.dialect)
    if not block:
        yield None
        return
    empty = sa.select(*(sa.cast(sa.null(), x.type).label(x.name) for x in columns)).limit(0)
    # asyncpg remembers the types of a table by its name.
    name = f"bulk_{crc32(str(empty.compile(dialect=connection.dialect)).encode()):x}"
    create = sa.CreateTableAs(empty, name, schema="pg_temp", temporary=True)
    await _define(connection, create)
    await _copy(write, create.table, sent, [block])
    # The columns have no types here: a type may read a value in another form than the stored one.
    # The system column `ctid` has the order in which the rows were copied.
    same: list[sa.ColumnElement[Any]] = [sa.column(x.name) for x in key]
    values: list[sa.ColumnElement[Any]] = [sa.column(x.name) for x in columns]
    ordered = sa.select(*values).order_by(*same, sa.column("ctid").desc())
    yield ordered.select_from(create.table).ext(distinct_on(*same))
    await _define(connection, DropTable(create.table))


async def _define(connection: AsyncConnection, statement: sa.ExecutableDDLElement) -> None:
    """Create or drop a temporary table.

    SQLAlchemy would take it for a change of the schema, after which asyncpg prepares all statements
    of all connections again. So it gets the text alone.
    """
    await connection.exec_driver_sql(str(statement.compile(dialect=connection.dialect)))


async def _copy(
    write: BulkWrite, table: sa.Table[Any], sent: Sent, blocks: Iterable[Block]
) -> None:
    """Write rows to a table by one COPY."""
    connection = await write.session.connection()
    schema = await connection.run_sync(lambda x: x.schema_for_object(table))
    types = {write.columns.by_name[name].name: kind for name, kind in sent.items()}
    records = chain.from_iterable(zip(*block, strict=True) for block in blocks)
    try:
        await driver.copy_rows(connection, schema, table.name, types, records)
    except Exception as error:
        sync = connection.sync_connection
        assert sync
        translated = driver_errors.of_driver(error, sync, table)
        if translated is None:
            raise
        if isinstance(translated, Unavailable):
            await connection.invalidate(error)
        raise translated from error
