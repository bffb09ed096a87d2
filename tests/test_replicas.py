"""Replicas are real servers that follow a primary: read from, stopped, missed by nobody."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Project

Render = Callable[..., Project]
RENDERED = Path(__file__).parent / "rendered"


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_a_replica_that_stops_fails_no_unit_that_begins_after_it(
    render: Render, driver: str
) -> None:
    project = render(driver=driver)
    project["tests/db/test_replicas.py"] = (RENDERED / "replicas.py").read_text("utf-8")
    said = project.run("python", "-m", "pytest", "-q", "-s", "tests/db/test_replicas.py")
    for line in said.splitlines():
        if "FAULT " in line:
            print(f"{driver}: {line.partition('FAULT ')[2]}")
