"""Hostile requests cost a service no more memory than honest ones."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Project

Render = Callable[..., Project]
RENDERED = Path(__file__).parent / "rendered"


@pytest.mark.more
@pytest.mark.parametrize("driver", ["aiosqlite", "asyncpg"])
def test_hostile_requests_leave_no_more_memory_than_legal_ones(render: Render, driver: str) -> None:
    project = render(driver=driver, web="fastapi")
    project["hostile.py"] = (RENDERED / "hostile.py").read_text("utf-8")
    output = project.run_on_a_database("alembic upgrade head", "python hostile.py 3000")
    figures = [line for line in output.splitlines() if " requests: " in line]
    assert len(figures) == 2, output
    for line in figures:
        print(f"{driver}: {line}")
