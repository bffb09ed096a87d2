"""The server that all faults of a run share: it can be restarted, filled, and made to hang up."""

import asyncio
import os
import random
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection

from .. import databases, db, dialect
from .ground import Ground

BACKEND = sa.make_url(f"{db.settings.DRIVER}://").get_backend_name()

# Few connections, so that a leak soon leaves none: the pool's 15, the witness's, and some that the
# server has not let go of yet. And PostgreSQL is not to wait before it looks for deadlocks.
_OPTIONS = {
    "postgresql": (
        "-cmax_connections=24",
        "-csuperuser_reserved_connections=0",
        "-cdeadlock_timeout=20ms",
    ),
    "mysql": ("--max-connections=24",),
}
_OTHERS = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid()",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = database()"
    " AND id <> connection_id()",
}
_BUSY = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND state = 'active' AND backend_type = 'client backend'",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = database()"
    " AND id <> connection_id() AND info LIKE '%benchmark%'",
}
_END = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}
_FILE_OF_PID = {
    "postgresql": "SELECT setting || '/postmaster.pid' FROM pg_settings"
    " WHERE name = 'data_directory'",
    "mysql": "SELECT @@pid_file",
}


def only(*backends: str, why: str) -> pytest.MarkDecorator:
    """Leave a fault out where it cannot happen."""
    return pytest.mark.skipif(BACKEND not in backends, reason=why)


has_server = only("postgresql", "mysql", why="SQLite has no server")


@contextmanager
def restarting_server() -> Generator[sa.URL]:
    """A temporary server which is run again when it ends; a directory of files for SQLite."""
    with pytest.MonkeyPatch.context() as patch:
        if program := vars(databases).get("_SERVER"):
            again = (sys.executable, str(Path(__file__).with_name("endless.py")))
            # It gets the full paths of its programs where it is started.
            servers = vars(import_module(f"{db.__name__}.testing.servers"))
            found = servers["_find"](program)
            serve = (*again, *found.serve, *_OPTIONS[BACKEND])
            patch.setattr(databases, "_SERVER", replace(found, serve=serve))
        with databases.temporary_server() as url:
            yield url


async def restart(witness: db.Database) -> None:
    """Stop the server in good order, and come back when another process of it answers."""
    async with witness.session() as session:
        file = Path(str(await session.scalar(sa.text(_FILE_OF_PID[BACKEND]))))
    before = _pid(file)
    assert before
    os.kill(before, vars(databases)["_SERVER"].stop)
    while _pid(file) in (None, before) or not (await witness.ping()).ok:
        await asyncio.sleep(0.02)


def _pid(file: Path) -> int | None:
    try:
        return int(file.read_text().split("\n")[0])
    except (OSError, ValueError):
        return None


async def hang_up_on_all(witness: db.Database) -> None:
    """End every other connection to the witness's database, and come back when they are gone."""
    async with _administered(witness) as connection:
        others = sa.text(_OTHERS[BACKEND])
        for number in (await connection.scalars(others)).all():
            # It may have ended by itself.
            with suppress(exc.DBAPIError):
                await connection.exec_driver_sql(_END[BACKEND].format(number))
        while (await connection.scalars(others)).first():
            await asyncio.sleep(0.005)


async def hang_up_on_some(witness: db.Database, number: int) -> int:
    """End so many other connections to the witness's database at most, and say how many."""
    async with _administered(witness) as connection:
        others = (await connection.scalars(sa.text(_OTHERS[BACKEND]))).all()
        ended = random.sample(others, min(number, len(others)))
        for each in ended:
            # It may have ended by itself.
            with suppress(exc.DBAPIError):
                await connection.exec_driver_sql(_END[BACKEND].format(each))
    return len(ended)


async def busy_connections(witness: db.Database) -> int:
    """How many other connections to the witness's database the server is busy with."""
    async with _administered(witness) as connection:
        return int(await connection.scalar(sa.text(_BUSY[BACKEND])) or 0)


@asynccontextmanager
async def _administered(database: db.Database) -> AsyncGenerator[AsyncConnection]:
    engine = database.engine.execution_options(**dialect.AUTOCOMMIT)
    async with engine.connect() as connection:
        yield connection


_FORBID_WRITES = {
    "postgresql": (
        "ALTER SYSTEM SET default_transaction_read_only = {}",
        "SELECT pg_reload_conf()",
    ),
    "mysql": ("SET GLOBAL read_only = {}",),
}


async def forbid_writes(ground: Ground, *, forbidden: bool = True) -> None:
    """Let the server refuse writes, or accept them, and wait until its sessions know."""
    async with _administered(ground.witness) as connection:
        for statement in _FORBID_WRITES[BACKEND]:
            await connection.exec_driver_sql(statement.format("ON" if forbidden else "OFF"))
    while (await ground.database.ping()).ok is forbidden:
        await asyncio.sleep(0.005)


async def url_of_a_service(witness: db.Database) -> sa.URL:
    """Return the URL of a user whom MySQL refuses writes too. Others administer the server."""
    url = witness.settings.url
    if BACKEND == "mysql":
        async with _administered(witness) as connection:
            for host in ("localhost", "127.0.0.1"):
                user = f"'service'@'{host}'"
                await connection.exec_driver_sql(f"CREATE USER IF NOT EXISTS {user}")
                await connection.exec_driver_sql(f"GRANT ALL ON `{url.database}`.* TO {user}")
        url = url.set(username="service")
    return url


@asynccontextmanager
async def no_connection_left(witness: db.Database) -> AsyncGenerator[None]:
    """All connections that the server has, taken by someone else."""
    settings = witness.settings.model_copy(update={"pool_size": 0})
    async with db.Database(settings) as greedy:
        taken: list[AsyncConnection] = []
        try:
            with pytest.raises(db.Unavailable):
                while True:
                    taken.append(await greedy.engine.connect())
            yield
        finally:
            for connection in taken:
                await connection.close()
    # The server takes its time to notice.
    async with _administered(witness) as connection:
        others = sa.text(_OTHERS[BACKEND])
        while len((await connection.scalars(others)).all()) > 5:
            await asyncio.sleep(0.005)
