"""The fixtures of the layer's tests: as the project's, on a database with the probes' tables."""

from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa

from . import db, testing
from .models import ProbeBase

# The project may have others of these names, for its own tests.
database = testing.database
fresh_database = testing.fresh_database
committed = testing.committed
session = testing.session
query_log = testing.query_log
make = testing.make


def pytest_configure(config: pytest.Config) -> None:
    # They run without the project's own conftest.py too.
    if not config.pluginmanager.has_plugin(testing.__name__):
        config.pluginmanager.register(testing, testing.__name__)


@pytest.fixture(autouse=True)
def _in_the_loop_of_the_database(database_server: sa.URL) -> None:
    """Have each test of the layer run in the session's event loop, whatever the settings say."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database_template(database_server: sa.URL) -> AsyncGenerator[str]:
    name = f"template_{uuid4().hex}"
    async with testing.temporary_database(database_server, name=name) as settings:
        async with db.Database(settings) as database, database.engine.begin() as connection:
            await connection.run_sync(ProbeBase.metadata.create_all)
        yield name
