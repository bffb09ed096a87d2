"""One server for all faults, a database for each, and the list of those that were survived."""

import json
import os
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio
import sqlalchemy as sa

from .. import db, testing
from .ground import Ground
from .servers import restarting_server


@pytest.fixture(scope="session")
def database_server() -> Generator[sa.URL]:
    with restarting_server() as url:
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def ground(
    request: pytest.FixtureRequest, database_server: sa.URL, database_template: str
) -> AsyncGenerator[Ground]:
    async with testing.temporary_database(database_server, template=database_template) as settings:
        service = settings.model_copy(update={"pool_size": 2, "max_overflow": 0})
        other = settings.model_copy(update={"pool_size": 1, "pool_pre_ping": True})
        async with db.Database(service) as database, db.Database(other) as witness:
            ground = Ground(database, witness)
            yield ground
    report(request, ground)


class Survived(Protocol):
    """How often a fault happened, and how often it was survived."""

    times: int
    survived: int
    simulated: bool


def report(request: pytest.FixtureRequest, outcome: Survived) -> None:
    """Add the outcome of a test to the report."""
    fault = request.node.name.removeprefix("test_").replace("_", " ")
    fault += " (simulated)" * outcome.simulated
    if file := os.environ.get("FAULTS_REPORT"):
        with Path(file).open("a") as lines:
            print(json.dumps([fault, outcome.survived, outcome.times]), file=lines)
