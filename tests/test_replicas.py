"""Replicas: real servers that follow a primary and are stopped, and the starter that uses them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import SERVER_DRIVERS, Project, tiered

Render = Callable[..., Project]
RENDERED = Path(__file__).parent / "rendered"

# Prints which class the application opens, and how many replicas its settings name.
START = """
import asyncio
from shop.app import create_app

async def main() -> None:
    app = create_app()
    async with app.router.lifespan_context(app):
        database = app.state.database
        urls = getattr(database.settings, "replica_urls", ())
        print(f"opened {type(database).__name__}: {len(urls)}")

asyncio.run(main())
"""


@pytest.mark.parametrize("driver", tiered(["asyncpg", "psycopg"], "asyncpg"))
def test_a_replica_that_stops_fails_no_unit_that_begins_after_it(
    render: Render, driver: str
) -> None:
    project = render(driver=driver, extras=["replicas", "probes"])
    file = "tests/db/layer_tests/probes/test_replica_servers.py"
    project[file] = (RENDERED / "replicas.py").read_text("utf-8")
    output = project.run("python", "-m", "pytest", "-q", "-s", file)
    for line in output.splitlines():
        if "FAULT " in line:
            print(f"{driver}: {line.partition('FAULT ')[2]}")


@pytest.mark.server
@pytest.mark.parametrize("driver", tiered(SERVER_DRIVERS, "asyncpg", "asyncmy"))
def test_a_service_passes_the_layers_tests_of_replicas(render: Render, driver: str) -> None:
    project = render(driver=driver, extras=["replicas", "probes"])
    project.run("pytest", "-q", "tests/db/layer_tests/probes/test_replicas.py")


@pytest.mark.parametrize("extras", [[], ["replicas"]])
def test_the_starter_opens_the_database_that_was_chosen(render: Render, extras: list[str]) -> None:
    project = render(driver="asyncpg", web="fastapi", extras=extras)
    url = f"{project.answers['drivername']}://ada:secret@127.0.0.1"
    settings = {
        "DATABASE_URL": f"{url}/shop",
        "DATABASE_REPLICA_URLS": f"{url}:5433/shop {url}:5434/shop",
    }
    expected = "opened ReplicatedDatabase: 2" if extras else "opened Database: 0"
    assert expected in project.run("python", "-c", START, **settings)
