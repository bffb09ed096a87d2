"""Send a service legal requests, then hostile ones, and print what memory each kind cost."""

import asyncio
import gc
import random
import sys
from collections import Counter
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from uuid import uuid4

from httpx import ASGITransport, AsyncClient
from shop.app import create_app
from shop.db import Database

MB = 2**20
Request = tuple[str, str, dict[str, object]]
JSON = {"content-type": "application/json"}
chance = random.Random(1)


def word(length: int = 12) -> str:
    return "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=length))


def sorts() -> list[list[str]]:
    names = ("created_at", "email", "name")
    return [
        [f"{sign}{name}" for sign, name in zip(signs, order, strict=True)]
        for size in (1, 2, 3)
        for order in permutations(names, size)
        for signs in product(("", "-"), repeat=size)
    ]


SORTS = sorts()


def legal(number: int) -> Request:
    """Return one of many different requests that the service takes."""
    body: Callable[[], object] = lambda: {"email": f"{word()}@example.com", "name": word()}  # noqa: E731
    page = {
        "page": number % 9000 + 1,
        "size": number % 100 + 1,
        "sort": SORTS[number % len(SORTS)],
    }
    requests: list[Request] = [
        ("GET", "/users", {"params": page}),
        ("GET", f"/users/{uuid4()}", {}),
        ("GET", "/posts", {"params": {"tag": word(), "size": number % 100 + 1}}),
        ("POST", "/users", {"json": body()}),
        ("PUT", f"/posts/{uuid4()}/tags", {"json": [word() for _ in range(number % 21)]}),
    ]
    return requests[number % len(requests)]


def hostile(number: int) -> Request:
    """Return one of many different requests that no honest client sends."""
    names = [f"{chance.choice(('', '-'))}{chance.choice(('name', 'email'))}" for _ in range(1000)]
    requests: list[Request] = [
        ("GET", "/users", {"params": {"sort": names}}),
        ("GET", "/users", {"params": {"sort": [word(1000), word()]}}),
        ("GET", "/users", {"params": {"sort": ["name", "name", "-email"]}}),
        ("GET", "/users", {"params": {"page": 10**18 + number, "size": number}}),
        ("GET", f"/users/{word(2000)}", {}),
        ("GET", "/posts", {"params": {"cursor": word(900), "tag": word(40)}}),
        ("GET", "/posts", {"params": {"cursor": word(5000)}}),
        ("GET", f"/{word()}/{word()}", {}),
        ("POST", "/users", {"json": {word(): word() for _ in range(200)}}),
        ("POST", "/users", {"content": '{"email": "a\\ud800@b", "name": NaN}', "headers": JSON}),
        ("POST", "/users", {"json": {"email": f"{word(5000)}@b", "name": word(5000)}}),
        ("PUT", f"/posts/{uuid4()}/tags", {"json": [word() for _ in range(500)]}),
        ("PATCH", f"/posts/{uuid4()}", {"json": {"version": 10**4000, "title": word(300)}}),
    ]
    return requests[number % len(requests)]


def resident() -> float:
    """Return the resident memory of this process, in MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / MB


async def send(
    client: AsyncClient, kind: Callable[[int], Request], number_of_requests: int
) -> tuple[float, Counter[int]]:
    """Send requests of a kind, and return the memory after them and their answers."""
    answers: Counter[int] = Counter()
    for number in range(number_of_requests):
        method, path, arguments = kind(number)
        answers[(await client.request(method, path, **arguments)).status_code] += 1  # type: ignore[arg-type]
    return resident(), answers


async def main(number: int) -> None:
    app = create_app(Database())
    transport = ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        before = resident()
        after_legal, answers = await send(client, legal, number)
        print(f"{number} legal requests: {after_legal - before:.1f} MB, {dict(answers)}")
        after_hostile, answers = await send(client, hostile, number)
        print(f"{number} hostile requests: {after_hostile - after_legal:.1f} MB, {dict(answers)}")
        assert max(answers) < 500, answers
        assert after_hostile - after_legal <= 5


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
