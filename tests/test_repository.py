"""This repository's own Python meets the bar that it sets."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from harness import REPOSITORY

PROGRAMS = Path(sysconfig.get_path("scripts"))


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
