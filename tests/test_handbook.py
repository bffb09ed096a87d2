"""The handbook of the layer is true: its blocks run, and its tables are those of the code."""

import json
import re
import shlex
from collections.abc import Callable

import handbook
import pytest
from harness import DRIVERS, FIRST_DRIVERS, Project, tiered

Render = Callable[..., Project]
Note = Callable[[str, object], None]

# What a program prints of the settings and the errors of a service.
DESCRIBE = """
import json
from shop.db import errors
from shop.db.fastapi import _ANSWERS
{settings}

def status(kind):
    return next(_ANSWERS[each][0] for each in kind.__mro__ if each in _ANSWERS)

fields = Settings.model_fields
kinds = [x for x in vars(errors).values() if isinstance(x, type) and not x.__name__.startswith("_")]
kinds.remove(errors.DataLayerError)
print(json.dumps({{
    "settings": {{name: str(field.default) for name, field in fields.items()}},
    "errors": [
        (x.__name__, x.__doc__.partition("\\n")[0], status(x))
        for x in kinds if issubclass(x, errors.DataLayerError)
    ],
}}))
"""


def rows(text: str, header: str) -> list[list[str]]:
    """Return the cells of the table whose first column has this header."""
    lines = text[text.index(f"| {header} |") :].splitlines()[2:]
    table = (line for line in lines[: lines.index("")])
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table]


@pytest.mark.server
@pytest.mark.parametrize("driver", tiered(DRIVERS, "aiosqlite", "asyncpg"))
def test_every_block_of_the_handbook_runs(
    render: Render, record_property: Note, driver: str
) -> None:
    # Both kinds of keys, since a model says `Key`.
    key = "bigint" if driver in ("psycopg", "aiomysql") else "uuid7"
    project = render(driver=driver, web="fastapi", key=key)
    handbook.lay(project)
    output = project.run("pytest", "-q", "-rs", "-p", "no:cacheprovider", handbook.FOLDER)
    written = sum(len(names) for names in handbook.tests(project).values())
    # A server that is named by its URL may lack the extension.
    left_out = output.count("this server has no pgvector")
    record_property("tests", written - left_out)
    assert f"{written - left_out} passed" in output, output
    project.run("ruff", "check", "--no-cache")
    project.run("ruff", "format", "--check", "--no-cache")


def test_the_command_of_the_handbook_draws_the_models(render: Render) -> None:
    project = render()
    (command,) = re.findall(
        r"^uv run --with (.* graph .*)$", handbook.page(project, "RECIPES.md"), re.M
    )
    package, program, *arguments = shlex.split(command)
    assert package == program
    drawn = project.run(program, *arguments)
    assert drawn.startswith("erDiagram\n")
    assert "users ||--o{ posts : author_id" in drawn


@pytest.mark.parametrize("driver", FIRST_DRIVERS)
def test_the_tables_of_settings_and_errors_are_those_of_the_code(
    render: Render, driver: str
) -> None:
    extras = ["replicas"] if driver != "aiosqlite" else []
    project = render(driver=driver, web="fastapi", extras=extras)
    module, name = (
        ("replicas", "ReplicatedSettings") if extras else ("settings", "DatabaseSettings")
    )
    settings = f"from shop.db.{module} import {name} as Settings"
    code = json.loads(project.run("python", "-c", DESCRIBE.format(settings=settings)))
    text = handbook.page(project, "README.md")

    written = {name: default for name, default, _ in rows(text, "variable")}
    expected = {
        f"DATABASE_{name.upper()}": "" if default == "None" else default
        for name, default in code["settings"].items()
    }
    expected["DATABASE_APPLICATION_NAME"] = "the project's name"
    assert written == expected

    def summary(text: str, status: int) -> str:
        return text.removesuffix(".").removesuffix(f" (HTTP {status})")

    written_errors = {(name, when, int(status)) for name, when, status, _ in rows(text, "error")}
    assert written_errors == {
        (name, summary(text, status), status) for name, text, status in code["errors"]
    }


@pytest.mark.parametrize("driver", FIRST_DRIVERS)
def test_the_tables_of_fixtures_and_guards_are_those_of_the_code(
    render: Render, driver: str
) -> None:
    project = render(driver=driver)
    text = handbook.page(project, "README.md")
    fixtures = re.findall(
        r"^@pytest(?:_asyncio)?\.fixture.*\n(?:async )?def (\w+)",
        project["src/shop/db/testing/fixtures.py"],
        re.MULTILINE,
    )
    assert sorted(name for name, _ in rows(text, "fixture")) == sorted(fixtures)

    files = ["test_guards", "test_revisions", "test_squawk"]
    paths = [path for name in files if (path := f"tests/db/layer_tests/{name}.py") in project.tree]
    guards = re.findall(r"def (test_\w+)", "".join(project[path] for path in paths))
    assert [name for name, _ in rows(text, "test")] == guards


def test_the_commands_of_the_handbook_are_those_of_the_layer(render: Render) -> None:
    project = render(driver="asyncpg")
    helped = project.run("python", "-m", "shop.db", "--help")
    (commands,) = re.findall(r"\{([\w,]+)\}\s+\.\.\.", helped)
    named = re.findall(r"^python -m shop\.db (\w+)", handbook.page(project, "README.md"), re.M)
    assert sorted(named) == sorted(commands.split(","))


def test_the_table_of_modules_is_that_of_the_layer(render: Render) -> None:
    project = render(driver="asyncpg", web="fastapi", extras=["replicas"])
    text = handbook.page(project, "README.md")
    named = {name for cell, _ in rows(text, "module") for name in re.findall(r"[\w.]+[\w/]", cell)}
    layer = project.root / "src/shop/db"
    assert named == {
        f"{path.name}/" if path.is_dir() else path.name
        for path in layer.iterdir()
        if path.is_dir() or path.suffix in (".py", ".sha256")
    }


@pytest.mark.parametrize(
    "answers",
    [
        {"driver": "aiosqlite", "web": "none"},
        {"driver": "asyncpg", "web": "fastapi"},
        {"driver": "asyncmy", "scope": "layer", "tests_dir": "none"},
    ],
    ids=lambda answers: "-".join(answers.values()),
)
def test_every_link_of_the_handbook_leads_to_a_section(
    render: Render, answers: dict[str, str]
) -> None:
    project = render(**answers)
    pages = {name: handbook.page(project, name) for name in (*handbook.PAGES, "MIGRATIONS.md")}
    sections = {name: {*map(_anchor, _SECTION.findall(text))} for name, text in pages.items()}
    for name, text in pages.items():
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", prose)
        assert links
        for target, section in links:
            assert target in {"", *pages}
            assert section in {"", *sections[target or name]}
    listed = re.findall(r"^\| \[(.*?)\]", pages["RECIPES.md"], re.MULTILINE)
    assert listed == re.findall(r"^## (.*)$", pages["RECIPES.md"], re.MULTILINE)


_SECTION = re.compile(r"^##+ (.+)$", re.MULTILINE)


def _anchor(title: str) -> str:
    """Return what a link to a section has, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
