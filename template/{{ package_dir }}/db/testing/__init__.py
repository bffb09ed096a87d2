"""A pytest plugin for tests on the real database: a conftest.py imports its `pytest_configure`."""

import sys

import pytest

from .event_loop import pytest_fixture_setup, pytest_pycollect_makeitem, pytest_runtest_setup
from .fixtures import (
    committed,
    database,
    database_alembic,
    database_metadata,
    database_server,
    database_template,
    fresh_database,
    guards_accept,
    migrate_to_head,
    prepare_database,
    pytest_configure_node,
    query_log,
    revisions_after,
    session,
    shared_databases,
    temporary_database,
)
from .query_log import QueryLog

__all__ = [
    "QueryLog",
    "committed",
    "database",
    "database_alembic",
    "database_metadata",
    "database_server",
    "database_template",
    "fresh_database",
    "guards_accept",
    "migrate_to_head",
    "prepare_database",
    "pytest_configure",
    "pytest_configure_node",
    "pytest_fixture_setup",
    "pytest_pycollect_makeitem",
    "pytest_runtest_setup",
    "query_log",
    "revisions_after",
    "session",
    "shared_databases",
    "temporary_database",
]


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin. In a conftest.py at any depth this works; `pytest_plugins` does not."""
    if not config.pluginmanager.has_plugin(__name__):
        config.pluginmanager.register(sys.modules[__name__], __name__)
