"""Migrations of a service that start at once, are killed, or lose their lock, many times."""

import json
from collections.abc import Callable

import pytest
from harness import FIRST_DRIVERS, REPOSITORY, Project, tiered

Render = Callable[..., Project]

SCRIPT = REPOSITORY / "tests" / "rendered" / "migration_races.py"
SLEEP = {
    "postgresql": 'op.execute("SELECT pg_sleep(0.3)")',
    "mysql": 'op.execute("DO sleep(0.3)")',
    "sqlite": 'op.execute("SELECT 1")',
}
CONCURRENTLY = """
    from shop.db.concurrent_index import create_index_concurrently
    create_index_concurrently("ix_posts_title", "posts", ["title"])
"""
# The pattern for MySQL, which commits each statement: what is there already is left alone.
INDEX = """
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_index("posts", "ix_posts_title"):
        op.create_index("ix_posts_title", "posts", ["title"])
"""
COLUMN = """
    inspector = sa.inspect(op.get_bind())
    if "subtitle" not in {column["name"] for column in inspector.get_columns("posts")}:
        op.add_column("posts", sa.Column("subtitle", sa.Text()))
"""
REVISION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{revision}", "{down}", None, None


def upgrade() -> None:
{body}
    {sleep}
"""


@pytest.mark.server
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.whole)])
@pytest.mark.parametrize("driver", tiered(FIRST_DRIVERS, "aiosqlite", "asyncpg"))
def test_migrations_end_well_however_they_start_and_are_ended(
    render: Render, driver: str, rounds: int
) -> None:
    project = render(driver=driver)
    database = str(project.answers["database"])
    bodies = {"0002": COLUMN, "0003": CONCURRENTLY if database == "postgresql" else INDEX}
    for revision, body in bodies.items():
        project[f"migrations/versions/{revision}.py"] = REVISION.format(
            revision=revision,
            down=f"{int(revision) - 1:04}",
            body=body,
            sleep=SLEEP[database],
        )
    project["races.py"] = SCRIPT.read_text("utf-8")
    said = run(project, str(rounds), "10" if rounds > 1 else "4")
    results = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert [x for x in results if x["well"] < x["rounds"]] == [], said
    # DATABASE_LOCK_TIMEOUT is 3 s.
    assert max(x["wait"] for x in results) < 3.5, said


def run(project: Project, *arguments: str) -> str:
    """Return what the script says, on a server that is ended afterwards."""
    code = "import runpy, sys; from shop.db.testing import databases\n"
    code += "with databases.temporary_server() as url:\n"
    code += "    sys.argv.append(url.render_as_string(hide_password=False))\n"
    code += "    runpy.run_path('races.py', run_name='__main__')\n"
    return project.run("python", "-c", code, *arguments)
