"""Three nodes of a Galera cluster, all of them real servers. This runs in a rendered service."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from . import db
from .models import Author, ProbeBase, Sample

# Root may not run a server, and rsync as root gives files away. In a namespace root is nobody.
NOBODY = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")
PROVIDER = "/usr/lib/galera/libgalera_smm.so"


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]
    finally:
        for free in sockets:
            free.close()


class Node:
    """A node, which can be killed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, self.group, self.state, self.transfer = free_ports(4)
        self.url = sa.URL.create(
            db.settings.DRIVER, "root", host="127.0.0.1", port=self.port, database="test"
        )
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self, nodes: "list[Node]", *, first: bool) -> None:
        self.directory.mkdir()
        data, prefix = self.directory / "data", NOBODY if os.geteuid() == 0 else ()
        subprocess.run(
            [
                *(*prefix, "mariadb-install-db", "--no-defaults", f"--datadir={data}", "--force"),
                *("--auth-root-authentication-method=normal", "--skip-test-db"),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )
        addresses = ",".join(f"127.0.0.1:{node.group}" for node in nodes)
        options = {
            "base_port": str(self.group),
            "gmcast.listen_addr": f"tcp://127.0.0.1:{self.group}",
            "ist.recv_addr": f"127.0.0.1:{self.state}",
            "gcache.size": "16M",
        }
        server = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
        log = self.directory / "log"
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [
                    *(*prefix, str(server), "--no-defaults", f"--datadir={data}"),
                    *(f"--port={self.port}", "--bind-address=127.0.0.1", "--socket=s"),
                    *(f"--pid-file={self.directory}/pid", "--character-set-server=utf8mb4"),
                    *("--binlog-format=ROW", "--innodb-autoinc-lock-mode=2"),
                    *("--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0"),
                    *("--wsrep-on=ON", f"--wsrep-provider={PROVIDER}"),
                    f"--wsrep-cluster-address=gcomm://{addresses}",
                    f"--wsrep-node-address=127.0.0.1:{self.group}",
                    "--wsrep-provider-options=" + ";".join(f"{x}={y}" for x, y in options.items()),
                    "--wsrep-sst-method=rsync",
                    f"--wsrep-sst-receive-address=127.0.0.1:{self.transfer}",
                    *["--wsrep-new-cluster"] * first,
                ],
                stdout=file,
                stderr=file,
            )
        async with asyncio.timeout(60):
            while "ready for connections" not in log.read_text(errors="replace"):
                assert self.process.poll() is None, log.read_text(errors="replace")[-2000:]
                await asyncio.sleep(0.1)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[list[Node]]:
    folder = tmp_path_factory.mktemp("galera")
    nodes = [Node(folder / str(number)) for number in range(3)]
    began = time.monotonic()
    try:
        for node in nodes:
            await node.start(nodes, first=node is nodes[0])
        administrator = db.DatabaseSettings(url=nodes[0].url.set(database="mysql"))
        async with db.Database(administrator) as database, database.session() as session:
            await session.execute(sa.text("CREATE DATABASE test CHARACTER SET utf8mb4"))
        settings = db.DatabaseSettings(url=nodes[0].url)
        async with db.Database(settings) as database, database.engine.begin() as connection:
            await connection.run_sync(ProbeBase.metadata.create_all)
        print(f"GALERA three nodes in {time.monotonic() - began:.0f} s")
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def opened(node: Node, **settings: object) -> db.Database:
    small: dict[str, object] = {"pool_size": 4, "max_overflow": 0, "retry_for": 30.0}
    return db.Database(db.DatabaseSettings(url=node.url).model_copy(update=small | settings))


async def test_conflicting_writers_of_one_row(nodes: list[Node]) -> None:
    counter = sa.select(Sample.number).where(Sample.code == "counter")

    async def increment(session: AsyncSession) -> None:
        value = await session.scalar(counter.with_for_update())
        assert value is not None
        await session.execute(
            sa.update(Sample).where(Sample.code == "counter").values(number=value + 1)
        )

    async def increments(database: db.Database) -> None:
        for _ in range(20):
            # The certification of a commit fails as a deadlock.
            await database.run(increment, attempts=100)

    async with opened(nodes[0]) as a, opened(nodes[1]) as b, opened(nodes[2]) as c:
        async with a.transaction() as session:
            session.add(Sample(code="counter", number=0))
        await asyncio.sleep(1)
        await asyncio.gather(*[increments(database) for database in (a, a, b, b, c, c)])
        await asyncio.sleep(1)
        for database in (a, b, c):
            async with database.session() as session:
                assert await session.scalar(counter) == 120


async def test_migrating_is_refused_unless_one_node_is_named(nodes: list[Node]) -> None:
    async def migrate(node: Node, **settings: str) -> tuple[int, str]:
        url = node.url.render_as_string(hide_password=False)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "alembic", "upgrade", "head"),
            env=os.environ | {"DATABASE_URL": url} | settings,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    places = [nodes[number % 3] for number in range(5)]
    for status, output in await asyncio.gather(*[migrate(node) for node in places]):
        assert status and "DATABASE_MIGRATION_URL is missing" in output, output
        assert "Traceback" not in output
    one = nodes[0].url.render_as_string(hide_password=False)
    done = await asyncio.gather(*[migrate(x, DATABASE_MIGRATION_URL=one) for x in places])
    assert [status for status, _ in done] == [0] * 5, done
    assert sum("Running upgrade" in output for _, output in done) == 1


async def test_a_node_killed_under_load(nodes: list[Node]) -> None:
    committed: list[str] = []
    longest, stop = 0.0, False

    async def write(database: db.Database, writer: int) -> None:
        nonlocal longest
        number = 0
        while not stop:
            number += 1
            name, began = f"{writer} {number}", time.monotonic()

            async def work(session: AsyncSession, name: str = name) -> None:
                session.add(Author(email=name))

            await database.run(work)
            committed.append(name)
            longest = max(longest, time.monotonic() - began)
            await asyncio.sleep(0.01)

    async with opened(nodes[0]) as a, opened(nodes[1]) as b, asyncio.TaskGroup() as group:
        for writer in range(6):
            group.create_task(write((a, b)[writer % 2], writer))
        await asyncio.sleep(2)
        nodes[2].kill()
        await asyncio.sleep(12)
        stop = True
    async with opened(nodes[0]) as database, database.session() as session:
        names = await session.scalars(sa.select(Author.email))
        assert sorted(names) == sorted(committed)
    print(f"GALERA node killed: the longest unit took {longest:.1f} s, of {len(committed)}")


async def test_a_node_outside_of_the_cluster_is_unavailable(nodes: list[Node]) -> None:
    # Of three nodes one is left: it is not the majority.
    nodes[2].kill()
    async with opened(nodes[0], retry_for=0.0) as database:
        async with database.session() as session:
            await session.scalar(sa.select(1))
        nodes[1].kill()
        async with asyncio.timeout(30):
            while True:
                try:
                    async with database.transaction() as session:
                        await session.execute(sa.select(Author.id).limit(1))
                except db.Unavailable as error:
                    if "1047" in str(error):
                        assert "this node of the cluster is not ready" in str(error)
                        break
                await asyncio.sleep(0.2)
