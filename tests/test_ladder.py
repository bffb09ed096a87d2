"""Where a server cannot be had its tests are left out, in words; or fail, if all are required."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import harness
import pytest

CONFTEST = f"""
import runpy
import sys

sys.path.insert(0, {str(Path(harness.__file__).parent)!r})
import harness
import report

report.OFTEN = 0
harness.missing_server = {{"asyncmy": "no MariaDB: install it"}}.get
names = runpy.run_path({str(Path(harness.__file__).with_name("conftest.py"))!r})
pytest_configure = names["pytest_configure"]
pytest_collection_modifyitems = names["pytest_collection_modifyitems"]
pytest_terminal_summary = names["pytest_terminal_summary"]
"""

TESTS = """
import pytest

pytestmark = pytest.mark.server

@pytest.mark.parametrize("driver", ["aiosqlite", "asyncmy"])
def test_of_a_driver(driver): pass

@pytest.mark.parametrize("answers", [{"driver": "asyncmy"}, {"scope": "layer"}])
def test_of_answers(answers): pass
"""

RENDERED = """
def test_of_services(record_property):
    record_property("driver", "asyncpg")
    record_property("tests", 450)

def test_that_fails(): assert False
"""


def run(
    folder: Path, tests: str = TESTS, /, *, options: Sequence[str] = (), **settings: str
) -> str:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_of_drivers.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = server\n")
    environment = {name: x for name, x in os.environ.items() if name != "REQUIRE_ALL_SERVERS"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env=environment | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ).stdout


def test_what_needs_a_missing_server_is_left_out_and_counted(tmp_path: Path) -> None:
    said = run(tmp_path)
    assert "2 passed, 2 skipped" in said
    assert "2 left out: no MariaDB: install it" in said


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "by workers"])
def test_a_run_says_what_it_does_and_what_was_proved(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    said = run(tmp_path, RENDERED, options=options)
    lines = re.findall(r"^( 50|100) %  +\d\.\d min  (FAILED )?(\S+) \(0 s\)$", said, re.M)
    assert {(how, test.partition("::")[2]) for _, how, test in lines} == {
        ("", "test_of_services"),
        ("FAILED ", "test_that_fails"),
    }
    # One line each, and no letter for each test.
    assert "\n." not in said
    assert "FAILED test_of_drivers.py::test_that_fails" in said
    rows = {
        line.split("|")[1].strip(): line.split("|") for line in said.splitlines() if "|" in line
    }
    column = [cell.strip() for cell in rows["tests passed"]].index("asyncpg")
    assert rows["tests that rendered services ran"][column].strip() == "450"
    assert rows["test_of_drivers"][column].strip() == "1"


def test_nothing_is_left_out_where_every_server_is_required(tmp_path: Path) -> None:
    assert "4 passed" in run(tmp_path, REQUIRE_ALL_SERVERS="1")


@pytest.fixture
def without_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with no server's programs and no URL of one."""
    recipe = harness.server_program

    def no_programs(servers: ModuleType, database: str) -> dict[str, object]:
        nowhere = {"embedded": None, "initialise": ["no-such-program"]}
        return {**recipe(servers, database), **nowhere}

    monkeypatch.setattr(harness, "server_program", no_programs)
    for database in harness.DATABASES:
        monkeypatch.delenv(f"TEST_{database.upper()}_URL", raising=False)
    harness.missing_server.cache_clear()
    monkeypatch.setattr(harness, "missing_server", harness.missing_server.__wrapped__)


def test_a_driver_whose_server_is_missing_is_told_each_way_to_get_one(
    without_programs: None,
) -> None:
    told = harness.missing_server("asyncmy")
    assert told == "no MariaDB: `make servers` installs it, or name one in TEST_MYSQL_URL"
    assert harness.missing_server("aiosqlite") is None


def test_a_url_stands_for_a_server(without_programs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_MYSQL_URL", "mysql://root@db.example.com/mysql")
    assert harness.missing_server("asyncmy") is None
