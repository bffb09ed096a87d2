"""Which units read from a replica, and what happens while a replica is down."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from . import db
from .models import Author
from .proxy import Proxy, proxy
from .replicas import ReplicatedDatabase, ReplicatedSettings

Open = Callable[[ReplicatedDatabase], AbstractAsyncContextManager[AsyncSession]]

ONE = sa.select(sa.literal(1))

READING: dict[str, Open] = {
    "reader": lambda database: database.reader(),
    "read_only": lambda database: database.transaction(read_only=True),
    "repeatable_read": lambda database: database.transaction(
        isolation_level="REPEATABLE READ", read_only=True
    ),
}
OTHERS: dict[str, Open] = {
    "session": lambda database: database.session(),
    "transaction": lambda database: database.transaction(),
    # A replica cannot promise that all transactions have one order.
    "serializable": lambda database: database.transaction(
        isolation_level="SERIALIZABLE", read_only=True
    ),
}


@pytest_asyncio.fixture(loop_scope="session")
async def replicas(
    fresh_database: db.Database,
) -> AsyncGenerator[tuple[ReplicatedSettings, dict[int | None, Proxy]]]:
    """Settings with two replicas, and by port the networks to them: both lead to the primary."""
    primary = fresh_database.settings.url
    async with proxy(primary) as (one, first), proxy(primary) as (two, second):
        settings = ReplicatedSettings(
            url=primary,
            replica_urls=(first, second),
            pool_size=5,
            pool_pre_ping=False,
            connect_timeout=0.5,
            statement_timeout=1,
        )
        yield settings, {first.port: one, second.port: two}


async def port_of(unit: AbstractAsyncContextManager[AsyncSession]) -> int | None:
    """Return the port of the server that a unit reads from."""
    async with unit as session:
        assert await session.scalar(ONE) == 1
        return session.get_bind().engine.url.port


async def until_all_answer(database: ReplicatedDatabase, ports: set[int | None]) -> None:
    answering: set[int | None] = set()
    async with asyncio.timeout(10):
        while answering != ports:
            await asyncio.sleep(0.1)
            answering = {await port_of(database.reader()) for _ in range(4)}


@pytest.mark.parametrize("unit", READING.values(), ids=READING)
async def test_units_that_only_read_use_each_replica_in_turn(
    replicas: tuple[ReplicatedSettings, dict[int | None, Proxy]], unit: Open
) -> None:
    settings, networks = replicas
    async with ReplicatedDatabase(settings) as database:
        ports = [await port_of(unit(database)) for _ in range(4)]
    assert ports[:2] == ports[2:]
    assert set(ports) == networks.keys()


@pytest.mark.parametrize("unit", OTHERS.values(), ids=OTHERS)
async def test_all_other_units_use_the_primary(
    replicas: tuple[ReplicatedSettings, dict[int | None, Proxy]], unit: Open
) -> None:
    settings, _ = replicas
    async with ReplicatedDatabase(settings) as database:
        assert await port_of(unit(database)) == settings.url.port


async def test_without_replicas_the_primary_is_read(fresh_database: db.Database) -> None:
    settings = ReplicatedSettings(url=fresh_database.settings.url)
    async with ReplicatedDatabase(settings) as database:
        assert await port_of(database.reader()) == settings.url.port


async def test_a_unit_on_a_replica_cannot_write(
    replicas: tuple[ReplicatedSettings, dict[int | None, Proxy]],
) -> None:
    async with ReplicatedDatabase(replicas[0]) as database:
        for unit in READING.values():
            with pytest.raises(db.ReadOnly):
                async with unit(database) as session:
                    session.add(Author(email="ada@example.com"))
                    await session.flush()


async def test_run_and_gather_are_refused_in_a_unit_on_a_replica(
    replicas: tuple[ReplicatedSettings, dict[int | None, Proxy]],
) -> None:
    async def work(session: AsyncSession) -> None: ...

    async with ReplicatedDatabase(replicas[0]) as database, database.reader() as session:
        await session.scalar(ONE)
        for method in (database.run, database.gather):
            with pytest.raises(RuntimeError, match="inside a transaction"):
                await method(work)


async def test_a_silent_replica_costs_one_timeout_and_is_read_again_once_it_answers(
    replicas: tuple[ReplicatedSettings, dict[int | None, Proxy]],
) -> None:
    settings, networks = replicas
    async with ReplicatedDatabase(settings) as database:
        port = await port_of(database.reader())
        networks[port].silence()
        # One of these notices it; after that, none waits.
        await asyncio.gather(*[port_of(database.reader()) for _ in range(2)])
        async with asyncio.timeout(0.9):
            ports = {await port_of(database.reader()) for _ in range(10)}
        assert ports == networks.keys() - {port}
        networks[port].restore()
        await until_all_answer(database, {*networks})


async def test_the_primary_is_read_while_no_replica_answers(
    replicas: tuple[ReplicatedSettings, dict[int | None, Proxy]],
) -> None:
    settings, networks = replicas
    for network in networks.values():
        network.silence()
    async with ReplicatedDatabase(settings) as database:
        assert await port_of(database.reader()) == settings.url.port
        for network in networks.values():
            network.restore()
        await until_all_answer(database, {*networks})


async def test_a_replica_is_read_again_after_its_password_was_not_available(
    replicas: tuple[ReplicatedSettings, dict[int | None, Proxy]],
) -> None:
    settings, networks = replicas
    passwords = [settings.url.password or ""]
    async with ReplicatedDatabase(settings, password=lambda: passwords[0]) as database:
        for network in networks.values():
            network.silence()
        assert await port_of(database.reader()) == settings.url.port
        password = passwords.pop()
        for network in networks.values():
            network.restore()
        # The replicas are asked after a second, which fails.
        await asyncio.sleep(1.5)
        passwords.append(password)
        await until_all_answer(database, {*networks})


async def test_no_unit_fails_because_a_replica_cut_its_connections_before(
    replicas: tuple[ReplicatedSettings, dict[int | None, Proxy]],
) -> None:
    settings, networks = replicas
    async with ReplicatedDatabase(settings) as database:
        for _ in range(3):
            # Twice each: the first use of a connection is not tested.
            for _ in range(4):
                await port_of(database.reader())
            for network in networks.values():
                await network.reset()
            assert {await port_of(database.reader()) for _ in range(4)} == networks.keys()


async def test_closing_ends_the_connections_to_replicas_and_the_wait_for_those_that_are_down(
    replicas: tuple[ReplicatedSettings, dict[int | None, Proxy]],
) -> None:
    settings, networks = replicas
    async with ReplicatedDatabase(settings) as database:
        async with database.reader() as session:
            await session.scalar(ONE)
            engine = session.get_bind().engine
        for network in networks.values():
            network.silence()
        # The connection that is in the pool already is tested, and that takes two seconds at most.
        assert await port_of(database.reader()) == settings.url.port
        assert waiting() == 2
    await asyncio.sleep(0)
    assert waiting() == 0
    assert "Connections in pool: 0" in engine.pool.status()
    for network in networks.values():
        network.restore()
    async with database:
        assert await port_of(database.reader()) in networks


def waiting() -> int:
    return sum("ReplicatedDatabase" in repr(task) for task in asyncio.all_tasks())


def test_replica_urls_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (f"{db.settings.DRIVER}://ada:secret@{host}/shop" for host in ("one", "two"))
    monkeypatch.setenv("DATABASE_REPLICA_URLS", f"{one} {two}")
    settings = ReplicatedSettings()
    assert [url.host for url in settings.replica_urls] == ["one", "two"]
    assert "secret" not in repr(settings) + settings.model_dump_json()


def test_a_replica_without_a_user_takes_the_user_and_password_of_the_primary() -> None:
    driver = db.settings.DRIVER
    settings = ReplicatedSettings.model_validate(
        {
            "url": f"{driver}://ada:secret@primary/shop",
            "replica_urls": f"{driver}://one/shop {driver}://ada@two/shop {driver}://bob@three/shop",
        }
    )
    names = [(url.username, url.password) for url in settings.replica_urls]
    assert names == [("ada", "secret"), ("ada", "secret"), ("bob", None)]


def test_an_argument_url_does_not_take_replicas_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = sa.make_url(f"{db.settings.DRIVER}://ada@here/shop")
    monkeypatch.setenv("DATABASE_REPLICA_URLS", f"{db.settings.DRIVER}://ada@there/shop")
    assert ReplicatedSettings(url=url).replica_urls == ()


def test_a_wrong_replica_url_is_named_by_its_setting() -> None:
    with pytest.raises(ValueError, match="DATABASE_REPLICA_URLS is for oracle"):
        ReplicatedSettings.model_validate({"replica_urls": "oracle+oracledb://db.example/shop"})
