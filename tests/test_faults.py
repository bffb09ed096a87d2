"""Faults on the real database of each driver, many times over: the run says what was survived."""

from collections.abc import Callable

import faults
import pytest
from harness import DRIVERS, REPOSITORY, Project, tiered

Render = Callable[..., Project]
Note = Callable[[str, object], None]


@pytest.mark.server
@pytest.mark.parametrize("factor", [1, pytest.param(3, marks=pytest.mark.whole)])
@pytest.mark.parametrize("driver", tiered(DRIVERS, "aiosqlite", "asyncpg"))
def test_no_fault_loses_or_doubles_a_unit_or_keeps_a_connection(
    render: Render, record_property: Note, driver: str, factor: int
) -> None:
    met, problem = faults.meet(render(driver=driver, extras=["probes"]), factor)
    for fault in met:
        # A list: pytest-xdist sends nothing but what is built in.
        record_property("fault", list(fault))
    if problem:
        raise problem
    assert [fault for fault in met if fault.survived < fault.times] == []
    # The documentation has them all, and tells how often each is met.
    told = {fault.name: fault.times * factor for fault in faults.documented(driver)}
    assert told == {fault.name.removesuffix(" (simulated)"): fault.times for fault in met}


@pytest.mark.whole
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_faults_are_clean_where_they_lie(render: Render, driver: str) -> None:
    project = render(driver=driver, extras=["probes"])
    faults.lay(project)
    project.run("mypy", "--strict", "src", "tests")
    project.run("pyright", faults.FOLDER)


def test_the_documentation_tells_of_every_fault_in_order() -> None:
    told = [fault for driver in DRIVERS for fault in faults.documented(driver)]
    names = faults.names()
    assert sorted({fault.name for fault in told}, key=names.index) == names
    assert [fault for fault in told if fault.survived < fault.times] == []


def test_the_documentation_tells_what_each_fault_is_survived_by() -> None:
    text = (REPOSITORY / "docs" / "faults.md").read_text("utf-8")
    _, _, told = text.partition("## What each is survived by")
    assert [line for line in told.splitlines() if line.startswith("- ")] == faults.fixes()
