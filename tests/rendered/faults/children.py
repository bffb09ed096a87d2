"""The work of other processes: `python -m layer_tests.probes.faults.children increments URL`."""

import asyncio
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from .. import db
from .ground import Ground, Unit, insert


def opened(url: str, **options: Any) -> db.Database:
    settings = db.DatabaseSettings.model_validate({"url": url})
    return db.Database(settings.model_copy(update={"pool_size": 2, "max_overflow": 0}), **options)


async def add(database: db.Database, name: str) -> None:
    async with database.transaction() as session:
        await insert(session, name)


def increments(url: str) -> None:
    """Five tasks that read a value and write the next one, fifty times each."""

    async def increment(database: db.Database) -> None:
        for _ in range(50):
            async with database.transaction() as session:
                value = await session.scalar(sa.select(Unit.value))
                assert value is not None
                await asyncio.sleep(0)
                await session.execute(sa.update(Unit).values(value=value + 1))

    async def main() -> None:
        async with opened(url) as database:
            await asyncio.gather(*[increment(database) for _ in range(5)])

    asyncio.run(main())


def first_use(url: str) -> None:
    """Be among the first to use five files, once all others are there."""
    print("ready", flush=True)
    sys.stdin.readline()

    async def main() -> None:
        for number in range(5):
            async with opened(f"{url}.{number}.db") as database, database.transaction() as session:
                await session.execute(sa.text("CREATE TABLE IF NOT EXISTS t (id INTEGER)"))

    asyncio.run(main())


def fork(url: str, *names: str) -> None:
    """Fork a process that has the database open, once for each name, and use it in both."""
    loop = asyncio.new_event_loop()
    # Asked first, a connection that the child has closed would be replaced, and nobody the wiser.
    database = opened(url, pool_pre_ping=False)
    loop.run_until_complete(database.__aenter__())
    for name in names:
        _fork(loop, database, name)
    loop.run_until_complete(database.dispose())


def _fork(loop: asyncio.AbstractEventLoop, database: db.Database, name: str) -> None:
    loop.run_until_complete(add(database, f"{name} before"))
    child = os.fork()
    if not child:
        status = 1
        try:
            asyncio.run(_in_the_child(database, name))
            gc.collect()
            status = 0
        finally:
            os._exit(status)
    loop.run_until_complete(add(database, f"{name} meanwhile"))
    assert os.waitpid(child, 0)[1] == 0
    loop.run_until_complete(add(database, f"{name} after"))


async def _in_the_child(database: db.Database, name: str) -> None:
    try:
        await add(database, f"{name} refused")
    except RuntimeError as error:
        assert "forked" in str(error)
    await database.dispose()
    async with database:
        await add(database, f"{name} in the child")


def load(url: str, rows: str) -> None:
    """Insert rows without end; say when so many were handed over."""

    def units() -> Iterator[dict[str, object]]:
        number = 0
        while True:
            if number == int(rows):
                print("now", flush=True)
            yield {"name": f"{number}", "value": number}
            number += 1

    async def main() -> None:
        async with opened(url) as database, database.transaction() as session:
            await db.Repository[Unit](session).insert_many(units())

    asyncio.run(main())


def disk_full(url: str) -> None:
    """Fill the disk that the file is on, and make room again."""
    ballast = Path(str(sa.make_url(url).database)).with_name("ballast")

    async def work(session: AsyncSession) -> None:
        # More than the log has room for.
        session.add_all(Unit(name="x" * 2000) for _ in range(3000))
        await session.flush()

    async def main() -> None:
        async with opened(url) as database, opened(url) as witness:
            async with database.engine.begin() as connection:
                await connection.run_sync(Unit.metadata.create_all)
            ground = Ground(database, witness)

            async def fault(number: int) -> None:
                await ground.add(f"{number}")
                with suppress(OSError), ballast.open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
                try:
                    await database.run(work, attempts=2)
                except db.Unavailable as error:
                    assert "free space on the disk" in str(error)
                else:
                    raise AssertionError("there was room")
                ballast.unlink()
                await ground.add(f"{number} again")

            await ground.survive(fault, 10)

    asyncio.run(main())


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
