"""Where a server cannot be had its tests are left out, in words; or fail, if all are required."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import harness
import pytest

CONFTEST = f"""
import runpy
import sys

sys.path.insert(0, {str(Path(harness.__file__).parent)!r})
import harness

harness.missing_server = {{"asyncmy": "no MariaDB: install it"}}.get
names = runpy.run_path({str(Path(harness.__file__).with_name("conftest.py"))!r})
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


def run(folder: Path, **settings: str) -> str:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_of_drivers.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = server\n")
    environment = {name: x for name, x in os.environ.items() if name != "REQUIRE_ALL_SERVERS"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"],
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
