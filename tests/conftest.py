"""What every test starts from: the template as it lies here, and a way to render it."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, cast

import faults
import pytest
from harness import Answers, Project, Template, isolate_git, missing_server

isolate_git()

# What is laid into a rendered service is collected there.
collect_ignore = ["rendered"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a server that cannot be had here, unless every server is required."""
    for item in items:
        if not item.get_closest_marker("server") or os.environ.get("REQUIRE_ALL_SERVERS") == "1":
            continue
        params: Mapping[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
        mutated = getattr(params.get("mutation"), "driver", "aiosqlite")
        driver = {**params, **params.get("answers", {})}.get("driver", mutated)
        if missing := missing_server(driver):
            item.add_marker(pytest.mark.skip(reason=missing))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was survived, and how much was left out: no green run must look like a whole one."""
    stats: dict[str, list[pytest.TestReport]] = terminalreporter.stats
    ended = [*stats.get("passed", []), *stats.get("failed", [])]
    told = [value for report in ended for name, value in report.user_properties if name == "fault"]
    if told:
        for line in faults.table(faults.Fault(*fault) for fault in cast("list[list[Any]]", told)):
            terminalreporter.write_line(line)
    reports = stats.get("skipped", [])
    reasons = Counter(
        str(report.longrepr[2]) for report in reports if isinstance(report.longrepr, tuple)
    )
    for reason, number in reasons.items():
        terminalreporter.write_line(f"{number} left out: {reason.removeprefix('Skipped: ')}")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The working tree, as a release."""
    return Template.snapshot(tmp_path_factory.mktemp("template"))


@pytest.fixture
def render(template: Template) -> Callable[..., Project]:
    """`render(driver="asyncpg")`: a project of the test's own."""
    return template.render


@pytest.fixture
def ask(template: Template) -> Callable[..., Answers]:
    """`ask(driver="asyncpg")`: what the questions make of these answers, with nothing rendered."""
    return template.ask
