"""Every probe and guard fails once what it is there for is taken out of the emitted code."""

import re
from collections.abc import Callable
from pathlib import Path

import faults
import handbook
import pytest
from harness import DRIVERS, SERVER_DRIVERS, Project
from mutations import MUTATIONS, Mutation

Render = Callable[..., Project]


# One on each driver in every run; `make test-all` runs them all.
FIRST = {mutation.driver: mutation for mutation in reversed(MUTATIONS)}
SAMPLE = set(FIRST.values())

# With these a test would fail whatever it is about: the change has to be one that runs.
BROKEN = re.compile(r"^E +(ImportError|ModuleNotFoundError|NameError|SyntaxError)\b", re.MULTILINE)


COPY_PROPERTIES = Path(__file__).parent / "rendered" / "copy_properties.py"


def _render_all(render: Render, driver: str) -> Project:
    """Render a service with everything that can be changed, and that can notice it."""
    extras = ["replicas", "probes"] if driver in SERVER_DRIVERS else ["probes"]
    project = render(driver=driver, web="fastapi", extras=extras)
    if project.answers["database"] == "postgresql":
        project["tests/db/layer_tests/probes/test_copy_properties.py"] = COPY_PROPERTIES.read_text(
            "utf-8"
        )
    return project


def _marked(mutation: Mutation) -> object:
    marks = () if mutation in SAMPLE else pytest.mark.whole
    # A test may be there for several changes of one module.
    alike = [other for other in MUTATIONS if str(other) == str(mutation)]
    name = f"{mutation}-{alike.index(mutation) + 1}" if len(alike) > 1 else str(mutation)
    return pytest.param(mutation, marks=marks, id=name)


@pytest.mark.server
@pytest.mark.parametrize("mutation", [_marked(mutation) for mutation in MUTATIONS])
def test_a_test_notices_what_it_is_there_for(render: Render, mutation: Mutation) -> None:
    project = _render_all(render, mutation.driver)
    project[mutation.file] = project[mutation.file].replace(mutation.old, mutation.new)
    if mutation.test.startswith(f"{faults.FOLDER}/"):
        faults.lay(project)
    if mutation.test.startswith(f"{handbook.FOLDER}/"):
        handbook.lay(project)
    said = project.fail("pytest", "-q", "-p", "no:randomly", mutation.test)
    assert f"FAILED {mutation.test}" in said, said
    assert not BROKEN.search(said), said


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_change_is_one_that_can_be_made(render: Render, driver: str) -> None:
    project = _render_all(render, driver)
    handbook.lay(project)
    tests = "".join(project[path] for path in project.tree if path.startswith("tests/"))
    for mutation in MUTATIONS:
        if mutation.driver == driver:
            found = project[mutation.file].count(mutation.old)
            assert found == 1, f"{mutation.file} has {found} times {mutation.old!r}"
            name = mutation.test.rpartition("::")[2].partition("[")[0]
            assert f"def {name}(" in tests or mutation.test.startswith(faults.FOLDER), name


@pytest.mark.parametrize("file", ["test_guards", "test_smoke", "test_revisions", "test_squawk"])
def test_every_test_of_a_default_service_is_in_the_list(render: Render, file: str) -> None:
    path = f"tests/db/layer_tests/{file}.py"
    tests = re.findall(r"^(?:async )?def (test_\w+)", render(driver="asyncpg")[path], re.M)
    assert tests
    listed = {mutation.test for mutation in MUTATIONS}
    # No change of one file makes a second head: test_revisions.py of this folder does.
    listed.add("tests/db/layer_tests/test_revisions.py::test_the_revisions_have_one_head")
    assert [test for test in tests if f"{path}::{test}" not in listed] == []


def test_every_fault_is_in_the_list() -> None:
    noticed = {mutation.test.rpartition("::test_")[2] for mutation in MUTATIONS}
    assert [name for name in faults.names() if name.replace(" ", "_") not in noticed] == []
