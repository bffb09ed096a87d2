"""The faults of tests/rendered: how they come into a service, and the table of those survived."""

import ast
import json
import shutil
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from harness import DRIVERS, REPOSITORY, Project
from mutations import MUTATIONS

FOLDER = "tests/db/layer_tests/probes/faults"
_SOURCE = REPOSITORY / "tests" / "rendered" / "faults"


class Fault(NamedTuple):
    """How often a fault was met, and how often survived."""

    driver: str
    name: str
    survived: int
    times: int


def lay(project: Project) -> None:
    """Put the faults into a service."""
    shutil.copytree(_SOURCE, project.root / FOLDER, ignore=shutil.ignore_patterns("__pycache__"))


def meet(project: Project, factor: int = 1) -> tuple[list[Fault], AssertionError | None]:
    """Let a service meet them all, `factor` times as often; what it survived, and what it said."""
    report, driver, problem = project.root / "faults.jsonl", project.answers["driver"], None
    lay(project)
    # The faults need a server of their own: they stop it.
    settings = {"FAULTS_REPORT": str(report), "FAULTS_FACTOR": f"{factor}", "TEST_DATABASE_URL": ""}
    try:
        project.run("pytest", "-q", "-p", "no:randomly", FOLDER, **settings)
    except AssertionError as error:
        problem = error
    lines = report.read_text("utf-8").splitlines() if report.exists() else []
    return [Fault(driver, *json.loads(line)) for line in lines], problem


def names() -> list[str]:
    """Every fault that the suite has, in order."""
    return [
        node.name.removeprefix("test_").replace("_", " ")
        for file in sorted(_SOURCE.glob("test_*.py"))
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]


def table(faults: Iterable[Fault]) -> list[str]:
    """Markdown: a line for each fault, a column for each driver, and the sum."""
    cells: dict[str, dict[str, str]] = {name: {} for name in names()}
    sums: dict[str, tuple[int, int]] = dict.fromkeys(DRIVERS, (0, 0))
    for driver, name, survived, times in faults:
        cells.setdefault(name, {})[driver] = f"{survived} of {times}"
        sums[driver] = (sums[driver][0] + survived, sums[driver][1] + times)
    cells["all of them"] = {driver: f"{n} of {of}" for driver, (n, of) in sums.items() if of}
    drivers = [driver for driver in DRIVERS if sums[driver][1]]
    return [
        _line("faults survived", {driver: driver for driver in drivers}, drivers),
        " | ".join([f"| {'-' * 43}", *[f"{'-' * 12}:" for _ in drivers]]) + " |",
        *[_line(name, row, drivers) for name, row in cells.items() if row],
    ]


def _line(name: str, row: Mapping[str, str], drivers: list[str]) -> str:
    cells = [f"{row.get(driver, ''):>13}" for driver in drivers]
    return " | ".join([f"| {name:43}", *cells]) + " |"


def fixes() -> list[str]:
    """Markdown: a line for each change to the layer that a fault notices."""
    lines: list[str] = []
    for name in names():
        test = f"::test_{name.replace(' ', '_')}"
        for mutation in MUTATIONS:
            if mutation.test.startswith(FOLDER) and mutation.test.endswith(test):
                file, text = mutation.file.rpartition("/")[2], " ".join(mutation.old.split())
                lines.append(f"- {name}: `{text}` in {file}, {mutation.driver}")
    return lines


def documented(driver: str) -> list[Fault]:
    """What the table in docs/faults.md says of a driver."""
    text = (REPOSITORY / "docs" / "faults.md").read_text("utf-8")
    table = next(block for block in text.split("\n\n") if block.startswith("| faults survived"))
    rows = [line.strip("|").split("|") for line in table.splitlines()]
    head, _, *body, _ = [[cell.strip() for cell in row] for row in rows]
    told = {row[0]: row[head.index(driver)] for row in body}
    return [
        Fault(driver, name, *map(int, cell.split(" of "))) for name, cell in told.items() if cell
    ]
