"""What the application tells those who watch it, and what it answers in an outage."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest_asyncio
from httpx import ASGITransport, AsyncClient

from shop.app import create_app
from shop.db import Database


@pytest_asyncio.fixture(loop_scope="session")
async def outage(database: Database, tmp_path: Path) -> AsyncGenerator[AsyncClient]:
    """The service, when its database is not there."""
    url = database.settings.url.set(database=str(tmp_path))
    app = create_app(Database(database.settings.model_copy(update={"url": url})))
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://test") as client,
    ):
        yield client


async def test_it_is_ready_when_the_database_answers(client: AsyncClient) -> None:
    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health/ready")).json()["ok"] is True


async def test_in_an_outage_it_lives_and_is_not_ready(outage: AsyncClient) -> None:
    assert (await outage.get("/health/live")).status_code == 200
    ready = await outage.get("/health/ready")
    assert (ready.status_code, ready.json()["ok"]) == (503, False)
    assert ready.json()["error"]


async def test_in_an_outage_requests_are_told_to_come_again(outage: AsyncClient) -> None:
    refused = await outage.get("/users")
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0


async def test_it_documents_itself(client: AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert {"/users", "/posts/{key}", "/tags", "/health/ready"} <= paths.keys()
