"""Migrations that start at once, are killed, or lose their lock: run in a rendered service.

It prints a line for each kind of round: how often it went well, and the longest wait of a reader.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable

import sqlalchemy as sa
from shop.db import Database, DatabaseSettings
from shop.db.testing import temporary_database

ROUNDS, SECONDS = int(sys.argv[1]), float(sys.argv[2])
SERVER = sa.make_url(sys.argv[3])
COUNT = sa.text("SELECT count(*) FROM posts")
VERSION = sa.text("SELECT version_num FROM alembic_version")
INVALID = sa.text("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
# The lock's connection: it does not run the revision.
LOCKS = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    "mysql": "SELECT is_used_lock(concat('migrate ', sha2(database(), 224)))",
}


async def start(settings: DatabaseSettings, revision: str) -> asyncio.subprocess.Process:
    url = settings.url.render_as_string(hide_password=False)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "alembic", "upgrade", revision),
        env=os.environ | {"DATABASE_URL": url, "DATABASE_MIGRATION_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def upgrade(settings: DatabaseSettings, revision: str = "head") -> tuple[int | None, str]:
    process = await start(settings, revision)
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def hold(database: Database, seconds: float) -> None:
    """Read in one transaction for a long time, while each of the two revisions begins."""
    for revision in ("0001", "0002"):
        while await version(database) < revision:
            await asyncio.sleep(0.02)
        async with database.transaction(read_only=True) as session:
            await session.execute(COUNT)
            await asyncio.sleep(seconds)


async def version(database: Database) -> str:
    async with database.reader() as session:
        return str(await session.scalar(VERSION))


async def watch(database: Database, waits: list[float]) -> None:
    """Note how long short readers wait."""
    while True:
        began = time.monotonic()
        async with database.reader() as session:
            await session.execute(COUNT)
        waits.append(time.monotonic() - began)
        await asyncio.sleep(0.02)


async def is_whole(database: Database) -> bool:
    if await version(database) != "0003":
        return False
    if database.settings.url.get_backend_name() != "postgresql":
        return True
    async with database.reader() as session:
        return not await session.scalar(INVALID)


async def at_once(settings: DatabaseSettings, database: Database, waits: list[float]) -> int:
    """Five processes, on an empty database, and then beside a reader that holds the table."""
    first = await asyncio.gather(*(upgrade(settings, "0001") for _ in range(5)))
    watching = asyncio.create_task(watch(database, waits))
    holding = asyncio.create_task(hold(database, SECONDS))
    await asyncio.sleep(0.1)
    second = await asyncio.gather(*(upgrade(settings) for _ in range(5)))
    watching.cancel()
    await holding
    for status, output in (*first, *second):
        if status:
            print(output, file=sys.stderr)
    return all(status == 0 for status, _ in (*first, *second)) and await is_whole(database)


async def killed(settings: DatabaseSettings, database: Database, waits: list[float]) -> bool:
    """A process that is killed at some moment; the next one ends what it began."""
    await upgrade(settings, "0001")
    process = await start(settings, "head")
    await asyncio.sleep(random.uniform(0.3, 1.6))
    if process.returncode is None:
        process.kill()
    await process.communicate()
    status, output = await upgrade(settings)
    if status:
        print(output, file=sys.stderr)
    return status == 0 and await is_whole(database)


async def lost_lock(settings: DatabaseSettings, database: Database, waits: list[float]) -> bool:
    """The lock's connection is cut at some moment: the exit status tells what the database has."""
    await upgrade(settings, "0001")
    process = await start(settings, "head")
    await asyncio.sleep(random.uniform(0.3, 1.6))
    kind = settings.url.get_backend_name()
    async with database.engine.connect() as connection:
        holder = await connection.scalar(sa.text(LOCKS[kind]))
        if kind == "mysql" and holder:
            await connection.exec_driver_sql(f"KILL {holder}")
    await process.communicate()
    return (process.returncode == 0) == await is_whole(database)


Round = Callable[[DatabaseSettings, Database, list[float]], Awaitable[object]]


async def main() -> None:
    kinds: list[Round] = [at_once, killed]
    if SERVER.get_backend_name() in LOCKS:
        kinds.append(lost_lock)
    for kind in kinds:
        well, waits = 0, [0.0]
        for _ in range(ROUNDS):
            async with (
                temporary_database(SERVER) as settings,
                Database(
                    settings.model_copy(update={"statement_timeout": 0, "command_timeout": 0})
                ) as database,
            ):
                well += bool(await kind(settings, database, waits))
        result = {"kind": kind.__name__, "well": well, "rounds": ROUNDS, "wait": max(waits)}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
