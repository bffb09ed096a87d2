"""The fixtures of the layer's tests, whatever the project has under these names."""

import os

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

from . import testing

# The project may have others of these names, for its own tests.
database = testing.database
fresh_database = testing.fresh_database
committed = testing.committed
session = testing.session
query_log = testing.query_log
# They run without the project's own conftest.py too.
pytest_configure = testing.pytest_configure


@pytest.fixture(autouse=True)
def _in_the_loop_of_the_database(database_server: sa.URL) -> None:
    """Run each test of the layer in the session's event loop, whatever the settings say."""


@pytest.fixture
def revisions(database_alembic: Config) -> list[Script]:
    """Return the project's revisions, the newest first."""
    # There may be another `database_template`, without migrations.
    if not database_alembic.file_config.has_section("alembic"):
        pytest.skip("there are no migrations")
    revisions = [*ScriptDirectory.from_config(database_alembic).walk_revisions()]
    return revisions or pytest.skip("there is no revision yet")


@pytest.fixture
def new_revisions(
    revisions: list[Script], database_alembic: Config, revisions_after: str
) -> list[Script]:
    """Return the revisions that follow the one of `revisions_after`, the newest first."""
    mark = os.environ.get("TEST_REVISIONS_AFTER") or revisions_after
    later = ScriptDirectory.from_config(database_alembic).iterate_revisions("heads", mark)
    names = {revision.revision for revision in later if revision}
    return [x for x in revisions if x.revision in names] or pytest.skip(f"none follows {mark}")
