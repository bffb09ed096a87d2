"""Every probe and guard fails once what it is there for is taken out of the emitted code."""

import re
from collections.abc import Callable

import faults
import pytest
from harness import Project
from mutations import MUTATIONS, Mutation

Render = Callable[..., Project]


def _subject(mutation: Mutation) -> str:
    return faults.FOLDER if _is_fault(mutation) else mutation.test.partition("::")[0]


def _is_fault(mutation: Mutation) -> bool:
    return mutation.test.startswith(f"{faults.FOLDER}/")


# One of each file of tests in every run; `make test-all` runs them all.
FIRST = {_subject(mutation): mutation for mutation in reversed(MUTATIONS)}
SAMPLE = set(FIRST.values())

# With these a test would fail whatever it is about: the change has to be one that runs.
BROKEN = re.compile(r"^E +(ImportError|ModuleNotFoundError|NameError|SyntaxError)\b", re.MULTILINE)


def _marked(mutation: Mutation) -> object:
    marks = () if mutation in SAMPLE else pytest.mark.whole
    return pytest.param(mutation, marks=marks, id=str(mutation))


@pytest.mark.server
@pytest.mark.parametrize("mutation", [_marked(mutation) for mutation in MUTATIONS])
def test_a_test_notices_what_it_is_there_for(render: Render, mutation: Mutation) -> None:
    # With all that there is to change.
    project = render(driver=mutation.driver, web="fastapi")
    text = project[mutation.file]
    assert text.count(mutation.old) == 1, f"{mutation.file} has not one {mutation.old!r}"
    project[mutation.file] = text.replace(mutation.old, mutation.new)
    if _is_fault(mutation):
        faults.lay(project)
    said = project.fail("pytest", "-q", "-p", "no:randomly", mutation.test)
    assert f"FAILED {mutation.test}" in said, said
    assert not BROKEN.search(said), said


def test_every_guard_is_in_the_list(render: Render) -> None:
    guards = re.findall(r"^(?:async )?def (test_\w+)", render()["tests/db/test_guards.py"], re.M)
    assert set(guards) <= {mutation.test.rpartition("::")[2] for mutation in MUTATIONS}


def test_every_fault_is_in_the_list() -> None:
    noticed = {mutation.test.rpartition("::test_")[2] for mutation in MUTATIONS}
    assert [name for name in faults.names() if name.replace(" ", "_") not in noticed] == []
