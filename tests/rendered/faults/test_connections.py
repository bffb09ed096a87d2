"""The way to the server, and the server at its end."""

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from .. import db
from ..models import Author
from ..proxy import proxy
from .ground import Ground, Unit, insert, together
from .servers import (
    BACKEND,
    forbid_writes,
    hang_up_on_all,
    has_server,
    no_connection_left,
    restart,
    url_of_a_service,
)

pytestmark = has_server


async def test_server_restarted_between_requests(ground: Ground) -> None:
    async def fault(number: int) -> None:
        await restart(ground.witness)
        await ground.add(f"{number}")

    await ground.check()
    await ground.survive(fault, 3)


async def test_connection_killed_while_idle(ground: Ground) -> None:
    async def fault(number: int) -> None:
        await hang_up_on_all(ground.witness)
        await ground.add(f"{number}")

    await ground.check()
    await ground.survive(fault, 20)


async def test_connection_killed_in_a_transaction(ground: Ground) -> None:
    async def fault(number: int) -> None:
        attempts = 0

        async def work(session: AsyncSession) -> None:
            nonlocal attempts
            attempts += 1
            await insert(session, f"{number}")
            if attempts == 1:
                await hang_up_on_all(ground.witness)
            await session.scalar(sa.select(sa.func.count(Unit.id)))

        await ground.database.run(work)
        ground.expected[f"{number}"] = 0
        assert attempts == 2

    await ground.survive(fault, 20)


async def test_connection_killed_before_commit(ground: Ground) -> None:
    called: list[str] = []

    async def fault(number: int) -> None:
        async def work(session: AsyncSession) -> None:
            await insert(session, f"{number}")
            db.on_commit(session, lambda: called.append(f"{number}"))
            await hang_up_on_all(ground.witness)

        # That COMMIT did not arrive cannot be known on this side.
        with pytest.raises(db.CommitOutcomeUnknown):
            await ground.database.run(work)

    await ground.survive(fault, 20)
    assert called == []


async def test_reply_to_commit_lost(ground: Ground) -> None:
    async with (
        proxy(ground.database.settings.url) as (network, url),
        ground.using(url=url) as database,
    ):

        async def fault(number: int) -> None:
            def lose(_connection: sa.Connection) -> None:
                network.lose_the_next_reply()

            event.listen(database.engine.sync_engine, "commit", lose, once=True)
            with pytest.raises(db.CommitOutcomeUnknown):
                await database.run(lambda session: insert(session, f"{number}"))
            ground.expected[f"{number}"] = 0

        await ground.survive(fault, 20)


async def test_connection_reset(ground: Ground) -> None:
    async with (
        proxy(ground.database.settings.url) as (network, url),
        ground.using(url=url) as database,
    ):

        async def fault(number: int) -> None:
            attempts = 0

            async def work(session: AsyncSession) -> None:
                nonlocal attempts
                attempts += 1
                await insert(session, f"{number}")
                if attempts == 1:
                    await network.reset()
                await session.scalar(sa.select(sa.func.count(Unit.id)))

            await database.run(work)
            ground.expected[f"{number}"] = 0
            assert attempts == 2
            # And once more, between two units.
            await network.reset()
            await ground.add(f"{number} again")

        await ground.survive(fault, 20)


async def test_packets_swallowed(ground: Ground) -> None:
    async with (
        proxy(ground.database.settings.url) as (network, url),
        ground.using(url=url, command_timeout=1.0) as database,
    ):

        async def fault(number: int) -> None:
            with pytest.raises(db.Unavailable):
                async with database.transaction() as session:
                    await insert(session, f"{number}")
                    network.silence()
                    await session.scalar(sa.select(sa.func.count(Unit.id)))
            network.restore()
            await ground.add(f"{number} again")

        await ground.survive(fault, 3)


async def test_server_out_of_connections(ground: Ground) -> None:
    async def fault(number: int) -> None:
        async with ground.using() as database, no_connection_left(ground.witness):
            with pytest.raises(db.Unavailable):
                async with database.transaction() as session:
                    await insert(session, f"{number}")
            assert database.pool_status().in_use == 0
        await ground.add(f"{number} again")

    await ground.survive(fault, 5)


async def test_server_made_read_only(ground: Ground) -> None:
    url = await url_of_a_service(ground.witness)
    async with ground.using(url=url) as database:

        async def fault(number: int) -> None:
            attempts = 0

            async def work(session: AsyncSession) -> None:
                nonlocal attempts
                attempts += 1
                if attempts == 2:
                    await forbid_writes(ground, forbidden=False)
                await insert(session, f"{number}")

            await ground.add(f"{number} before")
            await forbid_writes(ground)
            await database.run(work)
            assert attempts == 2
            ground.expected[f"{number}"] = 0

        await ground.survive(fault, 10)


async def test_table_changed_under_prepared_statements(ground: Ground) -> None:
    change = "ALTER value TYPE {}" if BACKEND == "postgresql" else "MODIFY value {} NOT NULL"
    await ground.add("the one")

    async def fault(number: int) -> None:
        changed = False

        async def work(session: AsyncSession) -> None:
            unit = (await session.scalars(sa.select(Unit))).one()
            assert unit.name == "the one"
            await session.execute(sa.update(Unit).values(value=Unit.value + 1))

        async def work_meanwhile(session: AsyncSession) -> None:
            nonlocal changed
            await session.scalar(sa.select(Author.id).limit(1))
            if not changed:
                kind = ("BIGINT", "INTEGER")[number % 2]
                async with ground.witness.transaction() as other:
                    await other.execute(sa.text(f"ALTER TABLE fault_units {change.format(kind)}"))
                changed = True
            await work(session)

        async def work_twice() -> None:
            await together([ground.database.run(work), ground.database.run(work)])

        # Often enough for every driver to prepare it, on every connection.
        for _ in range(6):
            await work_twice()
        await ground.database.run(work_meanwhile)
        await work_twice()
        ground.expected["the one"] += 15

    await ground.survive(fault, 10)
