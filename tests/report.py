"""The output of a run: what it does while it lasts, and a table of what was proved."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from harness import DRIVERS

# The proof that the tests of each module give, in the order of the table.
KINDS = {
    "test_service": "a rendered service works",
    "test_starter": "a service begins with a blog or none",
    "test_day": "a day's work in a service goes well",
    "test_project_files": "README, compose and CI fit the answers",
    "test_mutations": "a change to the layer fails its test",
    "test_cures": "a trap of Copier's is avoided, or noticed",
    "test_faults": "no fault loses or doubles a unit",
    "test_load": "a load loses nothing, and ends",
    "test_properties": "pages and bulk writes hold for any rows",
    "test_galera": "a cluster loses nothing either",
    "test_hostile": "hostile requests cost no memory",
    "test_openapi": "a generated client reads every answer",
    "test_replicas": "reads go to replicas, writes never",
    "test_pgbouncer": "PgBouncer may be between",
    "test_tls": "connections are encrypted as asked",
    "test_mysql_connections": "connections of MySQL end in time",
    "test_urls": "a provider's URL is understood",
    "test_handbook": "the handbook runs, and its tables are true",
    "test_patterns": "each pattern has a place and a test",
    "test_templates": "the template's files keep their rules",
    "test_pythons": "the oldest patch release of Python will do",
    "test_adoption": "a project that exists takes the layer",
    "test_update": "an update merges, and loses no line",
    "test_tree": "each file is emitted where it belongs",
    "test_questions": "answers are checked, in sentences",
    "test_terminal": "questions are shown whole in 80 columns",
    "test_code": "ruff, mypy and pyright are content",
    "test_layer": "the layer's modules are in order",
    "test_private_api": "private API is marked and listed",
    "test_drivers": "a driver is a row and a module",
    "test_guards": "guards refuse mistakes in models",
    "test_revisions": "guards refuse mistakes in migrations",
    "test_migration_recipes": "recipes of migrations do what they say",
    "test_migration_races": "migrations end well however they start",
    "test_servers": "a server for tests leaves nothing behind",
    "test_versions": "the packages are those of the release",
    "test_benchmarks": "the benchmarks run",
    "test_samples": "the samples cover every choice",
    "test_ladder": "what is left out is counted",
    "test_readme": "the documents are true",
    "test_repository": "this repository is clean itself",
}

# A line at least this often, in seconds.
OFTEN = 10


def driver_of(item: pytest.Item) -> str | None:
    """Return the driver that a test is for: a parameter, or one of its answers."""
    params: Mapping[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    mutated: str | None = getattr(params.get("mutation"), "driver", None)
    answers: Mapping[str, str] = params.get("answers", {})
    driver: str | None = params.get("driver", answers.get("driver", mutated))
    return driver


class Progress:
    """Prints a line for each slow or failing test, and one every few seconds, not dots."""

    def __init__(self, terminal: pytest.TerminalReporter, total: int = 0) -> None:
        self._terminal = terminal
        self._began = self._said = time.monotonic()
        self._total = total
        self._done = 0

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._total = self._total or len(session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Count the tests, which only the workers of pytest-xdist collect."""
        self._total = len(ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str]:
        """Count a test, and print no letter for it."""
        outcome: str = report.outcome
        if report.when != "call":
            outcome = {"passed": "", "failed": "error"}.get(outcome, outcome)
        # The word is for the summary of failures.
        return (outcome, "", outcome.upper() if report.failed else "")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print the test that just ended, if it is time for a line."""
        now, ended = time.monotonic(), report.when == "call" or not report.passed
        self._done += ended
        if ended and (report.failed or report.duration >= OFTEN or now - self._said >= OFTEN):
            self._said = now
            share = 100 * self._done // max(self._total, 1)
            took = f"{(now - self._began) / 60:.1f} min"
            how = "FAILED " if report.failed else ""
            self._terminal.write_line(
                f"{share:3} %  {took:>8}  {how}{report.nodeid} ({report.duration:.0f} s)"
            )


def table(reports: Iterable[pytest.TestReport]) -> list[str]:
    """Return Markdown: how many tests passed, by what they prove and for which driver."""
    cells: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS.values()}
    inner: Counter[str] = Counter()
    for report in reports:
        properties: dict[str, Any] = dict(report.user_properties)
        stem = report.nodeid.partition("::")[0].rpartition("/")[2].removesuffix(".py")
        driver = str(properties.get("driver", "any"))
        cells.setdefault(KINDS.get(stem, stem), Counter())[driver] += 1
        inner[driver] += int(properties.get("tests", 0))
    columns = [*DRIVERS, "any"]
    rows = {"tests that rendered services ran": inner, **cells}
    return [
        _line("tests passed", [*columns]),
        " | ".join([f"| {'-' * 43}", *["-" * 8 + ":" for _ in columns]]) + " |",
        *[
            _line(name, [str(row[column] or "") for column in columns])
            for name, row in rows.items()
            if row.total()
        ],
    ]


def _line(name: str, cells: list[str]) -> str:
    return " | ".join([f"| {name:43}", *[f"{cell:>9}" for cell in cells]]) + " |"
