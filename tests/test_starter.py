"""A service begins with a blog or without one, and its README says how to go on from there."""

import re
import shlex
from collections.abc import Callable

import pytest
from harness import DRIVERS, Project, is_ours, tiered

Render = Callable[..., Project]

FIRST_REVISION = 'alembic revision --autogenerate -m "first tables"'

# What an owner writes in place of the blog.
MODELS = '''"""The tables of this service."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from .db import Base, PrimaryKey


class Parcel(PrimaryKey, Base):
    __tablename__ = "parcels"

    number: Mapped[str] = mapped_column(sa.String(20), unique=True)


metadata = Base.metadata
'''
MODELS_TEST = '''"""What the parcels promise."""

from sqlalchemy.ext.asyncio import AsyncSession

from shop.db import Repository
from shop.models import Parcel


async def test_a_parcel_is_found(session: AsyncSession) -> None:
    parcels = Repository[Parcel](session)
    parcel = await parcels.create(number="1")
    assert await parcels.find(Parcel.number == "1") == [parcel]
'''


def blocks(project: Project, kind: str) -> list[str]:
    """Return the code blocks that the README has in the steps of its lists."""
    found = re.findall(rf"^   ```{kind}\n(.*?)^   ```", project["README.md"], re.M | re.S)
    return [re.sub("^   ", "", block, flags=re.M) for block in found]


@pytest.mark.server
@pytest.mark.parametrize("driver", tiered(DRIVERS, "aiosqlite"))
def test_a_service_without_a_blog_passes_its_tests_before_and_after_its_first_revision(
    render: Render, driver: str
) -> None:
    # The API adds files, and takes none away: so the driver of `make demo` does without.
    web = "none" if driver == "aiosqlite" else "fastapi"
    project = render(starter="none", driver=driver, web=web)
    project.run("pytest", "-q")
    said = project.run_on_a_database(
        "alembic upgrade head",
        "python -m shop.db doctor",
        FIRST_REVISION,
        "alembic upgrade head",
        "alembic check",
        "alembic downgrade base",
    )
    assert "there is no revision yet" in said
    [revision] = (project.root / "migrations/versions").glob("*.py")
    assert '"items"' in revision.read_text()
    output = project.run("pytest", "-q")
    # The guards over revisions are skipped as long as there is none.
    assert "skipped" not in output.splitlines()[-1]
    project.run("ruff", "check", "--no-cache")
    project.run("ruff", "format", "--check", "--no-cache")


def test_the_code_that_the_readme_begins_with_works(render: Render) -> None:
    project = render(starter="none", web="fastapi")
    paths = ("src/shop/repositories.py", "src/shop/api.py", "tests/test_items.py")
    for path, block in zip(paths, blocks(project, "python"), strict=True):
        project[path] = block
    project["src/shop/app.py"] = (
        project["src/shop/app.py"]
        .replace("from .db import", "from . import api\nfrom .db import")
        .replace("    # Include your", "    app.include_router(api.router)\n    # Include your")
    )
    for command in "".join(blocks(project, "sh")).splitlines():
        project.run(*_words(command))
    project["tests/api/test_items.py"] = """from httpx import AsyncClient

from shop.db import Database
from shop.repositories import ItemRepository


async def test_items_are_listed(client: AsyncClient, database: Database) -> None:
    async with database.transaction() as session:
        await ItemRepository(session).create(name="pen")
    page = (await client.get("/items", params={"name__contains": "en"})).json()
    assert page["items"] == [{"name": "pen"}]
"""
    project.run("pytest", "-q")
    project.run("ruff", "check", "--no-cache")
    project.run("ruff", "format", "--check", "--no-cache")
    project.run("mypy")


@pytest.mark.parametrize("web", ["none", "fastapi"])
def test_the_blog_is_replaced_in_the_steps_of_the_readme(render: Render, web: str) -> None:
    project = render(web=web)
    # As a service that has run.
    project.run("alembic", "upgrade", "head")
    delete, create = (block.splitlines() for block in blocks(project, "sh"))
    steps = 0
    for command in delete:
        words = _words(command)
        if words[0] == "rm":
            for path in words[1:]:
                del project[path]
        else:
            project.run(*words)
        steps += 1
    assert project["src/shop/models.py"].rstrip().endswith("\nmetadata = Base.metadata")
    project["src/shop/models.py"] = MODELS
    project["tests/test_models.py"] = MODELS_TEST
    steps += 2
    if web == "fastapi":
        lines = project["src/shop/app.py"].splitlines(keepends=True)
        kept = [line for line in lines if not re.search(r"\bapi\b", line)]
        assert len(kept) == len(lines) - 2
        project["src/shop/app.py"] = "".join(kept)
        steps += 1
    for command in create:
        project.run(*_words(command))
        steps += 1
    assert steps < 15
    project.run("alembic", "check")
    project.run("ruff", "check", "--no-cache")
    project.run("ruff", "format", "--check", "--no-cache")
    if web == "fastapi":
        project.run("mypy")
    # Nothing of the blog is left.
    for path in project.tree:
        if path.endswith(".py") and not is_ours(path):
            assert not re.search(r"\b(posts?|users?)\b", project[path]), path


def _words(command: str) -> list[str]:
    """Return the words of a command, without the `uv run` of a project that is installed."""
    return shlex.split(command.removeprefix("uv run "))
