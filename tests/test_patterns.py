"""Each pattern that a service promises has a place, and a test that shows it."""

import re
from collections.abc import Callable, Iterator

import handbook
import pytest
from harness import REPOSITORY, Project

Render = Callable[..., Project]

# How many patterns the sources of this template describe.
PATTERNS = 85

PAGE = (REPOSITORY / "docs" / "patterns.md").read_text("utf-8")
ROW = re.compile(r"^\| (\d*) ?\| (\S.*?) \| (\S.*?) \| (`test_.*`) \|$", re.MULTILINE)
TEST = re.compile(r"`(?:(test_\w+\.py)::)?(test_\w+)`")


@pytest.fixture
def written(render: Render) -> set[tuple[str, str]]:
    """The file and the name of each test that runs; a recipe is in no file."""
    project = render(driver="asyncpg", web="fastapi", extras=["replicas", "probes"])
    texts = [(path, project[path]) for path in project.tree if path.startswith("tests/")]
    own = REPOSITORY / "tests"
    texts += [(path.name, path.read_text("utf-8")) for path in own.glob("test_*.py")]
    found = {(path.rpartition("/")[2], name) for path, text in texts for name in _tests(text)}
    recipes = {("", name) for names in handbook.tests(project).values() for name in names}
    return found | recipes


def test_every_pattern_has_a_place_and_a_test(written: set[tuple[str, str]]) -> None:
    numbers = [int(number) for number, *_ in ROW.findall(PAGE) if number]
    assert sorted(numbers) == list(range(1, PATTERNS + 1))
    # No row of these tables has another form.
    assert len(ROW.findall(PAGE)) == PAGE.count("| `test_")
    named = {test for *_, tests in ROW.findall(PAGE) for test in TEST.findall(tests)}
    assert named - written == set()


def test_every_module_of_the_layer_that_is_named_exists() -> None:
    layer = REPOSITORY / "template" / "{{ package_dir }}" / "db"
    modules = {
        path.relative_to(layer).as_posix().removesuffix(".jinja") for path in layer.rglob("*.py*")
    }
    assert set(re.findall(r"`db/([\w/]+\.py)`", PAGE)) <= modules


def _tests(text: str) -> Iterator[str]:
    yield from re.findall(r"^(?:async )?def (test_\w+)\(", text, re.MULTILINE)
