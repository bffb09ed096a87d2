"""A network between the tests and the server, which can be cut and which can swallow everything."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import sqlalchemy as sa


class Proxy:
    """Forwards to a server, until it is told otherwise."""

    def __init__(self, server: sa.URL) -> None:
        self._server = server
        self._connections: set[asyncio.Task[None]] = set()
        self._forwarding = _set_event()
        self._losing = False

    def silence(self) -> None:
        """From now on nothing arrives, in either direction, and nobody is told."""
        self._forwarding.clear()

    def restore(self) -> None:
        """New connections are forwarded; what was silent stays so, as if that machine were gone."""
        self._forwarding = _set_event()

    def lose_the_next_reply(self) -> None:
        """Let the next message arrive, and cut both ends instead of passing the answer on."""
        self._losing = True

    def _loses(self) -> bool:
        losing, self._losing = self._losing, False
        return losing

    async def reset(self) -> None:
        """Cut every connection, so that both ends are told; new ones are forwarded."""
        connections = tuple(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward a connection for as long as it lasts."""
        task = asyncio.ensure_future(self._forward(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        with suppress(asyncio.CancelledError):
            await task

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        forwarding = self._forwarding
        try:
            await forwarding.wait()
            there = await asyncio.open_connection(self._server.host, self._server.port)
            try:
                up = _pump(reader, there[1], forwarding, lambda: False)
                await asyncio.gather(up, _pump(there[0], writer, forwarding, self._loses))
            finally:
                there[1].transport.abort()
        finally:
            writer.transport.abort()


@asynccontextmanager
async def proxy(server: sa.URL) -> AsyncGenerator[tuple[Proxy, sa.URL]]:
    """A proxy before a server, and the URL that leads through it."""
    between = Proxy(server)
    listener = await asyncio.start_server(between.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield between, server.set(host="127.0.0.1", port=port)
    finally:
        listener.close()
        await between.reset()


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    forwarding: asyncio.Event,
    loses: Callable[[], bool],
) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            await forwarding.wait()
            if loses():
                break
            writer.write(data)
            await writer.drain()
        await forwarding.wait()
        writer.close()
