"""This repository's own Python meets the bar that it sets, and its layer keeps its size."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from harness import REPOSITORY

PROGRAMS = Path(sysconfig.get_path("scripts"))

# Lines a module of the layer may have: what a stranger reads in two minutes. A module that outgrows
# its budget is split, or does too much.
BUDGETS = {
    "__init__.py": 95,
    "__main__.py": 160,
    "base.py": 130,
    "bulk.py": 325,
    "cursors.py": 105,
    "database.py": 299,
    "dialect.py": 450,
    "driver.py": 185,
    "engine.py": 175,
    "errors.py": 185,
    "factory.py": 115,
    "fastapi.py": 165,
    "guard.py": 70,
    "health.py": 80,
    "layout.py": 245,
    "migrate.py": 150,
    "mixins.py": 170,
    "pagination.py": 260,
    "querylog.py": 50,
    "reading.py": 320,
    "replicas.py": 85,
    "repository.py": 250,
    "rows.py": 175,
    "servers.py": 215,
    "sessions.py": 315,
    "settings.py": 205,
    "testing.py": 330,
    "tls.py": 90,
    "translation.py": 240,
}


@pytest.mark.parametrize(
    "command",
    [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",), ("pyright",)],
    ids=" ".join,
)
def test_the_templates_own_python_is_clean(command: tuple[str, ...]) -> None:
    program, *arguments = command
    done = subprocess.run(
        [PROGRAMS / program, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={"PATH": f"{PROGRAMS}:/usr/bin:/bin", "HOME": str(Path.home())},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_of_the_layer_keeps_its_size() -> None:
    template = REPOSITORY / "template"
    sources = {
        "dialect.py": max((template / "_databases").glob("*.py"), key=lines),
        "driver.py": max((template / "_drivers").glob("*.py"), key=lines),
    }
    for file in (template / "{{ package_dir }}" / "db").glob("*.py*"):
        sources.setdefault(file.name.removesuffix(".jinja"), file)
    sizes = {name: lines(file) for name, file in sources.items()}
    assert sizes.keys() <= BUDGETS.keys(), "a new module needs a budget"
    assert {name: size for name, size in sizes.items() if size > BUDGETS[name]} == {}
    assert sum(sizes.values()) <= 5450


def lines(file: Path) -> int:
    return len(file.read_text("utf-8").splitlines())


def test_nothing_names_a_registry_or_a_path_of_one_machine() -> None:
    # With brackets, so that it is not what it looks for.
    pattern = r"(/([w]ork|[r]oot|home/[a-z]+)/|[.]pyenv|[i]ndex-url *=|://[a-z.]*([p]ypi|[p]ythonhosted)[.])"
    found = subprocess.run(
        ["git", "grep", "-nIE", pattern],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert found.stdout == ""


def test_the_oldest_python_is_the_one_that_is_promised() -> None:
    assert sys.version_info >= (3, 11)
    pyproject = (REPOSITORY / "template" / "pyproject.toml.jinja").read_text("utf-8")
    assert 'requires-python = ">=3.11"' in pyproject
    assert 'requires-python = ">=3.11"' in (REPOSITORY / "pyproject.toml").read_text("utf-8")
