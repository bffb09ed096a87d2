"""The fixtures of the tests: a real database, this service's tables in it."""

import pytest
from sqlalchemy import MetaData

# The metadata of your models, as in migrations/env.py.
from shop.models import metadata

pytest_plugins = ["shop.db.testing"]


@pytest.fixture(scope="session")
def database_metadata() -> MetaData:
    return metadata
