"""The application's answers to those who watch it."""

from httpx import AsyncClient


async def test_it_is_ready_when_the_database_answers(client: AsyncClient) -> None:
    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health/ready")).json()["ok"] is True


async def test_in_an_outage_it_lives_and_is_not_ready(outage: AsyncClient) -> None:
    assert (await outage.get("/health/live")).status_code == 200
    ready = await outage.get("/health/ready")
    assert (ready.status_code, ready.json()["ok"]) == (503, False)
    assert ready.json()["error"]


async def test_it_documents_itself(client: AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert {"/health/live", "/health/ready"} <= paths.keys()
