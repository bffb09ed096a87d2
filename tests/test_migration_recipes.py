"""The recipes of docs/migrations.md do what they say, on tables with rows."""

import re
from collections.abc import Callable

import pytest
from harness import FIRST_DRIVERS, REPOSITORY, Project

Render = Callable[..., Project]

PAGE = (REPOSITORY / "docs" / "migrations.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n# (.*?)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

HEADER = '''"""A recipe."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from shop.db import migrate
{imports}
revision, down_revision, branch_labels, depends_on = "{revision}", "{down}", None, None


'''
ROWS = """
import asyncio
from shop.db import Database
from shop.models import Post, User

async def main():
    async with Database() as database, database.transaction() as session:
        users = [User(email=f"A{n}@example.com", name=f"A{n}") for n in range(30)]
        session.add_all([Post(author=x, title=f"T{n}", body="b") for x in users for n in range(50)])
        session.add_all(users)

asyncio.run(main())
"""
LEFT = """
import asyncio
import sqlalchemy as sa
from shop.db import Database

async def main():
    async with Database() as database, database.reader() as session:
        for table in ("posts", "post_bodies"):
            print(table, await session.scalar(sa.text(f"SELECT count(*) FROM {table}")))

asyncio.run(main())
"""
SCHEMA = """
import asyncio
import sqlalchemy as sa
from shop.db import Database

async def main():
    async with Database() as database, database.transaction() as session:
        await session.execute(sa.text("CREATE SCHEMA migrations"))

asyncio.run(main())
"""
PROGRAM = """
import asyncio, os
from shop.db import DatabaseSettings, migrate

async def main():
    urls = [os.environ["DATABASE_URL"]]
{body}

asyncio.run(main())
"""


def _blocks(database: str) -> list[str]:
    """Return the revisions of the page for a database, in order."""
    names = {"all", database}
    return [
        text for label, text in BLOCKS if names & {*label.split(", ")} and "env.py" not in label
    ]


def test_every_block_of_the_page_says_where_it_belongs() -> None:
    assert PAGE.count("```python\n") == len(BLOCKS)
    known = {"all", "env.py", "program", "postgresql", "mysql", "sqlite"}
    assert {name for label, _ in BLOCKS for name in label.split(", ")} == known


@pytest.mark.server
@pytest.mark.parametrize("driver", FIRST_DRIVERS)
def test_the_revisions_of_the_page_go_up_down_and_up(render: Render, driver: str) -> None:
    project = render(driver=driver)
    database = str(project.answers["database"])
    concurrent = "from shop.db.concurrent_index import create_index_concurrently\n"
    for number, text in enumerate(_blocks(database), start=2):
        project[f"migrations/versions/{number:04}.py"] = (
            HEADER.format(
                revision=f"{number:04}",
                down=f"{number - 1:04}",
                imports=concurrent if database == "postgresql" else "",
            )
            + text
        )
    project["rows.py"], project["left.py"] = ROWS, LEFT
    said = project.run_on_a_database(
        "alembic upgrade 0001",
        "python rows.py",
        "alembic upgrade head",
        "python left.py",
        "alembic downgrade 0001",
        "alembic upgrade head",
        "python left.py",
    )
    assert said.count("\nposts 1500\npost_bodies 1500\n") == 2
    assert "1000 posts have a slug\n1500 posts have a slug\n" in said


def test_the_version_table_may_have_a_schema_and_tenants_a_database_each(render: Render) -> None:
    project = render(driver="asyncpg")
    (env,) = (text for label, text in BLOCKS if label.startswith("env.py"))
    before = project["migrations/env.py"]
    assert before.count("migrate.run(metadata)\n") == 1
    project["migrations/env.py"] = before.replace("migrate.run(metadata)\n", env)
    (program,) = (text for label, text in BLOCKS if label == "program")
    body = "".join(f"    {line}\n" for line in program.splitlines())
    project["program.py"], project["schema.py"] = PROGRAM.format(body=body), SCHEMA
    commands = ("python program.py", "python program.py", "alembic check", "alembic current")
    said = project.run_on_a_database("python schema.py", *commands)
    assert "0001 (head)" in said
