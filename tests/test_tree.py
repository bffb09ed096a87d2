"""Which files a project gets, and whose each of them is."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import (
    ANSWERS,
    DRIVERS,
    REPOSITORY,
    SERVER_DRIVERS,
    Answers,
    Project,
    Template,
    is_ours,
)

Ask = Callable[..., Answers]
Render = Callable[..., Project]

# Probes that come with another answer too.
WEB_PROBES = [
    f"tests/db/layer_tests/probes/{name}.py"
    for name in ("test_answers", "test_fastapi", "test_fastapi_lists", "web")
]
POSTGRESQL_PROBES = ["tests/db/layer_tests/probes/test_concurrent_index.py"]
REPLICA_PROBES = [
    "tests/db/layer_tests/probes/replicas.py",
    "tests/db/layer_tests/probes/test_replicas.py",
]
# The layer's own tests, of which there are more with each release.
PROBES = [
    path
    for file in (
        REPOSITORY / "template" / "{{ tests_dir }}" / "db" / "layer_tests" / "probes"
    ).iterdir()
    if file.is_file()
    if (path := f"tests/db/layer_tests/probes/{file.name.removesuffix('.jinja')}")
    not in (*WEB_PROBES, *REPLICA_PROBES, *POSTGRESQL_PROBES)
]

OURS = [
    "src/shop/db/MIGRATIONS.md",
    "src/shop/db/README.md",
    "src/shop/db/RECIPES.md",
    "src/shop/db/__init__.py",
    "src/shop/db/__main__.py",
    "src/shop/db/analysis.py",
    "src/shop/db/database.py",
    "src/shop/db/doctor.py",
    "src/shop/db/engine/__init__.py",
    "src/shop/db/engine/dialect.py",
    "src/shop/db/engine/driver.py",
    "src/shop/db/engine/driver_errors.py",
    "src/shop/db/engine/engine.py",
    "src/shop/db/engine/health.py",
    "src/shop/db/errors.py",
    "src/shop/db/manifest.sha256",
    "src/shop/db/migrate.py",
    "src/shop/db/models/__init__.py",
    "src/shop/db/models/base.py",
    "src/shop/db/models/keys.py",
    "src/shop/db/models/mixins.py",
    "src/shop/db/models/soft_delete.py",
    "src/shop/db/models/types.py",
    "src/shop/db/repository/__init__.py",
    "src/shop/db/repository/bulk.py",
    "src/shop/db/repository/columns.py",
    "src/shop/db/repository/cursor.py",
    "src/shop/db/repository/filters.py",
    "src/shop/db/repository/keyset.py",
    "src/shop/db/repository/pages.py",
    "src/shop/db/repository/repository.py",
    "src/shop/db/ruff.toml",
    "src/shop/db/session/__init__.py",
    "src/shop/db/session/ending.py",
    "src/shop/db/session/guard.py",
    "src/shop/db/session/on_commit.py",
    "src/shop/db/session/reader.py",
    "src/shop/db/session/session.py",
    "src/shop/db/session/slots.py",
    "src/shop/db/session/sync_session.py",
    "src/shop/db/settings.py",
    "src/shop/db/testing/__init__.py",
    "src/shop/db/testing/databases.py",
    "src/shop/db/testing/event_loop.py",
    "src/shop/db/testing/fixtures.py",
    "src/shop/db/testing/query_log.py",
    "src/shop/db/tls.py",
    "src/shop/db/versions.py",
    "tests/db/layer_tests/__init__.py",
    "tests/db/layer_tests/conftest.py",
    "tests/db/layer_tests/engines.py",
    "tests/db/layer_tests/refusal.py",
    "tests/db/ruff.toml",
    "tests/db/layer_tests/test_guards.py",
    "tests/db/layer_tests/test_revisions.py",
    "tests/db/layer_tests/test_smoke.py",
]

THEIRS = [
    ".env.example",
    ".gitattributes",
    ".gitignore",
    "README.md",
    "alembic.ini",
    "migrations/env.py",
    "migrations/script.py.mako",
    "migrations/versions/0001_starter.py",
    "pyproject.toml",
    "src/shop/__init__.py",
    "src/shop/models.py",
    "src/shop/py.typed",
    "src/shop/repositories.py",
    "src/shop/schemas.py",
    "src/shop/service.py",
    "tests/__init__.py",
    "tests/conftest.py",
    # The template's, in services alone.
    "tests/db/README.md",
    "tests/test_models.py",
    "tests/test_service.py",
]

# For a database that has a server: where the tests find one, and one for development.
SERVER = ["compose.yaml", "src/shop/db/testing/servers.py"]


def server_files(driver: str) -> list[str]:
    """What a driver with a server adds: COPY, lists of hosts and squawk are PostgreSQL's."""
    postgresql = [
        "src/shop/db/concurrent_index.py",
        "src/shop/db/engine/hosts.py",
        "src/shop/db/repository/copy.py",
        "tests/db/layer_tests/test_squawk.py",
    ]
    return [*SERVER, *(postgresql if DRIVERS[driver]["database"] == "postgresql" else [])]


# For FastAPI: the layer's module; the API, and its tests.
WEB_OURS = ["src/shop/db/fastapi.py", "src/shop/db/fastapi_lists.py"]
WEB_THEIRS = [
    "src/shop/api.py",
    "src/shop/app.py",
    "tests/api/__init__.py",
    "tests/api/conftest.py",
    "tests/api/test_app.py",
    "tests/api/test_posts.py",
    "tests/api/test_users.py",
]

# What the blog consists of, besides the models.
BLOG = [
    "migrations/versions/0001_starter.py",
    "src/shop/repositories.py",
    "src/shop/schemas.py",
    "src/shop/service.py",
    "tests/test_models.py",
    "tests/test_service.py",
]
WEB_BLOG = ["src/shop/api.py", "tests/api/test_posts.py", "tests/api/test_users.py"]

# For replicas.
REPLICAS = ["src/shop/db/replicas.py"]

# What a project that exists is given too, where it has none.
WITH_A_LAYER = [
    "alembic.ini",
    "migrations/env.py",
    "migrations/script.py.mako",
    "tests/conftest.py",
]

# The least and the most that each scope emits, on each driver.
ALL_ANSWERS: list[dict[str, str]] = [
    *(
        {"scope": scope, "driver": driver, "web": web, "ci": ci}
        for scope in ("service", "layer")
        for driver in DRIVERS
        for web, ci in (("none", "none"), ("fastapi", "github"))
    ),
    {"scope": "service", "starter": "none"},
    {"scope": "service", "starter": "none", "web": "fastapi"},
]


def test_a_service_on_sqlite(render: Render) -> None:
    assert render(driver="aiosqlite").tree == sorted([ANSWERS, *OURS, *THEIRS])


@pytest.mark.parametrize("driver", SERVER_DRIVERS)
def test_a_service_on_a_server(render: Render, driver: str) -> None:
    assert render(driver=driver).tree == sorted([ANSWERS, *OURS, *THEIRS, *server_files(driver)])


def test_a_service_with_continuous_integration(render: Render) -> None:
    added = ".github/workflows/ci.yml"
    assert render(ci="github").tree == sorted([ANSWERS, *OURS, *THEIRS, added])


def test_a_service_with_an_api(render: Render) -> None:
    added = [*WEB_OURS, *WEB_THEIRS]
    assert render(web="fastapi").tree == sorted([ANSWERS, *OURS, *THEIRS, *added])


def test_a_service_without_a_blog(render: Render) -> None:
    kept = sorted({ANSWERS, *OURS, *THEIRS} - {*BLOG})
    assert render(starter="none").tree == kept
    kept = sorted({ANSWERS, *OURS, *THEIRS, *WEB_OURS, *WEB_THEIRS} - {*BLOG, *WEB_BLOG})
    assert render(starter="none", web="fastapi").tree == kept


@pytest.mark.parametrize("driver", SERVER_DRIVERS)
def test_a_service_with_replicas(render: Render, driver: str) -> None:
    project = render(driver=driver, extras=["replicas"])
    assert project.tree == sorted([ANSWERS, *OURS, *THEIRS, *server_files(driver), *REPLICAS])


def test_a_service_with_the_probes(render: Render) -> None:
    assert render(extras=["probes"]).tree == sorted([ANSWERS, *OURS, *THEIRS, *PROBES])


def test_a_service_with_an_api_and_the_probes(render: Render) -> None:
    added = [*WEB_OURS, *WEB_THEIRS, *PROBES, *WEB_PROBES]
    project = render(web="fastapi", extras=["probes"])
    assert project.tree == sorted([ANSWERS, *OURS, *THEIRS, *added])


def test_a_service_with_replicas_and_the_probes(render: Render) -> None:
    added = [*server_files("asyncpg"), *REPLICAS, *PROBES, *REPLICA_PROBES, *POSTGRESQL_PROBES]
    project = render(driver="asyncpg", extras=["replicas", "probes"])
    assert project.tree == sorted([ANSWERS, *OURS, *THEIRS, *added])


def test_a_layer_for_an_api_gets_the_layers_part_alone(render: Render) -> None:
    project = render(scope="layer", web="fastapi")
    assert project.tree == sorted([ANSWERS, *OURS, *WITH_A_LAYER, *WEB_OURS])


def test_a_layer(render: Render) -> None:
    assert render(scope="layer").tree == sorted([ANSWERS, *OURS, *WITH_A_LAYER])


@pytest.mark.parametrize("driver", SERVER_DRIVERS)
def test_a_layer_on_a_server_adds_what_its_tests_need_and_no_more(
    render: Render, driver: str
) -> None:
    project = render(scope="layer", driver=driver, ci="github")
    added = [path for path in server_files(driver) if path != "compose.yaml"]
    assert project.tree == sorted([ANSWERS, *OURS, *WITH_A_LAYER, *added])


def test_a_layer_lies_where_its_package_is(render: Render) -> None:
    project = render(scope="layer", package_dir="libs/shop")
    moved = [path.replace("src/shop/", "libs/shop/") for path in OURS]
    assert project.tree == sorted([ANSWERS, *moved, *WITH_A_LAYER])


@pytest.mark.parametrize("answers", ALL_ANSWERS, ids=lambda answers: "-".join(answers.values()))
def test_no_folder_is_left_empty(render: Render, answers: dict[str, str]) -> None:
    folders = [path for path in render(**answers).root.rglob("*") if path.is_dir()]
    assert [folder for folder in folders if not any(folder.iterdir())] == []


def test_the_list_of_seeds_is_all_that_lies_in_no_folder_named_db(ask: Ask, render: Render) -> None:
    everything = {path for answers in ALL_ANSWERS for path in render(**answers).tree}
    seeds = ask(package="shop")["seeds"]
    listed = [path for paths in seeds.values() for path in paths]
    assert sorted(listed) == sorted(
        path for path in everything if not is_ours(path) and path != ANSWERS
    )


@pytest.mark.parametrize("scope", ["service", "layer"])
def test_a_copy_into_a_project_that_exists_leaves_its_files_as_they_are(
    template: Template, render: Render, tmp_path: Path, scope: str
) -> None:
    theirs = [path for path in render(scope="service").tree if not is_ours(path)]
    theirs.remove(ANSWERS)
    for path in [*theirs, "src/shop/views.py", "tests/test_views.py"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"theirs: {path}\n")
    project = template.render(tmp_path, scope=scope)
    assert project["src/shop/views.py"] == "theirs: src/shop/views.py\n"
    assert {path: project[path] for path in theirs} == {
        path: f"theirs: {path}\n" for path in theirs
    }
    assert project["src/shop/db/engine/engine.py"] == render()["src/shop/db/engine/engine.py"]


def test_a_copy_into_a_project_that_exists_gives_it_what_it_lacks(
    template: Template, tmp_path: Path
) -> None:
    (tmp_path / "alembic.ini").write_text("theirs\n")
    (tmp_path / "pyproject.toml").write_text("# theirs\n")
    project = template.render(tmp_path, scope="layer")
    # Where Alembic is set up there are scripts of theirs too, wherever they are.
    given = ["alembic.ini", "pyproject.toml", "tests/conftest.py"]
    assert project.tree == sorted([ANSWERS, *OURS, *given])


def test_a_second_copy_of_a_layer_knows_its_own_folders(template: Template, tmp_path: Path) -> None:
    first = template.render(tmp_path, scope="layer").contents()
    del first[ANSWERS]
    (tmp_path / ANSWERS).unlink()
    assert first.items() <= template.render(tmp_path, scope="layer").contents().items()


@pytest.mark.parametrize("answers", ALL_ANSWERS, ids=lambda answers: "-".join(answers.values()))
def test_no_path_of_any_release_is_gone(template: Template, answers: dict[str, str]) -> None:
    # An update would delete it, with its owner's edits and without a word.
    assert template.lost_paths(**answers) == {}
