"""The rendered code is clean, whatever its owners call things, and imports what it needs."""

import ast
import json
import os
import subprocess
import tomllib
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import handbook
import pytest
from harness import DRIVERS, PROGRAMS, Answers, Project, Template, is_ours, pairwise

# Everything that a service has when it is at work, and then what that loaded.
IMPORT = "import sys, shop.db, shop.service; print(*sys.modules)"

Ask = Callable[..., Answers]
Render = Callable[..., Project]

KEYS = ["uuid7", "bigint"]
# One letter; the most there may be, lines grow by it; capitals and an underscore.
PACKAGES = ["x", "long_" * 11 + "names", "_X1"]
PROJECT_NAMES = {
    "both quotes": """It's "Ada's" shop""",
    "end of docstring": '"""',
    "one quote": "'",
    "backslashes": "C:\\new\\table\\",
    "jinja": "{{ 7 * 7 }} {% raw %} {# #}",
    "emoji": "Ünïcödé 🛒 👩‍💻 商店",
    "markup": "100 % $HOME ${x} <b>&amp;</b> # yes: [no]",
    "long": "n" * 60,
}

# Each pair of values rather than all combinations: what breaks is seldom a matter of three.
FORMS = pairwise(
    driver=DRIVERS, key=KEYS, package=PACKAGES, web=["none", "fastapi"], starter=["blog", "none"]
)
# One of them for each driver, which `make test` looks at; `make test-more` looks at the others.
FIRST = [*{answers["driver"]: answers for answers in reversed(FORMS)}.values()]
OTHERS = [answers for answers in FORMS if answers not in FIRST]
# The name enters no module that differs between drivers.
NAMED = [
    {"driver": driver, "project_name": name, "web": "fastapi"}
    for driver, name in zip(cycle(DRIVERS), PROJECT_NAMES.values(), strict=False)
]


def _label(answers: dict[str, str]) -> str:
    titles = {name: title for title, name in PROJECT_NAMES.items()}
    return "-".join(titles.get(value, value) for value in answers.values())


_TIERED = [
    *(pytest.param(answers, id=_label(answers)) for answers in FIRST),
    *(pytest.param(answers, id=_label(answers), marks=pytest.mark.more) for answers in OTHERS),
]


@pytest.mark.parametrize(
    "answers", [*_TIERED, *(pytest.param(answers, id=_label(answers)) for answers in NAMED)]
)
def test_ruff_finds_nothing_to_say(render: Render, answers: dict[str, str]) -> None:
    project = render(**answers, extras=["probes"])
    project.run("ruff", "check", "--no-cache")
    project.run("ruff", "format", "--check", "--no-cache")


@pytest.mark.parametrize("answers", _TIERED)
def test_mypy_finds_nothing_to_say(render: Render, answers: dict[str, str]) -> None:
    project = render(**answers, extras=["probes"])
    handbook.lay(project)
    project.run("mypy", "--strict", *_code(project))


@pytest.mark.parametrize(
    "forms",
    [pytest.param(FIRST, id="first"), pytest.param(OTHERS, id="others", marks=pytest.mark.more)],
)
def test_pyright_finds_nothing_to_say(
    template: Template, tmp_path: Path, forms: list[dict[str, str]]
) -> None:
    # All projects in one run: each run reads SQLAlchemy's sources.
    projects = {
        label: template.render(tmp_path / label, **answers, extras=["probes"])
        for label, answers in zip(map(_label, forms), forms, strict=True)
    }
    for project in projects.values():
        handbook.lay(project)
    settings = {
        "typeCheckingMode": "strict",
        # Relative: an absolute path is ignored.
        "include": [f"{label}/{path}" for label, x in projects.items() for path in _code(x)],
        "executionEnvironments": [
            {"root": label, "extraPaths": [str(project.import_path)]}
            for label, project in projects.items()
        ],
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [PROGRAMS / "pyright", "--project", tmp_path],
        env=os.environ | {"PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_a_service_asks_its_type_checkers_to_be_strict(render: Render) -> None:
    tools = tomllib.loads(render()["pyproject.toml"])["tool"]
    assert tools["mypy"]["strict"] is True
    assert tools["pyright"]["typeCheckingMode"] == "strict"


def test_a_project_that_is_formatted_otherwise_leaves_the_layer_as_it_is(render: Render) -> None:
    project = render()
    before = {path: text for path, text in project.contents().items() if is_ours(path)}
    models = project["src/shop/models.py"]
    project["ruff.toml"] = """
line-length = 120
format.quote-style = "single"
lint.select = ["ALL"]
"""
    project.run("ruff", "check", "--no-cache", "--fix", "--unsafe-fixes", "--exit-zero")
    project.run("ruff", "format", "--no-cache")
    assert {path: project[path] for path in before} == before
    assert project["src/shop/models.py"] != models


@pytest.mark.parametrize("name", PROJECT_NAMES.values(), ids=PROJECT_NAMES)
def test_the_projects_name_arrives_as_it_was_typed(render: Render, name: str) -> None:
    project = render(project_name=name, driver="asyncpg", package="shop")
    assert tomllib.loads(project["pyproject.toml"])["project"]["description"] == name
    settings = ast.parse(project["src/shop/db/settings.py"])
    assert name in {node.value for node in ast.walk(settings) if isinstance(node, ast.Constant)}


@pytest.mark.parametrize("driver", DRIVERS)
def test_production_imports_nothing_that_is_for_tests_migrations_or_the_web(
    render: Render, driver: str
) -> None:
    imported = set(render(driver=driver).run("python", "-c", IMPORT).split())
    assert "sqlalchemy" in imported
    foreign = {"pytest", "pytest_asyncio", "_pytest", "alembic", "fastapi"}
    assert imported.isdisjoint(foreign | {"shop.db.migrate", "shop.db.testing"})


def _code(project: Project) -> list[str]:
    """Where the code of a project is."""
    return [project.answers["package_dir"], "tests", "migrations"]
