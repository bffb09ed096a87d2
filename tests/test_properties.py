"""The repository's promises for rows that nobody thought of, on each driver's own database."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import DRIVERS, Project, tiered

Render = Callable[..., Project]
RENDERED = Path(__file__).parent / "rendered"
PROPERTIES, COPY = (
    f"tests/db/layer_tests/probes/test_{name}.py" for name in ("properties", "copy_properties")
)


@pytest.mark.parametrize("driver", tiered(DRIVERS, "asyncpg"))
def test_pages_and_bulk_writes_hold_for_any_rows(render: Render, driver: str) -> None:
    project = render(driver=driver, extras=["probes"])
    project[PROPERTIES] = (RENDERED / "properties.py").read_text("utf-8")
    project.run("python", "-m", "pytest", "-q", PROPERTIES)


@pytest.mark.parametrize("driver", tiered(["asyncpg", "psycopg"], "psycopg"))
def test_copy_writes_the_rows_that_insert_writes(render: Render, driver: str) -> None:
    project = render(driver=driver, extras=["probes"])
    project[COPY] = (RENDERED / "copy_properties.py").read_text("utf-8")
    project.run("python", "-m", "pytest", "-q", COPY)
