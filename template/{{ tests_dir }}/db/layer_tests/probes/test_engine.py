"""An engine where the network or the server fails, and what it tells of its work."""

import asyncio
import logging
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from . import db
from .proxy import Proxy, proxy

ONE = sa.select(sa.literal(1))


@pytest_asyncio.fixture(loop_scope="session")
async def far(fresh_database: db.Database) -> AsyncGenerator[tuple[db.Database, Proxy]]:
    """A database at the other end of a network that may fail, and that network."""
    if not fresh_database.settings.url.host:
        pytest.skip("there is no network between this database and the tests")
    async with proxy(fresh_database.settings.url) as (network, url):
        settings = db.DatabaseSettings(
            url=url,
            pool_size=2,
            max_overflow=0,
            pool_pre_ping=True,
            connect_timeout=2,
            statement_timeout=1,
        )
        async with db.Database(settings) as database:
            yield database, network


async def test_a_server_that_falls_silent_in_a_transaction_is_noticed(
    far: tuple[db.Database, Proxy],
) -> None:
    database, network = far
    async with asyncio.timeout(10):
        with pytest.raises(db.DataLayerError):
            async with database.transaction() as session:
                await session.scalar(ONE)
                network.silence()
                await session.scalar(ONE)
    network.restore()
    async with database.transaction() as session:
        assert await session.scalar(ONE) == 1


async def test_a_server_that_stops_reading_a_long_statement_is_noticed(
    far: tuple[db.Database, Proxy],
) -> None:
    database, network = far
    async with asyncio.timeout(10):
        with pytest.raises(db.DataLayerError):
            async with database.transaction() as session:
                await session.scalar(ONE)
                network.silence()
                # More than the buffers of the sockets hold.
                await session.scalar(sa.select(sa.literal("x" * 15_000_000)))
    network.restore()
    async with database.transaction() as session:
        assert await session.scalar(ONE) == 1


async def test_a_server_that_falls_silent_before_the_commit_is_noticed(
    far: tuple[db.Database, Proxy],
) -> None:
    database, network = far
    # On MySQL a COMMIT may take 20 s, since a cluster waits so long for a node that has died.
    async with asyncio.timeout(30):
        with pytest.raises(db.DataLayerError):
            async with database.transaction() as session:
                await session.scalar(ONE)
                network.silence()


async def test_a_server_that_is_silent_when_a_connection_is_taken_is_noticed(
    far: tuple[db.Database, Proxy],
) -> None:
    database, network = far
    async with database.session() as first, database.session() as second:
        await first.scalar(ONE)
        await second.scalar(ONE)
    network.silence()
    async with asyncio.timeout(10):
        with pytest.raises(db.Unavailable):
            async with database.transaction() as session:
                await session.scalar(ONE)
    network.restore()
    async with asyncio.timeout(10), database.session() as first, database.session() as second:
        assert await first.scalar(ONE) == await second.scalar(ONE) == 1


async def test_a_server_that_accepts_and_says_nothing_is_given_up(
    far: tuple[db.Database, Proxy],
) -> None:
    database, network = far
    network.silence()
    # As a migration has it, whose statements take as long as they must.
    settings = database.settings.model_copy(update={"command_timeout": 0})
    async with asyncio.timeout(5), db.Database(settings) as other:
        with pytest.raises(db.Unavailable):
            async with other.session() as session:
                await session.scalar(ONE)


async def test_ping_is_over_in_time_while_the_server_is_silent(
    far: tuple[db.Database, Proxy],
) -> None:
    database, network = far
    assert (await database.ping()).ok
    network.silence()
    async with asyncio.timeout(1):
        assert not (await database.ping(0.1)).ok
    network.restore()
    assert (await database.ping()).ok


# When an engine first connects, SQLAlchemy itself asks the database who it is.


async def test_a_server_that_falls_silent_at_the_first_use_is_noticed(
    far: tuple[db.Database, Proxy],
) -> None:
    database, network = far

    def silence(*_: object) -> None:
        network.silence()

    event.listen(database.engine.sync_engine, "connect", silence, insert=True, once=True)
    async with asyncio.timeout(10):
        with pytest.raises(db.DataLayerError):
            async with database.session() as session:
                await session.scalar(ONE)
    network.restore()
    async with database.session() as session:
        assert await session.scalar(ONE) == 1


async def test_a_first_use_that_is_cancelled_is_cancelled_and_no_more(
    fresh_database: db.Database,
) -> None:
    async def use() -> int | None:
        async with database.session() as session:
            return await session.scalar(ONE)

    def cancel(*_: object) -> None:
        task.cancel()

    async with db.Database(fresh_database.settings) as database:
        event.listen(database.engine.sync_engine, "connect", cancel, insert=True, once=True)
        task = asyncio.create_task(use())
        await asyncio.wait([task])
        assert task.cancelled()
        assert await use() == 1
        assert database.pool_status().in_use == 0


async def test_the_pool_replaces_connections_that_the_network_cut(
    far: tuple[db.Database, Proxy],
) -> None:
    database, network = far
    for _ in range(3):
        async with database.session() as first, database.session() as second:
            assert await first.scalar(ONE) == await second.scalar(ONE) == 1
        await network.reset()


async def test_a_pool_of_ones_own_takes_the_place_of_the_layers(
    fresh_database: db.Database,
) -> None:
    settings = fresh_database.settings.model_copy(update={"pool_size": 2})
    for kind in (NullPool, AsyncAdaptedQueuePool):
        async with db.Database(settings, poolclass=kind) as database:
            assert type(database.engine.pool) is kind
            async with database.session() as session:
                assert await session.scalar(ONE) == 1


async def test_the_password_is_asked_for_at_each_new_connection(
    fresh_database: db.Database,
) -> None:
    if not fresh_database.settings.url.host:
        pytest.skip("this database asks for no password")
    asked: list[str] = []

    def password() -> str:
        asked.append("at once")
        return ""

    async def later() -> str:
        await asyncio.sleep(0)
        asked.append("later")
        return ""

    # Without a pool each session would be another connection.
    settings = fresh_database.settings.model_copy(update={"pool_size": 2})
    for source in (password, later):
        async with db.Database(settings, password=source) as database:
            async with database.session() as first, database.session() as second:
                await first.scalar(ONE)
                await second.scalar(ONE)
            async with database.session() as again:
                await again.scalar(ONE)
    assert asked == ["at once", "at once", "later", "later"]


async def test_a_slow_statement_is_logged_without_its_parameters(
    fresh_database: db.Database, caplog: pytest.LogCaptureFixture
) -> None:
    statement = sa.select(sa.literal("a secret").label("what_is_said"))
    for threshold, count in ((1e-9, 1), (0, 0), (600, 0)):
        update = {"slow_query_threshold": threshold}
        settings = fresh_database.settings.model_copy(update=update)
        async with db.Database(settings) as database:
            with caplog.at_level(logging.WARNING):
                caplog.clear()
                async with database.session() as session:
                    await session.scalar(statement)
        slow = [line for line in caplog.messages if "what_is_said" in line]
        assert len(slow) == count
        assert "a secret" not in caplog.text


async def test_a_statement_that_fails_is_logged_if_it_was_slow(
    fresh_database: db.Database, caplog: pytest.LogCaptureFixture
) -> None:
    for threshold in (0, 1e-9):
        settings = fresh_database.settings.model_copy(update={"slow_query_threshold": threshold})
        async with db.Database(settings) as database:
            with caplog.at_level(logging.WARNING), pytest.raises((db.DataLayerError, DBAPIError)):
                async with database.session() as session:
                    await session.execute(sa.text("SELECT missing FROM nowhere"))
        assert ("SELECT missing FROM nowhere" in caplog.text) == bool(threshold)


async def test_a_failure_to_connect_names_the_settings_and_no_password(
    fresh_database: db.Database,
) -> None:
    url = fresh_database.settings.url
    if not url.host:
        pytest.skip("there is no network between this database and the tests")
    secret = url.set(port=1, password="hidden").update_query_dict({"sslpassword": "secret"})
    settings = db.DatabaseSettings(url=secret, connect_timeout=2)
    async with db.Database(settings) as database:
        with pytest.raises(db.Unavailable, match=r"DATABASE_URL is") as raised:
            async with database.session() as session:
                await session.scalar(ONE)
        health = await database.ping()
    for told in (str(raised.value), repr(raised.value), str(health), repr(settings)):
        assert "hidden" not in told
    assert "secret" not in f"{raised.value} {health}"


async def test_a_server_that_hangs_up_while_a_driver_connects_is_unavailable(
    fresh_database: db.Database,
) -> None:
    async def connect(*_: object, **options: object) -> None:
        raise RuntimeError("Transport does not expose socket instance")

    arguments = {"async_creator_fn": connect}
    async with db.Database(fresh_database.settings, connect_args=arguments) as database:
        with pytest.raises(db.Unavailable, match="cannot connect: Transport"):
            async with database.session() as session:
                await session.scalar(ONE)


async def test_a_host_that_can_be_no_name_is_told_of(fresh_database: db.Database) -> None:
    if not fresh_database.settings.url.host:
        pytest.skip("this database has no host")
    settings = db.DatabaseSettings(url=fresh_database.settings.url.set(host="db..example"))
    async with db.Database(settings) as database:
        with pytest.raises(db.Unavailable, match="cannot connect"):
            async with database.session() as session:
                await session.scalar(ONE)


async def test_ping_tells_that_no_password_could_be_had(fresh_database: db.Database) -> None:
    if not fresh_database.settings.url.host:
        pytest.skip("this database asks for no password")

    async def password() -> str:
        raise LookupError("the vault is closed")

    async with db.Database(fresh_database.settings, password=password) as database:
        assert (await database.ping()).error == "the vault is closed"


# Where a server tells who is connected.
WHO = {
    "postgresql": "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    "mysql": "SELECT attr_value FROM performance_schema.session_account_connect_attrs"
    " WHERE processlist_id = connection_id() AND attr_name = 'program_name'",
}


async def test_the_server_is_told_who_is_connected(fresh_database: db.Database) -> None:
    backend = fresh_database.settings.url.get_backend_name()
    if backend not in WHO:
        pytest.skip("there is no server that could be told")
    settings = fresh_database.settings.model_copy(update={"application_name": "the tests"})
    async with db.Database(settings) as database, database.session() as session:
        if backend == "mysql" and not await session.scalar(sa.text("SELECT @@performance_schema")):
            pytest.skip("performance_schema is off, as MariaDB has it by default")
        assert await session.scalar(sa.text(WHO[backend])) == "the tests"


async def test_a_service_with_a_long_name_connects(fresh_database: db.Database) -> None:
    if not fresh_database.settings.url.host:
        pytest.skip("there is no server that could be told")
    settings = fresh_database.settings.model_copy(update={"application_name": "é" * 300})
    async with db.Database(settings) as database, database.session() as session:
        assert await session.scalar(ONE) == 1


async def test_a_parameter_of_the_url_that_nobody_knows_is_named(
    fresh_database: db.Database,
) -> None:
    url = fresh_database.settings.url
    if not url.host:
        pytest.skip("SQLAlchemy itself warns of it")
    settings = db.DatabaseSettings(url=url.update_query_dict({"unheard_of": "1"}))
    async with db.Database(settings) as database:
        with pytest.raises(db.Unavailable, match="unheard_of"):
            async with database.session() as session:
                await session.scalar(ONE)
