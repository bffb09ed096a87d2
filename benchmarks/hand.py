"""Many rows, written by hand as somebody who knows the driver would for this one table."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import islice
from typing import Protocol, TypeVar
from uuid import UUID

import psycopg
import sqlalchemy as sa
from psycopg.types.json import Jsonb
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from .ground import Ground
from .tables import USERS, Row, uuid7

T = TypeVar("T")

COLUMNS = ("id", "email", "name", "active")
CHUNK = 5_000
UPSERT = """
    INSERT INTO users (id, email, name, active) SELECT id, email, name, active FROM incoming
    ON CONFLICT (email) DO UPDATE
    SET name = excluded.name, active = excluded.active, updated_at = now()
"""
INCOMING = "CREATE TEMPORARY TABLE incoming (id uuid, email text, name text, active bool)"
# Not ON COMMIT DROP: the server would look for such tables at each commit.
DONE = "DROP TABLE incoming"


class Writer(Protocol):
    async def insert(self, rows: Iterable[Row], /) -> None: ...
    async def upsert(self, rows: Iterable[Row], /) -> None: ...
    async def update(self, rows: Iterable[Row], /) -> None: ...
    async def delete(self, keys: Sequence[UUID], /) -> None: ...


def writer(ground: Ground) -> Writer:
    """The writer for a driver."""
    match ground.layer.driver:
        case "asyncpg":
            return ByAsyncpg(ground)
        case "psycopg":
            return ByPsycopg(ground)
        case _:
            return ByCore(ground)


def _tuples(rows: Iterable[Row]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        yield uuid7(), row["email"], row["name"], row["active"]


def _chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


class AsyncpgConnection(Protocol):
    """What is used of a connection of asyncpg."""

    async def execute(self, query: str, *values: object) -> str: ...
    def transaction(self) -> AbstractAsyncContextManager[None]: ...
    async def copy_records_to_table(
        self, table: str, *, records: Iterable[tuple[object, ...]], columns: Sequence[str]
    ) -> str: ...


class ByAsyncpg:
    def __init__(self, ground: Ground) -> None:
        self._engine = ground.engine

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncpgConnection]:
        async with self._engine.connect() as connection:
            fairy = await connection.get_raw_connection()
            raw: AsyncpgConnection | None = fairy.driver_connection
            assert raw
            async with raw.transaction():
                yield raw

    async def insert(self, rows: Iterable[Row]) -> None:
        async with self.transaction() as raw:
            await raw.copy_records_to_table("users", records=_tuples(rows), columns=COLUMNS)

    async def upsert(self, rows: Iterable[Row]) -> None:
        async with self.transaction() as raw:
            await raw.execute(INCOMING)
            await raw.copy_records_to_table("incoming", records=_tuples(rows), columns=COLUMNS)
            await raw.execute(UPSERT)
            await raw.execute(DONE)

    async def update(self, rows: Iterable[Row]) -> None:
        keys, names = zip(*((row["id"], row["name"]) for row in rows), strict=True)
        async with self.transaction() as raw:
            await raw.execute(
                "UPDATE users SET name = new.name, updated_at = now()"
                " FROM unnest($1::uuid[], $2::text[]) AS new (id, name) WHERE users.id = new.id",
                keys,
                names,
            )

    async def delete(self, keys: Sequence[UUID]) -> None:
        async with self.transaction() as raw:
            await raw.execute("DELETE FROM users WHERE id = ANY($1)", keys)


class ByPsycopg:
    def __init__(self, ground: Ground) -> None:
        self._engine = ground.engine

    @asynccontextmanager
    async def cursor(self) -> AsyncGenerator[psycopg.AsyncCursor[tuple[object, ...]]]:
        async with self._engine.connect() as connection:
            fairy = await connection.get_raw_connection()
            raw: psycopg.AsyncConnection[tuple[object, ...]] | None = fairy.driver_connection
            assert raw
            async with raw.transaction(), raw.cursor() as cursor:
                yield cursor

    async def _copy(
        self, cursor: psycopg.AsyncCursor[tuple[object, ...]], table: bytes, rows: Iterable[Row]
    ) -> None:
        copying = b"COPY " + table + b" (id, email, name, active) FROM STDIN (FORMAT BINARY)"
        async with cursor.copy(copying) as copy:
            copy.set_types(["uuid", "text", "text", "bool"])
            for values in _tuples(rows):
                await copy.write_row(values)

    async def insert(self, rows: Iterable[Row]) -> None:
        async with self.cursor() as cursor:
            await self._copy(cursor, b"users", rows)

    async def upsert(self, rows: Iterable[Row]) -> None:
        async with self.cursor() as cursor:
            await cursor.execute(INCOMING)
            await self._copy(cursor, b"incoming", rows)
            await cursor.execute(UPSERT)
            await cursor.execute(DONE)

    async def update(self, rows: Iterable[Row]) -> None:
        keys, names = zip(*((row["id"], row["name"]) for row in rows), strict=True)
        async with self.cursor() as cursor:
            await cursor.execute(
                "UPDATE users SET name = new.name, updated_at = now()"
                " FROM unnest(%b::uuid[], %b::text[]) AS new (id, name) WHERE users.id = new.id",
                (list(keys), list(names)),
            )

    async def delete(self, keys: Sequence[UUID]) -> None:
        async with self.cursor() as cursor:
            await cursor.execute("DELETE FROM users WHERE id = ANY(%b)", (list(keys),))


def as_json(value: object) -> object:
    """A value as psycopg sends JSONB."""
    return Jsonb(value)


class ByCore:
    """For SQLite and MariaDB: SQLAlchemy's Core, which their drivers leave little to add to."""

    def __init__(self, ground: Ground) -> None:
        self._engine = ground.engine
        self._mysql = ground.dialect == "mysql"

    async def insert(self, rows: Iterable[Row]) -> None:
        async with self._engine.begin() as connection:
            await self._execute(connection, sa.insert(USERS), rows)

    async def upsert(self, rows: Iterable[Row]) -> None:
        statement: sa.Executable
        if self._mysql:
            insert = mysql.insert(USERS)
            new = insert.inserted
            statement = insert.on_duplicate_key_update(
                name=new.name, active=new.active, updated_at=sa.func.now()
            )
        else:
            upsert = sqlite.insert(USERS)
            given = upsert.excluded
            statement = upsert.on_conflict_do_update(
                index_elements=["email"],
                set_={"name": given.name, "active": given.active, "updated_at": sa.func.now()},
            )
        async with self._engine.begin() as connection:
            await self._execute(connection, statement, rows)

    async def update(self, rows: Iterable[Row]) -> None:
        statement = sa.update(USERS).where(USERS.c.id == sa.bindparam("key"))
        renamed = ({"key": row["id"], "name": row["name"]} for row in rows)
        async with self._engine.begin() as connection:
            await self._execute(connection, statement, renamed)

    async def delete(self, keys: Sequence[UUID]) -> None:
        async with self._engine.begin() as connection:
            for some in _chunks(keys, 10_000):
                await connection.execute(sa.delete(USERS).where(USERS.c.id.in_(some)))

    async def _execute(
        self,
        connection: AsyncConnection,
        statement: sa.Executable,
        rows: Iterable[Mapping[str, object]],
    ) -> None:
        for chunk in _chunks(rows):
            await connection.execute(statement, chunk)
