"""Two PostgreSQL servers: a primary and its synchronous standby, which can take its place."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from .. import databases, db, dialect

# How a server for tests is had, before restarting_server() changes it.
_PROGRAM: Any = vars(databases).get("_SERVER")
# Root may not run a server. In a namespace root is nobody, and its files stay readable.
_NOBODY = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")
# A commit is on the standby before it returns.
_SYNCHRONOUS = ("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")


class Node:
    """One of the servers, which keeps its port and its directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = sa.URL.create(
            db.settings.DRIVER, "postgres", host="127.0.0.1", port=self.port, database="postgres"
        )

    async def initialise(self) -> None:
        """Make a new server."""
        command = _PROGRAM.initialise
        _run([part.format(directory=self.directory) for part in command])
        await self.start()

    async def follow(self, primary: "Node") -> None:
        """Become a standby of the primary, with a copy of its data."""
        shutil.rmtree(self.directory / "data", ignore_errors=True)
        place = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres")
        data = str(self.directory / "data")
        # Debian's command is not the program, but chooses one.
        _run(["pg_basebackup", *place, "-D", data, "-R", "-c", "fast", "-N"])
        await self.start()
        await primary.execute(*_SYNCHRONOUS)

    async def start(self) -> None:
        """Start the server, and return when it accepts connections."""
        command = [x.format(directory=self.directory, port=self.port) for x in _serve()]
        log = self.directory / "log"
        with log.open("wb") as file:
            self._process = subprocess.Popen(_command(command), stdout=file, stderr=file)
        async with asyncio.timeout(30):
            while "ready to accept" not in log.read_text(errors="replace"):
                assert self._process.poll() is None, log.read_text(errors="replace")
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        """Kill all processes of the server at the same time, as a power failure does."""
        if self._process and self._process.poll() is None:
            pid = self._process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for number in (pid, *map(int, children)):
                os.kill(number, signal.SIGKILL)
            self._process.wait()

    async def execute(self, *statements: str) -> None:
        """Execute statements, each in a transaction of its own."""
        settings = db.DatabaseSettings(url=self.url, pool_size=0, statement_timeout=60)
        async with db.Database(settings) as database:
            engine = database.engine.execution_options(**dialect.AUTOCOMMIT)
            async with engine.connect() as connection:
                for statement in statements:
                    await connection.exec_driver_sql(statement)

    async def promote(self) -> None:
        """Let the standby become the primary."""
        await self.execute("SELECT pg_promote()")


@asynccontextmanager
async def pair() -> AsyncGenerator[tuple[Node, Node]]:
    """Two servers, of which the first is the primary of the second."""
    with tempfile.TemporaryDirectory(prefix="cluster-") as name:
        nodes = (Node(Path(name, "a")), Node(Path(name, "b")))
        try:
            for node in nodes:
                node.directory.mkdir()
            primary, standby = nodes
            await primary.initialise()
            await standby.follow(primary)
            yield primary, standby
        finally:
            for node in nodes:
                node.kill()


def _serve() -> list[str]:
    # On every commit both servers have to agree with their disks.
    command = _PROGRAM.serve
    return [x for x in command if "synchronous_commit" not in x]


def _command(command: list[str]) -> list[str]:
    # Where the programs are is known where servers for tests are started.
    servers: Any = import_module(f"{db.__name__}.testing.servers")
    folder = Path(servers._find(_PROGRAM).serve[0]).parent
    return [*(_NOBODY if os.geteuid() == 0 else ()), str(folder / command[0]), *command[1:]]


def _run(command: list[str]) -> None:
    done = subprocess.run(_command(command), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
