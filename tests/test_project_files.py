"""The files beside the code fit the answers: README, settings, compose, CI, git."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from harness import DATABASES, DRIVERS, SERVER_DRIVERS, Project, git, is_ours

Render = Callable[..., Project]

# Where each database answers by default, and a pooler before it.
PORTS = {"postgresql": 5432, "mysql": 3306}
POOLER_PORT = 6432


def env_example(project: Project) -> dict[str, str]:
    """Return the settings that a copy of .env.example makes."""
    return dict(re.findall(r"^(\w+)=(.*)$", project[".env.example"], re.M))


def published(service: dict[str, Any]) -> int:
    """Return the port of this machine at which a service of compose.yaml answers."""
    [port] = service["ports"]
    address, host, container = port.split(":")
    assert (address, host) == ("127.0.0.1", container)
    return int(host)


@pytest.mark.parametrize("driver", SERVER_DRIVERS)
def test_compose_starts_the_database_that_the_settings_name(render: Render, driver: str) -> None:
    project = render(driver=driver)
    services = yaml.safe_load(project["compose.yaml"])["services"]
    assert list(services) == ["database"]
    port = published(services["database"])
    assert port == PORTS[project.answers["database"]]
    assert env_example(project)["DATABASE_URL"] == project.answers["url"]
    assert f":{port}/shop" in project.answers["url"]
    # `--wait` returns when the health check passes.
    assert services["database"]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("driver", ["asyncmy", "aiomysql"])
def test_development_and_ci_have_the_server_that_the_tests_start(
    render: Render, driver: str
) -> None:
    project = render(driver=driver, ci="github")
    assert "MariaDB" in DATABASES["mysql"]["test_server"]
    database = yaml.safe_load(project["compose.yaml"])["services"]["database"]
    [server] = yaml.safe_load(project[".github/workflows/ci.yml"])["jobs"]["check"][
        "services"
    ].values()
    assert database["image"] == server["image"]
    assert database["image"].startswith("mariadb:")


@pytest.mark.parametrize("pooler", ["pgbouncer", "pgbouncer_statementless"])
def test_compose_starts_the_pooler_that_was_chosen(render: Render, pooler: str) -> None:
    project = render(driver="asyncpg", pooler=pooler)
    services = yaml.safe_load(project["compose.yaml"])["services"]
    assert list(services) == ["database", "pooler"]
    assert published(services["pooler"]) == POOLER_PORT
    assert env_example(project) == {
        "DATABASE_URL": project.answers["url"].replace(":5432/", f":{POOLER_PORT}/"),
        # Migrations go to the server itself.
        "DATABASE_MIGRATION_URL": project.answers["url"],
    }


def test_the_template_s_folders_are_marked_as_generated(render: Render) -> None:
    project = render()
    project.commit()
    said = git(project.root, "check-attr", "linguist-generated", "--", *project.tree)
    marked = re.findall(r"^(.*): linguist-generated: set$", said, re.M)
    assert marked == [path for path in project.tree if is_ours(path)]


def test_the_lock_file_is_committed_and_ci_installs_what_it_says(render: Render) -> None:
    project = render(ci="github")
    project["uv.lock"] = "version = 1\n"
    project.commit()
    assert "uv.lock" in git(project.root, "ls-files").split()
    workflow = yaml.safe_load(project[".github/workflows/ci.yml"])
    commands = [step.get("run", "") for step in workflow["jobs"]["check"]["steps"]]
    assert [command for command in commands if "sync" in command] == ["uv sync --locked"]


# The README of a service.


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_readme_leads_to_the_handbook_of_the_layer(render: Render, driver: str) -> None:
    project = render(driver=driver, web="fastapi")
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", project["README.md"])
    assert "src/shop/db/README.md" in links
    for link in links:
        path, _, anchor = link.partition("#")
        titles = re.findall(r"^#+ (.*)$", project[path], re.M)
        assert not anchor or anchor in [x.lower().replace(" ", "-") for x in titles], link


def test_the_readme_is_short(render: Render) -> None:
    longest = render(driver="asyncpg", web="fastapi", pooler="pgbouncer", extras=["replicas"])
    assert len(longest["README.md"].splitlines()) <= 80


def test_the_readme_says_how_to_run_the_fast_tests_and_the_probes(render: Render) -> None:
    project = render(extras=["probes"])
    commands = re.findall(r"^uv run pytest (\S+) +# ", project["README.md"], re.M)
    assert commands == ["--ignore=tests/db", "--numprocesses=auto", "tests/db/layer_tests/probes"]
    own, _, probes = (project.run("pytest", "--collect-only", "-q", x) for x in commands)
    assert "tests/test_models.py" in own and "tests/db" not in own
    assert "tests/db/layer_tests/probes/test_repository.py" in probes
    assert "tests/test_models.py" not in probes


def test_the_readme_says_how_to_get_the_probes(render: Render) -> None:
    project = render(driver="asyncpg", extras=["replicas"])
    project.commit()
    [extras] = re.findall(r"copier update --data 'extras=([^']*)'", project["README.md"])
    project.update(extras=extras)
    assert project.answers["extras"] == ["replicas", "probes"]
    assert "tests/db/layer_tests/probes/test_repository.py" in project.tree
