"""The fixtures of the layer's tests, whatever the project has under these names."""

import pytest
import sqlalchemy as sa

from . import testing

# The project may have others of these names, for its own tests.
database = testing.database
fresh_database = testing.fresh_database
committed = testing.committed
session = testing.session
query_log = testing.query_log


def pytest_configure(config: pytest.Config) -> None:
    # They run without the project's own conftest.py too.
    if not config.pluginmanager.has_plugin(testing.__name__):
        config.pluginmanager.register(testing, testing.__name__)


@pytest.fixture(autouse=True)
def _in_the_loop_of_the_database(database_server: sa.URL) -> None:
    """Have each test of the layer run in the session's event loop, whatever the settings say."""
