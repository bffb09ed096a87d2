"""A service of two processes under load, and SIGTERM under load: every row is accounted for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import faults
import pytest
from harness import REPOSITORY, Project

Render = Callable[..., Project]
RENDERED = Path(__file__).parent / "rendered"

# aiomysql differs from asyncmy in nothing that a load shows.
LOADED = ["aiosqlite", "asyncpg", "psycopg", "asyncmy"]
# Figures that would be 0 if a run had left something out.
MET = ("answers 2xx", "answers 4xx", "clients that left", "transfers stored, each once")


@pytest.mark.more
@pytest.mark.server
@pytest.mark.parametrize("driver", LOADED)
def test_a_load_with_faults_loses_no_row_and_keeps_no_connection(
    render: Render, driver: str
) -> None:
    figures = _run(render(driver=driver, web="fastapi", extras=["probes"]), "load")
    assert figures.keys() == _documented("under load", driver)


@pytest.mark.more
@pytest.mark.server
@pytest.mark.parametrize("driver", LOADED)
def test_a_shutdown_under_load_loses_no_row_and_no_callback(render: Render, driver: str) -> None:
    figures = _run(render(driver=driver, web="fastapi", extras=["probes"]), "shutdown")
    assert figures.keys() == _documented("SIGTERM under load", driver)


def _run(project: Project, kind: str) -> dict[str, object]:
    """Return what the load counted. It fails where a row, a callback or an answer is wrong."""
    faults.lay(project)
    folder = project.root / "tests" / "db" / "layer_tests" / "probes" / "load"
    shutil.copytree(RENDERED / "load", folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(RENDERED / "hostile.py", folder)
    # It starts a server of its own, which it stops.
    output = project.run(
        "python", "-m", "tests.db.layer_tests.probes.load", kind, TEST_DATABASE_URL=""
    )
    [line] = [line for line in output.splitlines() if line.startswith("{")]
    figures: dict[str, object] = json.loads(line)
    for name, figure in figures.items():
        print(f"{project.answers['driver']}, {kind}: {name}: {figure}")
    assert all(figures[name] for name in MET)
    return figures


def _documented(title: str, driver: str) -> set[str]:
    """Return the rows that a table in docs/faults.md has for a driver."""
    text = (REPOSITORY / "docs" / "faults.md").read_text("utf-8")
    table = next(block for block in text.split("\n\n") if block.startswith(f"| {title} "))
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
    ]
    return {row[0] for row in rows if row[head.index(driver)]}
