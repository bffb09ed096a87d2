"""Tests for benchmarks/programs.py: each in turn by the layer's fixture, by hand, and empty."""

import importlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from benchmarks.ground import plain_engine


class _Settings(Protocol):
    url: sa.URL


TAGS = sa.table("tags", sa.column("id", sa.Uuid()), sa.column("name", sa.String()))
# pytest imports this module for its tests, and benchmarks/programs.py for where it lies.
PACKAGE = os.environ.get("BENCHMARK_PACKAGE")
in_the_session = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(database_server: sa.URL, database_template: str) -> AsyncGenerator[AsyncEngine]:
    testing = importlib.import_module(f"{PACKAGE}.db.testing")
    copy: AbstractAsyncContextManager[_Settings]
    copy = testing.temporary_database(database_server, template=database_template)
    async with copy as settings:
        engine = plain_engine(settings.url)
        yield engine
        await engine.dispose()


# As SQLAlchemy has it: a session that joins an outer transaction. In two fixtures, as
# the layer has them, since each takes its time.
@pytest_asyncio.fixture(loop_scope="session")
async def connection(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    async with engine.connect() as connection:
        transaction = await connection.begin()
        yield connection
        await transaction.rollback()


@pytest_asyncio.fixture(loop_scope="session")
async def by_hand(connection: AsyncConnection) -> AsyncGenerator[AsyncSession]:
    async with AsyncSession(connection, join_transaction_mode="create_savepoint") as session:
        yield session


@pytest_asyncio.fixture(loop_scope="session")
async def nothing() -> AsyncGenerator[None]:
    yield


async def _write(session: AsyncSession) -> None:
    await session.execute(sa.insert(TAGS).values(id=uuid4(), name="a name"))
    await session.commit()


Test = Callable[..., Awaitable[None]]


def _tests() -> tuple[Test, Test, Test]:
    @in_the_session
    async def layer(session: AsyncSession) -> None:
        await _write(session)

    @in_the_session
    async def hand(by_hand: AsyncSession) -> None:
        await _write(by_hand)

    @in_the_session
    async def empty(nothing: None) -> None:
        pass

    return layer, hand, empty


# In turn: pytest runs tests in the order in which they were defined. The one that comes after an
# empty test takes longer for that, so it is one time the layer's, the next time the other.
for _number in range(int(os.environ.get("BENCHMARK_TESTS", "0"))):
    _layer, _hand, _empty = zip(("layer", "hand", "empty"), _tests(), strict=True)
    for _name, _test in (_layer, _hand, _empty) if _number % 2 else (_hand, _layer, _empty):
        globals()[f"test_{_name}_{_number:04}"] = _test
