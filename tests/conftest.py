"""The start of every test: the template as it lies here, and a way to render it."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import faults
import pytest
import report
from certificates import make_certificates
from harness import (
    Answers,
    Project,
    Template,
    compile_templates_once,
    isolate_git,
    missing_server,
    read_templates_once,
)

isolate_git()
compile_templates_once()
read_templates_once()

# What is laid into a rendered service is collected there.
collect_ignore = ["rendered"]


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Say what the run does while it lasts, where pytest does not list each test by itself."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if isinstance(terminal, pytest.TerminalReporter) and config.option.verbose <= 0:
        config.pluginmanager.register(report.Progress(terminal))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a server that cannot be had here, unless every server is required."""
    for item in items:
        driver = report.driver_of(item)
        if driver:
            item.user_properties.append(("driver", driver))
        if not item.get_closest_marker("server") or os.environ.get("REQUIRE_ALL_SERVERS") == "1":
            continue
        if missing := missing_server(driver or "aiosqlite"):
            item.add_marker(pytest.mark.skip(reason=missing))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was proved, and how much was left out: no green run must look like a whole one."""
    stats: dict[str, list[pytest.TestReport]] = terminalreporter.stats
    passed, skipped = stats.get("passed", []), stats.get("skipped", [])
    for line in report.table(passed) if passed else ():
        terminalreporter.write_line(line)
    ended = [*passed, *stats.get("failed", [])]
    met = [value for each in ended for name, value in each.user_properties if name == "fault"]
    if met:
        for line in faults.table(faults.Fault(*fault) for fault in cast("list[list[Any]]", met)):
            terminalreporter.write_line(line)
    reasons = Counter(str(each.longrepr[2]) for each in skipped if isinstance(each.longrepr, tuple))
    for reason, number in reasons.items():
        terminalreporter.write_line(f"{number} left out: {reason.removeprefix('Skipped: ')}")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The working tree, as a release."""
    return Template.snapshot(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an authority, its certificate for localhost, and another authority."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def render(template: Template) -> Callable[..., Project]:
    """`render(driver="asyncpg")`: a project of the test's own."""
    return template.render


@pytest.fixture
def ask(template: Template) -> Callable[..., Answers]:
    """`ask(driver="asyncpg")`: what the questions make of these answers, with nothing rendered."""
    return template.ask
