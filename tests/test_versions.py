"""The versions that the layer needs, and those that a release was tested with."""

import ast
import tomllib
import warnings
from collections.abc import Callable
from importlib.metadata import version

import pytest
from harness import DRIVERS, Answers, Project

Ask = Callable[..., Answers]
Render = Callable[..., Project]


def test_the_tested_versions_are_those_of_this_environment(ask: Ask) -> None:
    tested: dict[str, str] = ask()["tested"]
    here = {name: version(name) for name in tested}
    newer = {name: here[name] for name in tested if _numbers(here[name]) > _numbers(tested[name])}
    assert here | newer == tested | newer, "a version was never run that is named as tested"
    # A release of today must not fail a change that has nothing to do with it.
    if newer:
        warnings.warn(f"raise these in the table `tested` of copier.yml: {newer}", stacklevel=1)


@pytest.mark.parametrize("driver", DRIVERS)
def test_doctor_knows_the_requirements_of_a_new_service(render: Render, driver: str) -> None:
    project = render(driver=driver, web="fastapi", extras=["probes"])
    service = tomllib.loads(project["pyproject.toml"])
    imported = {*service["project"]["dependencies"], "httpx>=0.28"}
    stated = {*imported, *service["dependency-groups"]["dev"]}
    table = ast.parse(project["src/shop/db/versions.py"]).body[-1]
    assert isinstance(table, ast.Assign)
    known: dict[str, str] = ast.literal_eval(table.value)
    assert _without_conditions(imported) <= known.keys() <= _without_conditions(stated)


def _without_conditions(requirements: set[str]) -> set[str]:
    return {requirement.partition(";")[0] for requirement in requirements}


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]
