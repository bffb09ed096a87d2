"""What the API promises of users."""

import logging
from uuid import UUID

import pytest
from httpx import AsyncClient

from shop.db import Key

ADA = {"email": "ada@example.com", "name": "Ada"}
MISSING = {int: "1000000", UUID: "01890a5d-ac96-774b-bcce-b302099a8057"}[Key]


async def test_a_user_is_created_and_found(client: AsyncClient) -> None:
    created = await client.post("/users", json=ADA | {"email": "Ada@Example.com"})
    assert created.status_code == 201
    assert created.json().items() > ADA.items()

    found = await client.get(f"/users/{created.json()['id']}")
    assert (found.status_code, found.json()) == (200, created.json())


async def test_a_new_user_is_welcomed_once_they_are_committed(
    client: AsyncClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        await client.post("/users", json=ADA)
    assert "welcome, Ada" in caplog.text


async def test_an_address_is_taken_once(client: AsyncClient) -> None:
    await client.post("/users", json=ADA)
    refused = await client.post("/users", json=ADA)
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json() == {
        "title": "Conflict",
        "status": 409,
        "detail": "another resource has the same value",
        "fields": ["email"],
    }


@pytest.mark.parametrize(
    "change",
    [{"email": "ada"}, {"email": "a\x00@b"}, {"name": " "}, {"name": "\x00"}, {"is_admin": True}],
)
async def test_a_user_who_cannot_be_is_refused(
    client: AsyncClient,
    change: dict[str, object],
) -> None:
    refused = await client.post("/users", json={**ADA, **change})
    assert refused.status_code == 422


async def test_a_user_who_is_not_there_is_not_found(client: AsyncClient) -> None:
    assert (await client.get(f"/users/{MISSING}")).status_code == 404


@pytest.mark.parametrize("key", ["ada", 2**63])
async def test_a_key_that_cannot_be_is_refused(client: AsyncClient, key: object) -> None:
    assert (await client.get(f"/users/{key}")).status_code == 422


async def test_a_change_leaves_the_rest_as_it_is(client: AsyncClient) -> None:
    user = (await client.post("/users", json=ADA)).json()
    changed = await client.patch(f"/users/{user['id']}", json={"name": "Ada Lovelace"})
    assert changed.status_code == 200
    assert changed.json().items() > {"email": ADA["email"], "name": "Ada Lovelace"}.items()


async def test_a_name_cannot_be_taken_away(client: AsyncClient) -> None:
    user = (await client.post("/users", json=ADA)).json()
    refused = await client.patch(f"/users/{user['id']}", json={"name": None})
    assert (refused.status_code, refused.json()["fields"]) == (422, ["name"])


async def test_a_deleted_user_is_gone_until_they_are_restored(client: AsyncClient) -> None:
    user = (await client.post("/users", json=ADA)).json()
    path = f"/users/{user['id']}"

    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404
    assert (await client.delete(path)).status_code == 404

    assert (await client.post(f"{path}/restore")).status_code == 200
    assert (await client.get(path)).status_code == 200


async def test_a_deleted_user_stays_so_while_someone_has_their_address(client: AsyncClient) -> None:
    user = (await client.post("/users", json=ADA)).json()
    await client.delete(f"/users/{user['id']}")
    await client.post("/users", json=ADA)
    refused = await client.post(f"/users/{user['id']}/restore")
    assert (refused.status_code, refused.json()["fields"]) == (409, [])


async def test_users_come_in_pages(client: AsyncClient) -> None:
    for name in ("carol", "ada", "bob"):
        await client.post("/users", json={"email": f"{name}@example.com", "name": name})
    listed = await client.get("/users", params={"sort": "email", "size": 2, "number": 2})
    page = listed.json()
    assert [user["name"] for user in page["items"]] == ["carol"]
    assert page.items() > {"number": 2, "size": 2, "total": 3}.items()


async def test_users_are_sorted_by_what_is_allowed_and_nothing_else(client: AsyncClient) -> None:
    refused = await client.get("/users", params={"sort": "metadata"})
    assert (refused.status_code, refused.json()["fields"]) == (422, ["metadata"])
    repeated = await client.get("/users", params={"sort": ["name", "name"]})
    assert (repeated.status_code, repeated.json()["fields"]) == (422, ["name"])
    endless = await client.get("/users", params={"sort": ["name"] * 3000})
    assert (endless.status_code, endless.json()["fields"]) == (422, ["sort"])
