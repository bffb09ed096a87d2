"""Put a service with two processes under load, and print what became of it as a line of JSON.

`python -m tests.db.layer_tests.probes.load load` or `... shutdown`.
"""

import asyncio
import ctypes
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import sqlalchemy as sa

from .. import db, testing
from ..faults.servers import BACKEND, hang_up_on_some, restart, restarting_server
from .clients import LEFT, REFUSED, STORED, Clients, stalled_readers
from .service import ACCOUNTS, BALANCE, NOTES, Account, Entry

SEED = 20_260_101
CLIENTS = 16
STALLED = 6
SECONDS = 12
# How long uvicorn waits for requests before it cancels them.
GRACEFUL = 3
# How soon both processes answer again once the server does.
SOON = 5
_IN_TRANSACTION = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND (xact_start IS NOT NULL OR state = 'active')",
    "mysql": "SELECT count(*) FROM information_schema.innodb_trx"
    " WHERE trx_mysql_thread_id <> connection_id()",
}
# A connection or a task that the service lost.
_LOST = re.compile(r"garbage collector|was destroyed|never retrieved|never awaited", re.IGNORECASE)

Figures = dict[str, object]


class Service:
    """A service in two processes, and the file of its output."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int) -> None:
        self.process, self.log, self.port = process, log, port

    async def processes(self, http: httpx.AsyncClient) -> dict[int, int]:
        """Return how many connections are in use, for each of the two processes."""
        found: dict[int, int] = {}
        async with asyncio.timeout(30):
            while len(found) < 2:
                answer = (await http.get("/pool")).json()
                found[answer["pid"]] = answer["in_use"]
        return found


@asynccontextmanager
async def serving(url: sa.URL, *options: str) -> AsyncGenerator[Service]:
    """Run the service in two processes for the length of the block."""
    log = Path("service.log")
    settings = {
        "DATABASE_URL": url.render_as_string(hide_password=False),
        # Fewer than the server has: see restarting_server.
        "DATABASE_POOL_SIZE": "4",
        "DATABASE_MAX_OVERFLOW": "3",
        "LOAD_NOTES": str(NOTES.absolute()),
    }
    command = [sys.executable, "-m", "uvicorn", f"{__package__}.service:app", "--workers=2"]
    follow = partial(ctypes.CDLL(None).prctl, 1, signal.SIGTERM)
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, "--port=0", "--no-access-log", *options],
            stdout=output,
            stderr=output,
            env=os.environ | settings,
            preexec_fn=follow if sys.platform == "linux" else None,
        ) as process,
    ):
        try:
            async with asyncio.timeout(60):
                while log.read_text().count("Application startup complete") < 2:
                    assert process.poll() is None, log.read_text()
                    await asyncio.sleep(0.05)
            port = int(re.findall(r"running on http://127\.0\.0\.1:(\d+)", log.read_text())[0])
            yield Service(process, log, port)
        finally:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, 30)
            finally:
                process.kill()


@asynccontextmanager
async def ground(server: sa.URL, *options: str) -> AsyncGenerator[tuple[db.Database, Service]]:
    """Give a witness of a new database, and a service on it."""
    async with testing.temporary_database(server) as settings:
        NOTES.write_text("")
        own = settings.model_copy(update={"pool_size": 1, "pool_pre_ping": True})
        async with db.Database(own) as witness:
            async with witness.engine.begin() as connection:
                await connection.run_sync(db.Base.metadata.create_all)
            async with witness.transaction() as session:
                session.add_all([Account(balance=BALANCE) for _ in range(ACCOUNTS)])
            async with serving(settings.url, *options) as service:
                yield witness, service


async def check(witness: db.Database, clients: Clients) -> Counter[str]:
    """Compare rows, callbacks and answers. Return how many transfers came to what."""
    async with witness.transaction(read_only=True) as session:
        entries = (await session.scalars(sa.select(Entry))).all()
        balances = dict((await session.execute(sa.select(Account.id, Account.balance))).all())
    notes = [line.split() for line in NOTES.read_text().splitlines()]
    called = Counter(name for kind, name in notes if kind == "callback")
    unknown = {name for kind, name in notes if kind == "unknown"}
    stored = Counter(entry.name for entry in entries)
    problems = list(clients.wrong)
    problems += [f"{name}: {n} rows" for name, n in stored.items() if n > 1]
    problems += [f"{name}: {n} callbacks" for name, n in called.items() if n > 1]
    for name, outcome in clients.transfers.items():
        is_stored, is_called = name in stored, name in called
        if outcome in (STORED, REFUSED) and is_stored != (outcome == STORED):
            problems.append(f"{name}: answered {outcome}, stored: {is_stored}")
        # Nobody knows whether a COMMIT without a reply took effect, so no callback runs.
        if is_called != (is_stored and name not in unknown):
            problems.append(f"{name}: {outcome}, stored: {is_stored}, callback: {is_called}")
    for entry in entries:
        balances[entry.source] += entry.amount
        balances[entry.target] -= entry.amount
    problems += [f"account {key}: {x}" for key, x in balances.items() if x != BALANCE]
    assert not problems, "\n".join(problems[:20])
    left = [name for name, outcome in clients.transfers.items() if outcome == LEFT]
    return Counter(
        stored=len(stored),
        unknown=len(unknown),
        left_stored=sum(name in stored for name in left),
    )


async def load(server: sa.URL) -> Figures:
    """Mixed requests while clients leave, connections are killed and the server restarts."""
    async with (
        ground(server, f"--timeout-graceful-shutdown={GRACEFUL}") as (witness, service),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=None) as http,
    ):
        clients = Clients(http, SEED)
        before = await service.processes(http)
        killed, seconds = 0, 0.0
        async with stalled_readers(service.port, STALLED), clients.busy(CLIENTS):
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                await asyncio.sleep(0.3)
                if BACKEND == "sqlite":
                    continue
                killed += await hang_up_on_some(witness, 2)
                if not seconds and time.monotonic() > end - SECONDS / 2:
                    async with asyncio.timeout(30):
                        await restart(witness)
                    seconds = await _answers_again(clients, set(before))
        async with asyncio.timeout(SOON):
            while any((after := await service.processes(http)).values()):
                await asyncio.sleep(0.1)
        assert after.keys() == before.keys(), "a process of the service died"
        if BACKEND != "sqlite":
            async with witness.session() as session:
                transactions = await session.scalar(sa.text(_IN_TRANSACTION[BACKEND]))
            assert transactions == 0, f"{transactions} transactions are open"
        said = service.log.read_text()
        lost = _LOST.search(said)
        assert not lost, said[lost.start() - 1000 : lost.end() + 5000]
        counts = await check(witness, clients)
    figures = _figures(clients, counts) | {"clients that read nothing": STALLED}
    if BACKEND != "sqlite":
        figures |= {
            "connections killed": killed,
            "server restarts": 1,
            "seconds until both processes answer again": f"{seconds:.2f}",
        }
    return figures


async def _answers_again(clients: Clients, processes: set[int]) -> float:
    """Return how many seconds it takes until each process has made a transfer."""
    began, chance, number = time.monotonic(), random.Random(SEED), 0
    while processes:
        number += 1
        async with httpx.AsyncClient(base_url=clients.http.base_url, timeout=None) as http:
            # A connection of its own reaches either process.
            probe = Clients(http, SEED, clients.answers, clients.transfers, clients.wrong)
            processes -= {await probe.transfer(f"again-{number}", chance)}
        assert time.monotonic() - began < SOON, "the service does not answer again"
    return time.monotonic() - began


async def shutdown(server: sa.URL) -> Figures:
    """SIGTERM while transfers are made, wait for their callbacks, and last too long."""
    async with (
        ground(server, f"--timeout-graceful-shutdown={GRACEFUL}") as (witness, service),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=None) as http,
    ):
        clients, chance = Clients(http, SEED), random.Random(SEED)
        async with stalled_readers(service.port, STALLED), clients.busy(CLIENTS):
            await asyncio.sleep(2)
            async with asyncio.TaskGroup() as group:
                for number in range(4):
                    # Its row is committed, and its callback still runs, when uvicorn cancels it.
                    work = clients.transfer(f"late-{number}", chance, callback=GRACEFUL + 2)
                    group.create_task(work)
                await asyncio.sleep(0.5)
                for number in range(1 if BACKEND == "sqlite" else 4):
                    work = clients.transfer(f"long-{number}", chance, hold=GRACEFUL + 10)
                    group.create_task(work)
                await asyncio.sleep(0.5)
                service.process.send_signal(signal.SIGTERM)
                began = time.monotonic()
                clients.stop()
                await asyncio.to_thread(service.process.wait, GRACEFUL + 12)
                seconds = time.monotonic() - began
        counts = await check(witness, clients)
    return _figures(clients, counts) | {"seconds from SIGTERM to the end": f"{seconds:.2f}"}


def _figures(clients: Clients, counts: Counter[str]) -> Figures:
    answers = clients.answers
    return {
        "requests": answers.total(),
        "answers 2xx": sum(n for status, n in answers.items() if 200 <= status < 300),
        "answers 4xx": sum(n for status, n in answers.items() if 400 <= status < 500),
        "answers 503": answers[503],
        "answers 500, all CommitOutcomeUnknown": answers[500],
        "clients that left": answers[0],
        "transfers stored, each once": counts["stored"],
        "of these for clients that left": counts["left_stored"],
        "units with CommitOutcomeUnknown": counts["unknown"],
    }


if __name__ == "__main__":
    with restarting_server() as url:
        print(json.dumps(asyncio.run({"load": load, "shutdown": shutdown}[sys.argv[1]](url))))
