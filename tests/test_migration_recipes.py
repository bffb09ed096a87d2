"""The recipes of MIGRATIONS.md, in the handbook, do what they say, on tables with rows."""

from collections.abc import Callable

import handbook
import pytest
from harness import FIRST_DRIVERS, Project

Render = Callable[..., Project]

HEADER = '''"""A recipe."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from shop.db import migrate
{imports}
revision, down_revision, branch_labels, depends_on = "{revision}", {down}, None, None


'''
# The tables of the handbook, which its README describes.
TABLES = """
from shop.billing import Base, Customer, Invoice, Line

TABLES = [each.__table__ for each in (Customer, Invoice, Line)]


def upgrade() -> None:
    Base.metadata.create_all(op.get_bind(), TABLES)


def downgrade() -> None:
    Base.metadata.drop_all(op.get_bind(), TABLES)
"""
ROWS = """
import asyncio
from shop.billing import Customer, CustomerRepository, InvoiceRepository
from shop.db import Database

async def main():
    async with Database() as database, database.transaction() as session:
        customers = CustomerRepository(session)
        names = [f"A{n}" for n in range(1500)]
        await customers.insert_many({"email": f"{x}@example.com", "name": x} for x in names)
        some = await customers.find(limit=100)
        rows = [{"customer_id": each.id, "number": each.name} for each in some]
        await InvoiceRepository(session).insert_many(rows)

asyncio.run(main())
"""
LEFT = """
import asyncio
import sqlalchemy as sa
from shop.db import Database

async def main():
    async with Database() as database, database.reader() as session:
        for table in ("customers", "invoices", "customer_emails"):
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

TENANTS = """
import asyncio
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from shop.db import Database, DatabaseSettings, migrate

{body}

async def main():
    names = ["a tenant", "two"]
    await migrate_schemas(DatabaseSettings(), names)
    async with Database() as database, database.reader() as session:
        version = 'SELECT version_num FROM "%s".alembic_version'
        print(
            {{x: await session.scalar(sa.text(version % x)) for x in names}},
            (await session.scalars(sa.text(
                "SELECT table_name FROM information_schema.tables WHERE table_name = 'posts'"
            ))).all(),
        )

asyncio.run(main())
"""


def _blocks(project: Project, mark: str) -> list[str]:
    """Return the blocks of the page that have this in them."""
    return [x for x in handbook.blocks(handbook.page(project, "MIGRATIONS.md")) if mark in x]


@pytest.mark.parametrize("driver", FIRST_DRIVERS)
def test_every_block_of_the_page_is_executed(render: Render, driver: str) -> None:
    project = render(driver=driver)
    executed = ("def upgrade()", "migrate.run(", "migrate.upgrade(", "migration_lock(")
    blocks = handbook.blocks(handbook.page(project, "MIGRATIONS.md"))
    assert [sum(mark in block for mark in executed) for block in blocks] == [1] * len(blocks)


@pytest.mark.server
@pytest.mark.parametrize("driver", FIRST_DRIVERS)
def test_the_revisions_of_the_page_go_up_down_and_up(render: Render, driver: str) -> None:
    # Both kinds of keys, since a table refers to another one.
    key = "bigint" if driver == "asyncmy" else "uuid7"
    project = render(driver=driver, starter="none", key=key)
    handbook.lay(project)
    concurrent = "from shop.db.concurrent_index import create_index_concurrently\n"
    imports = concurrent if project.answers["database"] == "postgresql" else ""
    for number, text in enumerate([TABLES, *_blocks(project, "def upgrade()")], start=1):
        down = f'"{number - 1:04}"' if number > 1 else None
        header = HEADER.format(revision=f"{number:04}", down=down, imports=imports)
        project[f"migrations/versions/{number:04}.py"] = header + text
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
    assert said.count("\ncustomers 1500\ninvoices 100\ncustomer_emails 1500\n") == 2
    assert "1000 customers have a slug\n1500 customers have a slug\n" in said


def test_the_version_table_may_have_a_schema_and_tenants_a_database_each(render: Render) -> None:
    project = render(driver="asyncpg")
    (env,) = _blocks(project, "migrate.run(")
    before = project["migrations/env.py"]
    assert before.count("migrate.run(metadata)\n") == 1
    project["migrations/env.py"] = before.replace("migrate.run(metadata)\n", env)
    (program,) = _blocks(project, "migrate.upgrade(")
    body = "".join(f"    {line}\n" for line in program.splitlines())
    project["program.py"], project["schema.py"] = PROGRAM.format(body=body), SCHEMA
    commands = ("python program.py", "python program.py", "alembic check", "alembic current")
    said = project.run_on_a_database("python schema.py", *commands)
    assert "0001 (head)" in said


@pytest.mark.server
def test_each_schema_of_a_tenant_is_migrated(render: Render) -> None:
    project = render(driver="asyncpg")
    (program,) = _blocks(project, "migration_lock(")
    project["program.py"] = TENANTS.format(body=program)
    said = project.run_on_a_database("python program.py", "python program.py")
    assert said.count("{'a tenant': '0001', 'two': '0001'} ['posts', 'posts']") == 2
