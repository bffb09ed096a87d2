"""A pytest plugin for tests on the real database, which tests/conftest.py names."""

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
    "pytest_configure_node",
    "pytest_fixture_setup",
    "pytest_pycollect_makeitem",
    "pytest_runtest_setup",
    "query_log",
    "session",
    "shared_databases",
    "temporary_database",
]
