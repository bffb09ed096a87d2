"""The rules for the files of the template, before anything is rendered."""

import re
import subprocess
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from harness import ANSWERS, DRIVERS, PROGRAMS, REPOSITORY, Answers, Project, Template
from jinja2 import Environment, UndefinedError, meta
from packaging.requirements import Requirement
from packaging.version import Version

Ask = Callable[..., Answers]
Render = Callable[..., Project]

# The folder beside template/ that holds the modules of each kind, and the table of their rows.
KINDS = {"_drivers": "drivers", "_databases": "databases"}

# What `_exclude` may name with no default: all of it is known to every release.
KNOWN_SINCE_THE_FIRST_RELEASE = {
    "_copier_operation",
    "ci",
    "database",
    "databases",
    "destination",
    "package_dir",
    "scope",
    "seeds",
}


@pytest.fixture(scope="session")
def files(template: Template) -> dict[str, str]:
    """The text of every template, by its path below template/."""
    root = template.repository / "template"
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in paths}


# Jinja.


def test_python_holds_four_jinja_statements_the_includes(files: dict[str, str]) -> None:
    statements = {
        path: re.findall(r"\{[%#].*?[%#]\}", text, re.DOTALL)
        for path, text in files.items()
        if ".py" in Path(path).suffixes
    }
    assert {path: found for path, found in statements.items() if found} == {
        "{{ package_dir }}/db/engine/dialect.py.jinja": [
            '{% include "template/_databases/" ~ database ~ "/dialect.py" %}'
        ],
        "{{ package_dir }}/db/engine/driver.py.jinja": [
            '{% include "template/_drivers/" ~ driver ~ ".py" %}'
        ],
        "{{ package_dir }}/db/testing/databases.py.jinja": [
            '{% include "template/_databases/" ~ database ~ "/databases.py" %}'
        ],
        "{{ package_dir }}/models.py.jinja": [
            '{% include "template/_starters/" ~ starter ~ "/models.py" %}'
        ],
    }


def test_the_includes_stand_alone_in_their_files(files: dict[str, str]) -> None:
    for name in ("db/engine/dialect", "db/engine/driver", "db/testing/databases", "models"):
        assert files["{{ package_dir }}/" + f"{name}.py.jinja"].count("\n") == 1


def test_a_template_that_holds_no_jinja_has_no_suffix(files: dict[str, str]) -> None:
    assert [
        path
        for path, text in files.items()
        if path.endswith(".jinja") and "{" + "{" not in text and "{%" not in text
    ] == []


def test_the_project_name_enters_code_only_through_a_filter(files: dict[str, str]) -> None:
    raw = re.compile(r"\{\{\s*project_name\s*\}\}")
    prose = {"README.md.jinja"}
    assert {path for path, text in files.items() if raw.search(text)} <= prose


def test_plain_python_passes_ruff_as_it_lies() -> None:
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [PROGRAMS / "ruff", *command, "--no-cache", "template"],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout


def test_every_module_of_the_layer_says_in_its_first_line_what_it_is_for(
    files: dict[str, str],
) -> None:
    modules = {path: text for path, text in files.items() if ".py" in Path(path).suffixes}
    silent = [path for path, text in modules.items() if not text.startswith(('"""', "{% include"))]
    assert silent == []


# copier.yml.


def test_a_misspelt_name_ends_the_rendering(template: Template) -> None:
    def misspell(repository: Path) -> None:
        (repository / "template" / "README.md.jinja").write_text("# {{ projekt_name }}\n")

    with pytest.raises(UndefinedError, match="'projekt_name' is undefined"):
        template.release("v9999.0.1", misspell).render()


def test_nothing_runs_when_a_project_is_made(template: Template) -> None:
    assert template.config.keys().isdisjoint({"tasks", "jinja_extensions"})


def test_a_step_of_an_update_names_the_version_that_it_belongs_to(template: Template) -> None:
    # Without one every update would ask for trust.
    assert all("version" in step for step in template.config.get("migrations", []))


def test_every_question_has_a_default(template: Template) -> None:
    assert [name for name, row in template.questions.items() if "default" not in row] == []


def test_every_question_that_is_asked_is_a_whole_question(template: Template) -> None:
    asked = {name: row for name, row in template.questions.items() if row.get("when") is not False}
    assert [name for name, row in asked.items() if "?" not in row.get("help", "")] == []


def test_every_choice_says_when_to_take_it(template: Template, ask: Ask) -> None:
    labels: list[str] = [row["choice"] for row in ask()["drivers"].values()]
    for row in template.questions.values():
        # The driver's choices are templated from the table.
        if not isinstance(row.get("choices", ""), str):
            labels += row["choices"]
    assert [label for label in labels if ": " not in label] == []


def test_no_secret_is_asked(template: Template) -> None:
    secret = re.compile("password|secret|token|url|credential|api_?key")
    asked = {name: row for name, row in template.questions.items() if row.get("when") is not False}
    assert [name for name, row in asked.items() if secret.search(name) or "secret" in row] == []


def test_the_answers_file_holds_the_answers_and_where_they_were_given(render: Render) -> None:
    project = render(driver="asyncpg")
    names = re.findall(r"^(\w+):", project[ANSWERS], re.MULTILINE)
    assert set(names) == {"_commit", "_src_path", *project.answers.stored}


def test_the_exclusions_name_nothing_that_an_older_release_does_not_know(
    template: Template,
) -> None:
    # An update renders them with the values of the release that the project comes from.
    environment = Environment(extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"])
    (block,) = template.config["exclude"]
    without_default = re.sub(r"\w+\s*\|\s*default\(", "(", block)
    named = meta.find_undeclared_variables(environment.parse(without_default))
    assert named <= KNOWN_SINCE_THE_FIRST_RELEASE


def test_the_oldest_copier_is_the_one_that_is_installed_or_older(template: Template) -> None:
    oldest = Version(template.config["min_copier_version"])
    assert oldest <= Version(version("copier"))
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    (required,) = [line for line in groups["dev"] if Requirement(line).name == "copier"]
    assert required == f"copier>={oldest}"


@pytest.mark.parametrize("web", ["none", "fastapi"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_owner_of_a_layer_is_told_to_add_what_a_service_depends_on(
    template: Template, tmp_path: Path, driver: str, web: str
) -> None:
    service = tomllib.loads(template.render(driver=driver, web=web)["pyproject.toml"])
    needed = set(service["project"]["dependencies"])
    message = template.tell(tmp_path, scope="layer", driver=driver, web=web)
    told = set(re.findall(r'"([\w-]+(?:\[\w+\])?>=[^"]*)"', message))
    # A project that exists may have older ones of these.
    older = {"pytest>=8.2", "pytest-asyncio>=0.24"}
    assert needed | older <= told <= needed | older | set(service["dependency-groups"]["dev"])


def test_the_owner_of_a_service_is_told_which_commands_come_next(
    template: Template, tmp_path: Path
) -> None:
    begin = [
        f"cd '{tmp_path}/my shop'",
        # It makes uv.lock, which the commit then has.
        "uv sync",
        'git init && git add . && git commit --message "Generate the service"',
        "uv run pytest",
    ]
    revision = 'uv run alembic revision --autogenerate -m "first tables"'
    for starter, first in {"blog": [], "none": [revision]}.items():
        answers = {"project_name": "Shop", "starter": starter}
        lines = template.tell(tmp_path / "my shop", **answers).splitlines()
        commands = [line.partition(" #")[0].strip() for line in lines if line.startswith("    ")]
        assert commands == [*begin, *first, "uv run alembic upgrade head"]


def test_the_owner_of_an_api_is_told_how_it_is_served(template: Template, tmp_path: Path) -> None:
    assert "    uv run fastapi dev" in template.tell(tmp_path, web="fastapi")
