"""The repository's promises for rows that nobody thought of, on each driver's own database."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import DRIVERS, Project, tiered

Render = Callable[..., Project]
PROPERTIES = Path(__file__).parent / "rendered" / "properties.py"


@pytest.mark.parametrize("driver", tiered(DRIVERS, "asyncpg"))
def test_pages_and_bulk_writes_hold_for_any_rows(render: Render, driver: str) -> None:
    project = render(driver=driver, extras=["probes"])
    project["tests/db/probes/test_properties.py"] = PROPERTIES.read_text("utf-8")
    project.run("python", "-m", "pytest", "-q", "tests/db/probes/test_properties.py")
