"""The clients of the load: what they ask for, and what they know of each transfer afterwards."""

import asyncio
import random
import socket
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from .hostile import hostile, legal
from .service import ACCOUNTS

# What a client knows of a transfer: whether it was made. `left` is a client that has no answer.
STORED, REFUSED, UNKNOWN, LEFT = "stored", "refused", "unknown", "left"
_UNKNOWN_DETAIL = "the work may have been done: check before you try again"


@dataclass
class Clients:
    """Clients that ask for transfers, pages and nonsense, and often leave before the answer."""

    http: httpx.AsyncClient
    seed: int
    answers: Counter[int] = field(default_factory=Counter[int])
    transfers: dict[str, str] = field(default_factory=dict[str, str])
    # Answers that no client may get.
    wrong: list[str] = field(default_factory=list[str])
    _stopping: bool = False

    @asynccontextmanager
    async def busy(self, number: int) -> AsyncGenerator[None]:
        """Let so many clients ask one thing after another for the length of the block."""
        async with asyncio.TaskGroup() as group:
            for each in range(number):
                group.create_task(self._client(each, random.Random(self.seed + each)))
            try:
                yield
            finally:
                self.stop()

    def stop(self) -> None:
        """Let each client end after its current request."""
        self._stopping = True

    async def _client(self, number: int, chance: random.Random) -> None:
        request = 0
        while not self._stopping:
            request += 1
            match chance.randrange(10):
                case 0 | 1:
                    await self.ask(*hostile(chance.randrange(1000)))
                case 2 | 3:
                    await self.ask(*legal(chance.randrange(1000)))
                case kind:
                    limit = chance.uniform(0, 0.05) if kind in (4, 5) else 30
                    path = "/retried" if kind in (5, 6) else "/transfers"
                    await self.transfer(f"{number}-{request}", chance, path, limit=limit)

    async def transfer(
        self,
        name: str,
        chance: random.Random,
        path: str = "/transfers",
        *,
        limit: float = 30,
        **more: float,
    ) -> int | None:
        """Ask for a transfer, and leave after `limit` seconds. Return the process that made it."""
        source, target = chance.sample(range(1, ACCOUNTS + 1), 2)
        body = {"source": source, "target": target, "amount": chance.randrange(1, 100)}
        self.transfers[name] = LEFT
        answer = await self.ask("POST", path, {"json": {"name": name, **body, **more}}, limit)
        if answer is None:
            return None
        known = {201: STORED, 500: UNKNOWN, 503: REFUSED}
        if answer.status_code not in known:
            self.wrong.append(f"{path}: {answer.status_code} {answer.text[:200]}")
        self.transfers[name] = known.get(answer.status_code, UNKNOWN)
        return int(answer.text) if answer.status_code == 201 else None

    async def ask(
        self, method: str, path: str, options: dict[str, Any], limit: float = 30
    ) -> httpx.Response | None:
        """Return the answer, or None if the client left, or the service ended, before it came."""
        try:
            async with asyncio.timeout(limit):
                answer = await self.http.request(method, path, **options)
        except (TimeoutError, httpx.TransportError) as error:
            if limit >= 30 and isinstance(error, TimeoutError):
                self.wrong.append(f"{path}: no answer in {limit} s")
            self.answers[0] += 1
            return None
        if self._stopping and answer.text == "Internal Server Error":
            # uvicorn has cancelled the request.
            self.answers[0] += 1
            return None
        self.answers[answer.status_code] += 1
        if answer.status_code == 500 and answer.json()["detail"] != _UNKNOWN_DETAIL:
            self.wrong.append(f"{method} {path[:80]}: {answer.status_code} {answer.text[:200]}")
        return answer


@asynccontextmanager
async def stalled_readers(port: int, number: int) -> AsyncGenerator[None]:
    """Keep clients that ask for a stream, and read nothing of it, for the length of the block."""
    sockets: list[socket.socket] = []
    loop = asyncio.get_running_loop()
    try:
        for _ in range(number):
            sockets.append(client := socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, b"GET /accounts HTTP/1.1\r\nHost: test\r\n\r\n")
        yield
    finally:
        for client in sockets:
            with suppress(OSError):
                client.close()
