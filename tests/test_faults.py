"""Faults, on the real database of each driver: how many were survived is printed by the run."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import DRIVERS, Project

Render = Callable[..., Project]
RENDERED = Path(__file__).parent / "rendered"


@pytest.mark.parametrize("driver", DRIVERS)
def test_no_fault_loses_or_doubles_a_unit_or_keeps_a_connection(
    render: Render, driver: str
) -> None:
    project = render(driver=driver)
    project["tests/db/test_faults.py"] = (RENDERED / "faults.py").read_text("utf-8")
    said = project.run("python", "-m", "pytest", "-q", "-s", "tests/db/test_faults.py")
    for line in said.splitlines():
        if "FAULT " in line:
            print(f"{driver}: {line.partition('FAULT ')[2]}")
