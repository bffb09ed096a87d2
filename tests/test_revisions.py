"""Mistakes in a service's migrations, and the sentence with which each is refused."""

import re
from collections.abc import Callable

import pytest
from harness import DRIVERS, FIRST_DRIVERS, Project, tiered

Render = Callable[..., Project]

REVISION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{revision}", "{down}", None, None


def upgrade() -> None:
    {upgrade}


def downgrade() -> None:
    {downgrade}
"""
SELECT = 'op.execute("SELECT 1")'
TABLE = 'op.create_table("others", sa.Column("id", sa.BigInteger(), primary_key=True))'

OTHERS = """

class Other(Base):
    __tablename__ = "others"
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
"""

# Changes of the models that no migration makes, and what the guard then names.
CHANGES = {
    "users.name": ("mapped_column(sa.String(100))", "mapped_column(sa.String(120))"),
    "profiles.bio": ("bio: Mapped[str] =", "bio: Mapped[str | None] ="),
    "posts.title": ("sa.String(200))", 'sa.String(200), server_default="untitled")'),
    "posts.ix_posts_author_id_status": ('        sa.Index(None, "author_id", "status"),\n', ""),
    "tags.uq_tags_name": ("sa.String(50), unique=True)", "sa.String(50))"),
    "tags.color": (
        '    __tablename__ = "tags"\n',
        '    __tablename__ = "tags"\n    color: Mapped[str]\n',
    ),
    "posts.ck_posts_version": (
        "        # For the usual list",
        '        sa.CheckConstraint("version > 0", "version"),\n        # For the usual list',
    ),
    "posts.body": ("mapped_column(sa.Text)", 'mapped_column(sa.Text, comment="Markdown")'),
}


# Compares the database with the service's models, and with those of the layer's own tests.
EVERY_MODEL = """
import sys
from importlib import import_module

import sqlalchemy as sa
from shop.db import migrate
from shop.db.settings import DRIVER
from shop.models import metadata

sys.path.append(".")
probes = "tests.db.layer_tests.probes"
for name in ("mappings", "names", "shapes", "types", "writes"):
    import_module(f"{probes}.test_{name}")
probes = import_module(f"{probes}.models").ProbeBase.metadata
on_postgresql = DRIVER.startswith("postgresql")
for column in (x for table in probes.tables.values() for x in table.columns):
    # docs/mappings.md names these four.
    if on_postgresql and isinstance(column.type, sa.Float) and column.type.precision == 24:
        column.type = sa.REAL()
    if on_postgresql and isinstance(column.type, sa.Enum):
        column.type = sa.Enum(*column.type.enums, native_enum=False)
    if not on_postgresql and isinstance(column.type, sa.JSON):
        column.type = sa.JSON()
    if DRIVER.startswith("mysql") and column.computed is not None:
        column.nullable = True
migrate.run([metadata, probes], include_schemas=on_postgresql)
"""
SCHEMA = """
import asyncio
import sqlalchemy as sa
from shop.db import Database
from shop.db.settings import DRIVER

async def main():
    async with Database() as database, database.transaction() as session:
        if DRIVER.startswith("postgresql"):
            await session.execute(sa.text('CREATE SCHEMA "probe schema"'))

asyncio.run(main())
"""

# Runs the SQL of all migrations in the database's own client.
CLIENT = """
import os, subprocess
from sqlalchemy import make_url

url = make_url(os.environ["DATABASE_URL"])
database, command = url.get_backend_name(), ["alembic", "upgrade", "head", "--sql"]
sql = subprocess.run(command, check=True, capture_output=True, text=True).stdout
address = {"host": url.host, "port": url.port, "user": url.username}
options = [f"--{name}={value}" for name, value in address.items()]
client = {
    "sqlite": ["sqlite3", "-bail", url.database],
    "postgresql": ["psql", "--quiet", "--set=ON_ERROR_STOP=1", "--username=postgres"]
    + options[:2] + [url.database],
    "mysql": ["mariadb", *options, url.database],
}
subprocess.run(client[database], input=sql, check=True, text=True)
"""


def _revise(
    project: Project, revision: str, upgrade: str, downgrade: str, down: str = "0001"
) -> None:
    project[f"migrations/versions/{revision}.py"] = REVISION.format(
        revision=revision, down=down, upgrade=upgrade, downgrade=downgrade
    )


def _refuse(project: Project, test: str, file: str = "test_revisions", **settings: str) -> str:
    """Return what the guards say when this one of them fails, and no other."""
    said = project.fail(
        "pytest", "-q", "-p", "no:randomly", f"tests/db/layer_tests/{file}.py", **settings
    )
    failed = re.findall(r"^FAILED tests/db/layer_tests/\w+\.py::test_(\w+)", said, re.MULTILINE)
    assert failed == [test], said
    return said


def _pass(project: Project, file: str = "test_revisions") -> None:
    project.run("pytest", "-q", f"tests/db/layer_tests/{file}.py")


def _configure(project: Project, fixture: str, value: object) -> None:
    project["tests/conftest.py"] += f"""

@pytest.fixture(scope="session")
def {fixture}() -> object:
    return {value!r}
"""


def test_two_heads_are_to_be_merged(render: Render) -> None:
    project = render()
    _revise(project, "0002", SELECT, SELECT)
    _revise(project, "0003", SELECT, SELECT)
    said = project.fail("pytest", "-q", "tests/db/layer_tests/test_revisions.py", "-k", "one_head")
    (command,) = set(re.findall(r"run `alembic (merge -m merge \w+ \w+)`", said))
    project.run("alembic", *command.split())
    _pass(project)


def test_an_empty_revision_is_refused(render: Render) -> None:
    project = render()
    _revise(project, "0002", "pass", SELECT)
    said = _refuse(project, "every_revision_changes_something")
    assert "0002 changes nothing: delete " in said
    _revise(project, "0002", '"""Marks the release."""', SELECT)
    _pass(project)


def test_a_revision_without_a_downgrade_is_refused_unless_it_says_why(render: Render) -> None:
    project = render()
    _revise(project, "0002", SELECT, "pass")
    said = _refuse(project, "every_revision_can_be_undone_or_says_why_not")
    assert "0002 cannot be undone: write downgrade() in " in said
    _revise(project, "0002", SELECT, 'raise NotImplementedError("the rows are gone")')
    _pass(project)


def test_a_downgrade_that_leaves_something_is_refused(render: Render) -> None:
    project = render()
    _revise(project, "0002", TABLE, SELECT)
    project["src/shop/models.py"] += OTHERS
    said = _refuse(project, "new_revisions_go_up_down_and_up")
    assert "0002: upgrade() after downgrade() failed (" in said, said
    _revise(project, "0002", TABLE, 'op.drop_table("others")')
    _pass(project)


def test_revisions_before_the_mark_are_left_alone(render: Render) -> None:
    project = render()
    _revise(project, "0002", "pass", SELECT)
    _revise(project, "0003", SELECT, SELECT, "0002")
    _configure(project, "revisions_after", "0002")
    _pass(project)
    # On request all of them are looked at.
    _refuse(project, "every_revision_changes_something", TEST_REVISIONS_AFTER="base")
    _configure(project, "guards_accept", {"0002"})
    project.run(
        "pytest", "-q", "tests/db/layer_tests/test_revisions.py", TEST_REVISIONS_AFTER="base"
    )


@pytest.mark.server
@pytest.mark.parametrize("driver", FIRST_DRIVERS)
def test_each_change_of_a_model_without_a_migration_is_named(render: Render, driver: str) -> None:
    project = render(driver=driver)
    models, changes = project["src/shop/models.py"], dict(CHANGES)
    if driver == "aiosqlite":
        # SQLite has no comments.
        del changes["posts.body"]
    for old, new in changes.values():
        assert models.count(old) == 1, old
        models = models.replace(old, new)
    project["src/shop/models.py"] = models
    said = _refuse(project, "the_migrations_make_what_the_models_say")
    # Several with the same advice are a list.
    listed = r"^(\S+) is not in the database as in the models|^    (\S+)$"
    named = [one or other for one, other in re.findall(listed, said, re.MULTILINE)]
    assert sorted(named) == sorted(changes)


@pytest.mark.server
def test_squawk_refuses_what_keeps_a_service_waiting(render: Render) -> None:
    project = render(driver="asyncpg")
    _revise(
        project,
        "0002",
        'op.create_index("ix_posts_title", "posts", ["title"])',
        'op.drop_index("ix_posts_title")',
    )
    said = _refuse(project, "no_new_revision_keeps_the_service_waiting", "test_squawk")
    assert "0002 require-concurrent-index-creation During normal index creation" in said
    _configure(project, "guards_accept", {"0002 require-concurrent-index-creation"})
    _pass(project, "test_squawk")


def test_a_revision_that_would_be_empty_is_not_written(render: Render) -> None:
    project = render()
    before = project.tree
    said = project.run_on_a_database(
        "alembic upgrade head", "alembic revision --autogenerate -m nothing", "alembic check"
    )
    assert "The models and the migrations agree: no revision is written." in said
    assert [x for x in project.tree if x not in before and x.endswith(".py")] == []


@pytest.mark.server
@pytest.mark.parametrize("driver", FIRST_DRIVERS)
def test_a_new_revision_is_fit_to_be_committed(render: Render, driver: str) -> None:
    project = render(driver=driver)
    models = project["src/shop/models.py"]
    for old, new in (
        ("title: Mapped[str]", "headline: Mapped[str]"),
        (
            "    email: Mapped[str]",
            "    seen_at: Mapped[datetime | None] = mapped_column(UTCDateTime)\n"
            "    balance: Mapped[Decimal | None] = mapped_column(ExactDecimal(10, 2))\n"
            "    extra: Mapped[JSONObject | None]\n"
            "    email: Mapped[str]",
        ),
        ("    Base,\n", "    Base,\n    ExactDecimal,\n    UTCDateTime,\n"),
        ("from enum", "from datetime import datetime\nfrom decimal import Decimal\nfrom enum"),
        (
            "        # For the usual list",
            '        partial_index("headline", where="deleted_at IS NULL"),\n'
            "        # For the usual list",
        ),
    ):
        assert models.count(old) == 1, old
        models = models.replace(old, new)
    project["src/shop/models.py"] = models
    revision = "alembic revision --autogenerate -m headlines"
    project.run_on_a_database("alembic upgrade head", revision)
    (path,) = (x for x in project.tree if x.endswith("_headlines.py"))
    assert re.search(r"/20\d{6}_\d{4}_[0-9a-f]{12}_headlines\.py$", path)
    assert "# Was a column renamed? Then op.alter_column(new_column_name=...)" in project[path]
    project.run("ruff", "check", path)
    project.run("ruff", "format", "--check", path)
    project.run("mypy", "--strict", path)
    # It stands alone, and makes what the models say.
    assert "shop" not in project[path]
    project.run_on_a_database("alembic upgrade head", "alembic check", "alembic downgrade base")


@pytest.mark.server
@pytest.mark.parametrize("driver", tiered(DRIVERS, "aiosqlite", "asyncpg"))
def test_every_kind_of_column_and_table_goes_up_down_and_up(render: Render, driver: str) -> None:
    project = render(driver=driver, extras=["probes"])
    project["migrations/env.py"], project["schema.py"] = EVERY_MODEL, SCHEMA
    said = project.run_on_a_database(
        "alembic upgrade head",
        "python schema.py",
        "alembic revision --autogenerate -m all",
        "alembic upgrade head",
        "alembic check",
        "alembic downgrade base",
        "alembic upgrade head",
        "alembic check",
    )
    assert said.count("No new upgrade operations detected.") == 2
    (path,) = (x for x in project.tree if x.endswith("_all.py"))
    tables = re.findall(r"op.create_table\(\s+\"(.*?)\"", project[path])
    assert {"shape_joined", "probe_specimens", "probe_rarities"} < {*tables} and len(tables) > 30


@pytest.mark.server
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_sql_of_the_migrations_runs_in_the_databases_client(
    render: Render, driver: str
) -> None:
    project = render(driver=driver)
    if project.answers["database"] == "mysql":
        # The server is MariaDB, which has a type for a UUID: MIGRATIONS.md says so.
        before = project["migrations/env.py"]
        url = f'migrate.run(metadata, url="mariadb+{driver}://")'
        assert url in project["src/shop/db/MIGRATIONS.md"]
        project["migrations/env.py"] = before.replace("migrate.run(metadata)", url)
    _revise(
        project,
        "0002",
        """op.execute("UPDATE posts SET title = '5% off: it''s' WHERE title LIKE 'a%'")""",
        SELECT,
    )
    project["client.py"] = CLIENT
    doctor = "python -m shop.db doctor"
    said = project.run_on_a_database("python client.py", "alembic check", doctor)
    assert "at 0002, the newest revision" in said
