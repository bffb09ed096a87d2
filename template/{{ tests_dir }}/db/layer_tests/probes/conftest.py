"""The database of the probes: their tables and no others."""

from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest_asyncio
import sqlalchemy as sa

from . import db, testing
from .models import ProbeBase


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database_template(database_server: sa.URL) -> AsyncGenerator[str]:
    """Create the probes' tables in a database that each test copies."""
    name = f"template_{uuid4().hex}"
    async with testing.temporary_database(database_server, name=name) as settings:
        async with db.Database(settings) as database, database.engine.begin() as connection:
            await connection.run_sync(ProbeBase.metadata.create_all)
        yield name
