"""The fixtures keep the promises of src/.../db/testing/."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from uuid import uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from . import db, testing
from .models import Author, Book, Placement


async def _emails(database: db.Database) -> list[str]:
    async with database.session() as session:
        return list(await session.scalars(sa.select(Author.email).order_by(Author.email)))


async def _add(database: db.Database, email: str) -> None:
    async with database.transaction() as session:
        session.add(Author(email=email))


@pytest.mark.parametrize("time", ["first", "second"])
async def test_nothing_of_a_test_stays(database: db.Database, time: str) -> None:
    assert await _emails(database) == []
    await _add(database, "ada@example.com")
    assert await _emails(database) == ["ada@example.com"]


@pytest.mark.parametrize("time", ["first", "second"])
async def test_nothing_of_a_test_stays_where_commits_are_real(
    fresh_database: db.Database, time: str
) -> None:
    assert await _emails(fresh_database) == []
    await _add(fresh_database, "ada@example.com")


async def test_code_under_test_may_roll_back_and_go_on(database: db.Database) -> None:
    await _add(database, "ada@example.com")
    with pytest.raises(db.UniqueViolation):
        await _add(database, "ada@example.com")
    await _add(database, "bob@example.com")
    assert await _emails(database) == ["ada@example.com", "bob@example.com"]


async def test_two_transactions_of_a_fresh_database_work_at_the_same_moment(
    fresh_database: db.Database,
) -> None:
    async with fresh_database.transaction() as writing:
        writing.add(Author(email="ada@example.com"))
        await writing.flush()
        async with fresh_database.transaction(read_only=True) as reading:
            assert await reading.scalar(sa.select(sa.func.count(Author.id))) == 0
    assert await _emails(fresh_database) == ["ada@example.com"]


async def test_statements_are_counted_but_not_those_that_manage_a_transaction(
    database: db.Database, query_log: testing.QueryLog
) -> None:
    with query_log.expect(2):
        async with database.transaction() as session:
            # The server fills in nothing, which MySQL would have to be asked for.
            session.add(Placement(shelf="A", place=1, price=Decimal(1)))
        await _emails(database)
    with query_log.expect(at_most=1):
        await _emails(database)


async def test_a_wrong_count_fails_and_shows_what_was_sent(
    database: db.Database, query_log: testing.QueryLog
) -> None:
    shown = r"expected 2 statements, and 1 were sent:\n  1\. SELECT probe_authors\.email FROM"
    with pytest.raises(pytest.fail.Exception, match=shown), query_log.expect(2):
        await _emails(database)
    with (
        pytest.raises(pytest.fail.Exception, match="expected at most 1 statements, and 2"),
        query_log.expect(at_most=1),
    ):
        await _emails(database)
        await _emails(database)


async def test_statements_of_a_fresh_database_are_counted(
    fresh_database: db.Database, query_log: testing.QueryLog
) -> None:
    with query_log.expect(1):
        await _emails(fresh_database)


@pytest.mark.asyncio(loop_scope="function")
async def test_a_test_of_the_database_runs_in_the_loop_of_its_connections(
    database: db.Database,
) -> None:
    assert await _emails(database) == []


@pytest_asyncio.fixture(loop_scope="function")
async def loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def test_what_such_a_test_takes_is_made_in_that_loop(loop: asyncio.AbstractEventLoop) -> None:
    assert loop is asyncio.get_running_loop()


async def test_what_is_due_after_a_commit_is_noted_and_not_called(
    database: db.Database, committed: list[Callable[[], object]]
) -> None:
    called: list[str] = []
    async with database.transaction() as session:
        db.on_commit(session, lambda: called.append("kept"))
    with pytest.raises(ValueError, match="rolled back"):
        async with database.transaction() as session:
            db.on_commit(session, lambda: called.append("dropped"))
            raise ValueError("rolled back")
    assert called == []
    await db.session.run_callbacks(committed)
    assert called == ["kept"]


async def test_a_reader_undoes_nothing_that_was_committed_meanwhile(database: db.Database) -> None:
    async with database.reader() as reader:
        assert await reader.scalar(sa.select(Author.email)) is None
        await _add(database, "ada@example.com")
    assert await _emails(database) == ["ada@example.com"]


async def test_works_of_gather_take_turns(database: db.Database) -> None:
    async def work(session: AsyncSession) -> int:
        session.add(Author(email=f"{uuid4()}@example.com"))
        await session.flush()
        return await session.scalar(sa.select(sa.func.count(Author.id))) or 0

    assert await database.gather(work, work, work) == (1, 2, 3)


async def test_units_of_different_tasks_take_turns(database: db.Database) -> None:
    async def unit(name: str) -> None:
        async with database.transaction() as session:
            session.add(Author(email=f"{name}@example.com"))
            await session.flush()
            await asyncio.sleep(0.01)
            if name == "eve":
                raise ValueError(name)

    results = await asyncio.gather(*map(unit, ("ada", "eve", "bob")), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), ValueError, type(None)]
    # The unit that failed took no other one with it.
    assert sorted(await _emails(database)) == ["ada@example.com", "bob@example.com"]


async def test_a_unit_that_waits_for_its_own_parent_is_refused(database: db.Database) -> None:
    database.settings = database.settings.model_copy(update={"pool_timeout": 0.1})
    async with database.transaction():
        with pytest.raises(RuntimeError, match="Take `fresh_database` for parallel units"):
            await asyncio.create_task(_add(database, "ada@example.com"))
        # The same task opens another one.
        await _add(database, "eve@example.com")
    assert await _emails(database) == ["eve@example.com"]


async def test_the_engine_is_outside_of_a_test(database: db.Database) -> None:
    with pytest.raises(RuntimeError, match="take `fresh_database`"):
        _ = database.engine
    assert (await database.ping()).ok


async def test_an_isolation_level_is_accepted(database: db.Database) -> None:
    async with database.transaction(isolation_level="SERIALIZABLE") as session:
        assert await session.scalar(sa.select(sa.func.count(Author.id))) == 0


async def test_a_test_that_anyio_would_run_is_refused(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    test: pytest.Function = request.node
    monkeypatch.setattr(test, "fixturenames", [*test.fixturenames, "anyio_backend"])
    with pytest.raises(pytest.fail.Exception, match=r"remove pytest\.mark\.anyio and"):
        testing.pytest_runtest_setup(test)


def test_the_probes_take_no_name_from_the_projects_models() -> None:
    # `Mapped["Book"]` is looked for among all models of one registry.
    assert sa.inspect(Book).registry is not db.Base.registry
