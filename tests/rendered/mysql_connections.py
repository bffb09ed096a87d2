"""Connections to a real server: with TLS, with passwords of any letters, to a silent network."""

import asyncio
import dataclasses
import json
import math
import os
import socket
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from shop.db import Database, DatabaseSettings, Unavailable
from shop.db.settings import DRIVER
from shop.db.testing import databases, servers

FOLDER = sys.argv[1]
# How much longer than its limit anything may take, on a busy machine.
GRACE = 5.0
PASSWORDS = {"ASCII": "p@ss word", "Latin-1": "pässwörd", "UTF-8": "пароль-密碼-🔑", "none": ""}


class Network:
    """Forwards to a server, until it has forwarded so many chunks of the client."""

    def __init__(self, server: int) -> None:
        self._server = server
        self.port = 0
        self.chunks_left: float = math.inf
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward a connection for as long as it lasts."""
        task = asyncio.create_task(self._forward(reader, writer))
        self._connections.add(task)
        await asyncio.wait([task])

    async def close(self) -> None:
        """Cut every connection."""
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Once silent, it reads nothing more, so that what is sent then stays unsent.
        there = await asyncio.open_connection("127.0.0.1", self._server)
        down = asyncio.create_task(self._answer(there[0], writer))
        try:
            while self.chunks_left and (data := await reader.read(65536)):
                if not self.chunks_left:
                    break
                self.chunks_left -= 1
                there[1].write(data)
            if not self.chunks_left:
                await asyncio.Event().wait()
        finally:
            down.cancel()
            there[1].transport.abort()
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            # The answer to the last chunk is lost.
            if self.chunks_left:
                writer.write(data)

    def clients(self) -> int:
        """Count the open sockets of this process that lead here."""
        number = 0
        for file in filter(Path.is_socket, Path("/dev/fd").iterdir()):
            with suppress(OSError), socket.socket(fileno=os.dup(int(file.name))) as twin:
                number += twin.getpeername()[1:2] == (self.port,)
        return number


@asynccontextmanager
async def network_to(server: int) -> AsyncGenerator[Network]:
    network = Network(server)
    listener = await asyncio.start_server(network.serve, "127.0.0.1", 0)
    network.port = listener.sockets[0].getsockname()[1]
    try:
        yield network
    finally:
        listener.close()
        await network.close()


def settings_for(port: int, **more: object) -> DatabaseSettings:
    url = sa.URL.create(DRIVER, "root", None, "localhost", port, "mysql")
    values: dict[str, object] = {
        "url": url,
        "tls_ca_file": f"{FOLDER}/ca.crt",
        "connect_timeout": 1,
        **more,
    }
    values.setdefault("command_timeout", 1)
    return DatabaseSettings.model_validate(values)


async def within(seconds: float, what: Callable[[], Awaitable[object]]) -> str:
    """Say "ok" if something fails as it must, and in time."""
    start = time.perf_counter()
    try:
        await what()
    except (Unavailable, asyncio.CancelledError):
        pass
    else:
        return "no error"
    elapsed = time.perf_counter() - start
    return "ok" if elapsed < seconds + GRACE else f"after {elapsed:.1f} s"


async def closed(network: Network) -> str:
    """Say "ok" if the client closes its sockets at once."""
    for _ in range(100):
        if not network.clients():
            return "ok"
        await asyncio.sleep(GRACE / 100)
    return f"{network.clients()} sockets stay open"


async def fall_silent_while_connecting(port: int, tls: str, chunks: int) -> dict[str, str]:
    async with network_to(port) as network:
        network.chunks_left = chunks
        async with Database(settings_for(network.port, tls=tls)) as database:

            async def connect() -> None:
                async with database.session() as session:
                    await session.scalar(sa.select(sa.literal(1)))

            failure = await within(1, connect)
            case = f"{tls}, silent after {chunks} of the client's packets"
            return {case: failure, f"{case}: closed": await closed(network)}


async def fall_silent_in_a_query(port: int, tls: str, length: int) -> dict[str, str]:
    async with (
        network_to(port) as network,
        Database(settings_for(network.port, tls=tls)) as database,
    ):

        async def ask() -> None:
            async with database.session() as session:
                await session.scalar(sa.select(sa.literal(1)))
                network.chunks_left = 0
                await session.scalar(sa.select(sa.literal("x" * length)))

        failure = await within(1, ask)
        case = f"{tls}, silent in a query of {length} characters"
        return {case: failure, f"{case}: closed": await closed(network)}


async def cancel_a_query(port: int, tls: str) -> dict[str, str]:
    async with (
        network_to(port) as network,
        Database(settings_for(network.port, tls=tls)) as database,
    ):

        async def ask() -> None:
            async with database.session() as session:
                await session.scalar(sa.select(sa.literal(1)))
                network.chunks_left = 0
                await session.scalar(sa.text("SELECT sleep(60)"))

        async def cancel() -> None:
            task = asyncio.create_task(ask())
            await asyncio.wait([task], timeout=0.5)
            task.cancel()
            await task

        failure = await within(0.5, cancel)
        case = f"{tls}, silent in a query that is cancelled"
        return {case: failure, f"{case}: closed": await closed(network)}


async def close_idle_connections(port: int, tls: str) -> dict[str, str]:
    async with network_to(port) as network:
        start = time.perf_counter()
        async with Database(settings_for(network.port, tls=tls)) as database:
            async with database.session() as session:
                await session.scalar(sa.select(sa.literal(1)))
            network.chunks_left = 0
        elapsed = time.perf_counter() - start
        case = f"{tls}, silent when the pool is closed"
        in_time = "ok" if elapsed < 1 + GRACE else f"after {elapsed:.1f} s"
        return {case: in_time, f"{case}: closed": await closed(network)}


async def use_passwords(port: int) -> dict[str, str]:
    outcomes: dict[str, str] = {}
    async with Database(settings_for(port, tls="disable")) as root:
        for number, (name, password) in enumerate(PASSWORDS.items()):
            async with root.transaction() as session:
                user = sa.text(f"CREATE USER u{number} IDENTIFIED BY :password")
                await session.execute(user, {"password": password})
                await session.execute(sa.text(f"GRANT ALL ON *.* TO u{number}"))
            for tls in ("disable", "verify-full"):
                settings = settings_for(port, tls=tls, user=f"u{number}", password=password)
                async with Database(settings) as database:
                    health = await database.ping()
                outcomes[f"{tls}, a password in {name}"] = health.error or "ok"
    return outcomes


async def main(port: int) -> dict[str, str]:
    outcomes: dict[str, str] = await use_passwords(port)
    for tls in ("disable", "verify-full"):
        works = [fall_silent_while_connecting(port, tls, chunks) for chunks in range(6)]
        works += [fall_silent_in_a_query(port, tls, length) for length in (1, 10_000_000)]
        works += [cancel_a_query(port, tls), close_idle_connections(port, tls)]
        for told in await asyncio.gather(*works):
            outcomes |= told
    return outcomes


program = dataclasses.replace(
    databases._SERVER,
    serve=(
        *databases._SERVER.serve,
        f"--ssl-cert={FOLDER}/server.crt",
        f"--ssl-key={FOLDER}/server.key",
    ),
)
with servers.start(program) as (_, server_port):
    print(json.dumps(asyncio.run(main(server_port)), ensure_ascii=False))
