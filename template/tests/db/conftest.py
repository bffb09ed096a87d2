"""The fixtures of the layer's tests: as the project's, on a database with the probes' tables."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
import sqlalchemy as sa

from . import db, testing
from .models import ProbeBase


def pytest_configure(config: pytest.Config) -> None:
    # They run without the project's own conftest.py too.
    config.pluginmanager.import_plugin(testing.__name__)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database_settings(database_server: sa.URL) -> AsyncGenerator[db.DatabaseSettings]:
    async with testing.temporary_database(database_server) as settings:
        engine = db.create_engine(settings)
        async with engine.begin() as connection:
            await connection.run_sync(ProbeBase.metadata.create_all)
        await engine.dispose()
        yield settings
