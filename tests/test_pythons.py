"""The oldest patch release of Python that a distribution has: Debian 12's 3.11.2."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from harness import PROGRAMS, Project

Render = Callable[..., Project]
SYSTEM = Path("/usr/bin/python3")


@cache
def missing() -> str | None:
    """Return why the system's Python is no older patch release; None if it is one."""
    code = "import sys; print(*sys.version_info[:3])"
    found: tuple[int, ...] = ()
    if SYSTEM.exists():
        printed = subprocess.run([SYSTEM, "-c", code], capture_output=True, text=True, check=True)
        found = tuple(map(int, printed.stdout.split()))
    if (3, 11) <= found < sys.version_info[:3]:
        return None
    here, there = (".".join(map(str, each)) for each in (sys.version_info[:3], found))
    return f"{SYSTEM} ({there or 'absent'}) is not older than Python {here}; Debian 12's 3.11.2 is"


@pytest.mark.more
@pytest.mark.server
@pytest.mark.parametrize("driver", ["aiosqlite", "asyncpg"])
def test_a_service_passes_its_tests_on_the_oldest_patch_release(
    render: Render, driver: str
) -> None:
    if reason := missing():
        pytest.skip(reason)
    project = render(driver=driver, extras=["probes"])
    uv = str(PROGRAMS / "uv")
    foreign = ("DATABASE_", "TEST_DATABASE_", "PYTEST_", "PYTHON", "VIRTUAL_ENV", "UV_PYTHON")
    environment = {x: value for x, value in os.environ.items() if not x.startswith(foreign)}
    transactions = "tests/db/layer_tests/probes/test_transactions.py"
    for command in (
        ("sync", "--quiet", "--python", str(SYSTEM)),
        ("run", "pytest", "-q", "--ignore=tests/db/layer_tests/probes", "tests"),
        ("run", "pytest", "-q", transactions),
    ):
        done = subprocess.run(
            [uv, *command],
            cwd=project.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"uv {' '.join(command)}:\n{done.stdout}"
    version = project.run(str(project.root / ".venv/bin/python"), "-V").split()[1]
    assert tuple(map(int, version.split("."))) < sys.version_info[:3]
