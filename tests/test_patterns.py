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


def gaps(page: str, written: set[tuple[str, str]]) -> list[object]:
    """Return the numbers of patterns that have no row, and the tests that do not exist."""
    rows: list[tuple[str, ...]] = ROW.findall(page)
    numbers = {int(number) for number, *_ in rows if number}
    named = {test for *_, tests in rows for test in TEST.findall(tests)}
    return [*sorted({*range(1, PATTERNS + 1)} ^ numbers), *sorted(named - written)]


def test_every_pattern_has_a_place_and_a_test(written: set[tuple[str, str]]) -> None:
    assert gaps(PAGE, written) == []
    # No row of these tables has another form, and no pattern has two.
    assert len(ROW.findall(PAGE)) == PAGE.count("| `test_")
    numbered = [number for number, *_ in ROW.findall(PAGE) if number]
    assert len(numbered) == PATTERNS


def test_a_pattern_that_is_removed_is_missed(written: set[tuple[str, str]]) -> None:
    for row in ROW.finditer(PAGE):
        if row[1]:
            assert gaps(PAGE.replace(row[0], ""), written) == [int(row[1])]
        for test in TEST.findall(row[4]):
            assert gaps(PAGE, written - {test}) == [test]


def test_every_module_of_the_layer_that_is_named_exists() -> None:
    layer = REPOSITORY / "template" / "{{ package_dir }}" / "db"
    modules = {
        path.relative_to(layer).as_posix().removesuffix(".jinja") for path in layer.rglob("*.py*")
    }
    assert set(re.findall(r"`db/([\w/]+\.py)`", PAGE)) <= modules


def _tests(text: str) -> Iterator[str]:
    yield from re.findall(r"^(?:async )?def (test_\w+)\(", text, re.MULTILINE)
