"""Ask a service for an answer of every kind, through a client that was generated for it."""

import asyncio
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from client import Client
from client.models import PostCreate, PostStatus, PostUpdate, Problem, UserCreate
from httpx import ASGITransport, AsyncClient
from shop import service
from shop.app import create_app
from shop.db import Database, NotWritable, PoolExhausted
from shop.models import User

answered: dict[str, set[int]] = {}


async def ask(client: Client, endpoint: str, status: int, **arguments: Any) -> Any:
    """Return what the client makes of an answer, which must have this status."""
    [name] = [x for x in NAMES if x.rpartition(".")[2].startswith(endpoint)]
    answer = await import_module(name).asyncio_detailed(client=client, **arguments)
    assert answer.status_code == status, (endpoint, answer.content)
    answered.setdefault(endpoint, set()).add(status)
    if status >= 400 and not (endpoint == "ready" and status == 503):
        assert isinstance(answer.parsed, Problem), answer
        assert (answer.parsed.status, bool(answer.parsed.detail)) == (status, True)
    elif status != 204 and endpoint != "export_posts":
        assert answer.parsed is not None and answer.parsed != answer.content, answer
    return answer.parsed


ROOT = Path(import_module("client").__file__ or "").parent
NAMES = [
    f"client.api.{file.parent.name}.{file.stem}"
    for file in sorted(ROOT.glob("api/*/*.py"))
    if file.stem != "__init__"
]


async def opened(database: Database, work: Any) -> None:
    """Do the work with a client of a service on this database."""
    app = create_app(database)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(
            transport=ASGITransport(app, raise_app_exceptions=False), base_url="http://test"
        ) as http,
    ):
        await work(
            Client("http://test", raise_on_unexpected_status=True).set_async_httpx_client(http)
        )


async def expected(client: Client) -> None:
    """Ask what a service answers when all is well, or when the client is wrong."""
    new, missing = UserCreate(email="ada@example.com", name="Ada"), uuid4()
    user = await ask(client, "create_user", 201, body=new)
    await ask(client, "create_user", 409, body=new)
    await ask(client, "create_user", 422, body=UserCreate(email="ada", name="Ada"))
    await ask(client, "get_user", 200, key=user.id)
    await ask(client, "get_user", 404, key=missing)
    await ask(client, "list_users", 200)
    await ask(client, "list_users", 422, size=1000)
    await ask(client, "list_users", 200, name_contains="a", created_at_isnull=False)
    await ask(client, "list_users", 422, page=0)
    post = PostCreate(title="SQL", body="...", status=PostStatus.PUBLISHED, tags=["orm"])
    await ask(client, "create_post", 404, key=missing, body=post)
    created = await ask(client, "create_post", 201, key=user.id, body=post)
    change = PostUpdate(version=7, title="ORM")
    await ask(client, "update_post", 409, key=created.id, body=change)
    await ask(client, "get_post", 200, key=created.id)
    await ask(client, "set_tags", 200, key=created.id, body=["sql"])
    await ask(client, "list_posts", 200)
    await ask(client, "list_posts", 422, cursor="2")
    await ask(client, "list_tags", 200)
    await ask(client, "export_posts", 200)
    await ask(client, "delete_post", 204, key=created.id)
    await ask(client, "restore_post", 200, key=created.id)
    await ask(client, "live", 200)
    await ask(client, "ready", 200)
    for error, status in ((NotWritable(User, ["a"], []), 500), (PoolExhausted("busy"), 503)):

        async def fail(*_: object, error: Exception = error) -> Mapping[str, object]:
            raise error

        for name in ("get_user", "get_post"):
            setattr(service, name, fail)
            await ask(client, name, status, key=missing)


async def outage(client: Client) -> None:
    """Ask what a service answers without its database."""
    await ask(client, "ready", 503)


async def main() -> None:
    database = Database()
    await opened(database, expected)
    url = database.settings.url.set(database=sys.argv[1])
    await opened(Database(database.settings.model_copy(update={"url": url})), outage)
    kinds = sorted(set().union(*answered.values()))
    print(f"decoded {sum(map(len, answered.values()))} answers of {kinds}")


asyncio.run(main())
