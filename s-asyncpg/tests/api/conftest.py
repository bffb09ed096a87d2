"""What the tests of the API start from: a client whose requests reach the test's database."""

from collections.abc import AsyncGenerator

import pytest_asyncio
from httpx import ASGITransport, AsyncClient

from shop.app import create_app
from shop.db import Database


@pytest_asyncio.fixture(loop_scope="session")
async def client(database: Database) -> AsyncGenerator[AsyncClient]:
    """The service without a server; what its requests commit is gone after the test.

    They go one after another: for some at the same moment, take `fresh_database` instead.
    """
    app = create_app(database)
    # httpx starts no application: without its lifespan there would be no database.
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://test") as client,
    ):
        yield client
