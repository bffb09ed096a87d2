"""What the API promises of posts and their tags."""

import json
from uuid import UUID

import pytest_asyncio
from httpx import AsyncClient

from shop.db import Key

MISSING = {int: "1000000", UUID: "01890a5d-ac96-774b-bcce-b302099a8057"}[Key]
POST = {"title": "First", "body": "...", "status": "published", "tags": ["sql", "Orm"]}


@pytest_asyncio.fixture(loop_scope="session")
async def author(client: AsyncClient) -> str:
    """The path of a user."""
    created = await client.post("/users", json={"email": "ada@example.com", "name": "Ada"})
    return f"/users/{created.json()['id']}"


async def create_post(client: AsyncClient, author: str, **values: object) -> str:
    """The path of a new post."""
    created = await client.post(f"{author}/posts", json=POST | values)
    assert created.status_code == 201, created.text
    return f"/posts/{created.json()['id']}"


async def test_a_post_comes_with_its_author_and_its_tags(client: AsyncClient, author: str) -> None:
    post = (await client.get(await create_post(client, author))).json()
    assert post.items() > {"title": "First", "status": "published", "version": 1}.items()
    assert post["author"]["name"] == "Ada"
    assert [tag["name"] for tag in post["tags"]] == ["orm", "sql"]


async def test_a_post_has_an_author_who_is_there(client: AsyncClient, author: str) -> None:
    assert (await client.post(f"/users/{MISSING}/posts", json=POST)).status_code == 404
    await client.delete(author)
    assert (await client.post(f"{author}/posts", json=POST)).status_code == 404


async def test_of_two_who_change_a_post_the_second_is_told(
    client: AsyncClient,
    author: str,
) -> None:
    path = await create_post(client, author)

    changed = await client.patch(path, json={"version": 1, "title": "Second"})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)

    refused = await client.patch(path, json={"version": 1, "title": "Third"})
    assert (refused.status_code, refused.json()["title"]) == (409, "Conflict")
    assert (await client.get(path)).json()["title"] == "Second"


async def test_a_change_names_the_version_it_is_based_on(client: AsyncClient, author: str) -> None:
    path = await create_post(client, author)
    assert (await client.patch(path, json={"title": "Second"})).status_code == 422


async def test_a_deleted_post_is_gone_until_it_is_restored(
    client: AsyncClient,
    author: str,
) -> None:
    path = await create_post(client, author)
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404

    restored = await client.post(f"{path}/restore")
    assert restored.json() == (await client.get(path)).json()


async def test_readers_see_published_posts_newest_first(client: AsyncClient, author: str) -> None:
    await create_post(client, author, title="Draft", status="draft")
    for title in ("First", "Second", "Third"):
        await create_post(client, author, title=title)
    await create_post(client, author, title="Other", tags=[])

    page = (await client.get("/posts", params={"tag": "SQL", "size": 2})).json()
    rest = (await client.get("/posts", params={"tag": "SQL", "cursor": page["next"]})).json()

    titles = [post["title"] for post in [*page["items"], *rest["items"]]]
    assert titles == ["Third", "Second", "First"]
    assert (page["previous"], rest["next"]) == (None, None)


async def test_a_cursor_that_is_none_is_refused(client: AsyncClient) -> None:
    refused = await client.get("/posts", params={"cursor": "2"})
    assert (refused.status_code, refused.json()["status"]) == (422, 422)


async def test_the_tags_of_a_post_are_replaced(client: AsyncClient, author: str) -> None:
    path = await create_post(client, author)
    changed = await client.put(f"{path}/tags", json=["sql", "async", "async"])
    assert [tag["name"] for tag in changed.json()["tags"]] == ["async", "sql"]
    assert changed.json() == (await client.get(path)).json()

    tags = (await client.get("/tags")).json()
    assert [tag["name"] for tag in tags] == ["async", "orm", "sql"]
    too_many = await client.put(f"{path}/tags", json=[f"{number}" for number in range(40_000)])
    assert too_many.status_code == 422


async def test_the_published_posts_are_exported_one_a_line(
    client: AsyncClient,
    author: str,
) -> None:
    paths = [await create_post(client, author) for _ in range(3)]
    await create_post(client, author, status="draft")

    export = await client.get("/posts.jsonl")

    assert export.headers["content-type"].startswith("application/jsonl")
    lines = [json.loads(line) for line in export.text.splitlines()]
    assert lines == [(await client.get(path)).json() for path in paths]
