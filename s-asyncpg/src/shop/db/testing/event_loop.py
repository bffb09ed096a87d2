"""Pytest hooks that run every test of the database in the event loop of its connections."""

import inspect
from collections.abc import Generator

import pytest

Nodes = pytest.Item | pytest.Collector | list[pytest.Item | pytest.Collector] | None


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pycollect_makeitem() -> Generator[None, Nodes, Nodes]:
    """Run each test of the database in the event loop of the session, whatever the settings say.

    A connection belongs to the loop that opened it. Other tests keep their own loop.
    """
    made = yield
    for item in made if isinstance(made, list) else [made]:
        if isinstance(item, pytest.Function) and "database_server" in item.fixturenames:
            # Hypothesis wraps a test in a function that is not asynchronous.
            wrapped = getattr(item.obj, "hypothesis", None)
            if inspect.iscoroutinefunction(wrapped.inner_test if wrapped else item.obj):
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
    return made


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Run an async fixture of such a test in the same event loop."""
    # PRIVATE: pytest FixtureDef.func: no hook gives the function of a fixture
    made = getattr(fixturedef.func, "__func__", fixturedef.func)
    if (
        fixturedef.scope != "function"
        or "database_server" not in request.fixturenames
        or not (inspect.iscoroutinefunction(made) or inspect.isasyncgenfunction(made))
    ):
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        # `pytest_asyncio.fixture` keeps the loop there. The next test may need another one.
        # PRIVATE: pytest-asyncio _loop_scope: the loop of a fixture is set at its decorator alone
        patch.setattr(made, "_loop_scope", "session", raising=False)
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a test of the database that AnyIO would run in another event loop."""
    if isinstance(item, pytest.Function) and {"anyio_backend", "database_server"} <= {
        *item.fixturenames
    }:
        pytest.fail(
            "a test of the database runs in the event loop of its connections: remove"
            " pytest.mark.anyio and the fixture anyio_backend, and write"
            ' @pytest_asyncio.fixture(loop_scope="session") at its async fixtures',
            pytrace=False,
        )
