"""Another server takes the place of the primary, while units of work go on."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from .. import db
from ..proxy import Proxy, proxy
from .cluster import Node, pair
from .conftest import report
from .ground import FACTOR, PATIENCE, Unit, insert, together
from .servers import only

pytestmark = only("postgresql", why="the standby is one of PostgreSQL's")

WRITERS = 5


class Ledger:
    """Writers that note what they have committed, and how long each unit took."""

    def __init__(self, database: db.Database, network: Proxy) -> None:
        self.database = database
        # Between the writers and the primary.
        self.network = network
        self.committed: list[str] = []
        self.longest = 0.0
        self._stop = False
        self._count = 0

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[None]:
        """Let all writers write for the length of the block. A unit that fails is an error."""
        async with asyncio.TaskGroup() as group:
            for writer in range(WRITERS):
                group.create_task(self._write(writer))
            try:
                yield
            finally:
                self._stop = True

    async def _write(self, writer: int) -> None:
        while not self._stop:
            self._count += 1
            name, began = f"{writer} {self._count}", time.monotonic()
            await self._commit(name)
            self.committed.append(name)
            self.longest = max(self.longest, time.monotonic() - began)
            await asyncio.sleep(0.005)

    async def _commit(self, name: str) -> None:
        try:
            await self.database.run(lambda session: insert(session, name))
        except db.CommitOutcomeUnknown:
            # As its message says: look for the rows.
            if not await self.database.run(lambda session: is_there(session, name)):
                await self._commit(name)

    async def progress(self) -> None:
        """Wait until each writer has committed once more, and then some."""
        before = len(self.committed)
        async with asyncio.timeout(30):
            while len(self.committed) < before + 10 * WRITERS:
                await asyncio.sleep(0.01)

    async def check(self, node: Node) -> None:
        """Compare what was committed with the rows of the server."""
        settings = self.database.settings.model_copy(update={"url": node.url})
        async with db.Database(settings) as database, database.session() as session:
            names = (await session.scalars(sa.select(Unit.name))).all()
        assert sorted(names) == sorted(self.committed)
        assert self.database.pool_status().in_use == 0


async def is_there(session: AsyncSession, name: str) -> bool:
    return await session.scalar(sa.select(Unit.id).where(Unit.name == name)) is not None


def settings_of(*urls: sa.URL, attribute: str = "read-write") -> db.DatabaseSettings:
    """Return a worker's settings for several servers."""
    hosts = tuple(f"{url.host}:{url.port}" for url in urls)
    query = {"host": hosts, "target_session_attrs": attribute}
    url = urls[0].set(host="", port=None).update_query_dict(query)
    # A worker's: nobody waits for its units.
    worker = {"pool_size": WRITERS, "max_overflow": 0, "retry_for": 30.0, "connect_timeout": 2.0}
    return db.DatabaseSettings(url=url).model_copy(update=worker)


async def create_tables(node: Node) -> None:
    settings = db.DatabaseSettings(url=node.url)
    async with db.Database(settings) as database, database.engine.begin() as connection:
        await connection.run_sync(Unit.metadata.create_all)


Fault = Callable[[Node, Node, Ledger], Awaitable[Node]]


class Failovers:
    """How often a failover happened, how often it was survived, and the longest unit."""

    def __init__(self) -> None:
        self.times = FACTOR
        self.survived = 0
        self.simulated = False
        self.longest = 0.0

    async def survive(self, fault: Fault) -> None:
        """Have a failover happen to new servers, and compare the rows with the ledger."""
        for _ in range(self.times):
            async with pair() as (primary, standby), proxy(primary.url) as (network, url):
                await create_tables(primary)
                async with db.Database(settings_of(url, standby.url)) as database:
                    ledger = Ledger(database, network)
                    async with asyncio.timeout(PATIENCE), ledger.writing():
                        await ledger.progress()
                        winner = await fault(primary, standby, ledger)
                        await ledger.progress()
                    await ledger.check(winner)
            self.survived += 1
            self.longest = max(self.longest, ledger.longest)


@pytest.fixture
def failovers(request: pytest.FixtureRequest) -> Generator[Failovers]:
    failovers = Failovers()
    yield failovers
    report(request, failovers)
    print(f"SECONDS {request.node.name}: the longest unit took {failovers.longest:.1f} s")


async def kill_and_promote(primary: Node, standby: Node, ledger: Ledger, seconds: float) -> Node:
    primary.kill()
    await asyncio.sleep(seconds)
    await standby.promote()
    return standby


async def test_standby_promoted_2_s_after_the_primary_died(failovers: Failovers) -> None:
    await failovers.survive(partial(kill_and_promote, seconds=2))


async def test_standby_promoted_5_s_after_the_primary_died(failovers: Failovers) -> None:
    await failovers.survive(partial(kill_and_promote, seconds=5))


async def test_first_host_silent(failovers: Failovers) -> None:
    async def fault(primary: Node, standby: Node, ledger: Ledger) -> Node:
        ledger.network.silence()
        await standby.promote()
        return standby

    await failovers.survive(fault)
    # A new process finds out that a host is silent, and may be asked before: by /health/ready.
    async with pair() as (_, standby), proxy(standby.url) as (network, url):
        await standby.promote()
        network.silence()
        async with db.Database(settings_of(url, standby.url)) as database:
            assert not (await database.ping(timeout=1.5)).ok
            assert (await database.ping(timeout=1.5)).ok
        async with db.Database(settings_of(url, standby.url)) as database:
            for limit in (database.settings.connect_timeout + 0.5, 0.5):
                async with asyncio.timeout(limit):
                    # At the same time, so that each has a connection of its own.
                    await together(database.run(sleep) for _ in range(2))


async def sleep(session: AsyncSession) -> None:
    await session.execute(sa.select(sa.func.pg_sleep(0.1)))


async def test_switch_over_without_dropped_connections(failovers: Failovers) -> None:
    async def fault(primary: Node, standby: Node, ledger: Ledger) -> Node:
        await primary.execute(
            "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"
        )
        # The units that had begun before may still commit.
        await asyncio.sleep(1)
        await standby.promote()
        return standby

    await failovers.survive(fault)


async def refuse_writes(node: Node) -> None:
    """See that no unit is lost on a server that only reads, also if the URL has no other."""
    async with db.Database(db.DatabaseSettings(url=node.url, retry_for=0)) as database:
        for level in (None, "SERIALIZABLE"):
            with pytest.raises(db.Unavailable, match="the server only reads"):
                await database.run(lambda session: insert(session, "lost"), isolation_level=level)
        assert not (await database.ping()).ok


PORT = sa.select(sa.func.inet_server_port())


async def choose(standby: Node, primary: Node) -> None:
    """See that `target_session_attrs` chooses the server, in whichever order the hosts are."""
    writes, reads = [primary.port] * 2, [standby.port] * 2
    for attribute, ports in {
        **dict.fromkeys(("read-write", "primary"), writes),
        **dict.fromkeys(("read-only", "standby", "prefer-standby"), reads),
        "any": [standby.port, primary.port],
    }.items():
        found: list[int | None] = []
        for urls in ((standby.url, primary.url), (primary.url, standby.url)):
            settings = settings_of(*urls, attribute=attribute)
            async with db.Database(settings) as database, database.reader() as session:
                found.append(await session.scalar(PORT))
        assert found == ports


async def test_old_primary_back_as_a_standby(failovers: Failovers) -> None:
    async def fault(primary: Node, standby: Node, ledger: Ledger) -> Node:
        await kill_and_promote(primary, standby, ledger, seconds=1)
        await ledger.progress()
        await primary.follow(standby)
        await refuse_writes(primary)
        await choose(primary, standby)
        await ledger.progress()
        return await kill_and_promote(standby, primary, ledger, seconds=1)

    await failovers.survive(fault)
