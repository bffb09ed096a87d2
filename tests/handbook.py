"""The handbook that a service has in db/: its blocks of Python, as the modules that tests run."""

import re
from pathlib import PurePosixPath

from harness import Project

PAGES = ("README.md", "RECIPES.md")
FOLDER = "tests/handbook"

# The blocks of MIGRATIONS.md are revisions: test_migration_recipes.py runs them.

# The tables of the examples, in a database of their own.
_CONFTEST = '''"""The database of the handbook's examples."""

from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest_asyncio
import sqlalchemy as sa

from {package}.db import (
    Base,
    Database,
    testing,
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database_template(database_server: sa.URL) -> AsyncGenerator[str]:
    name = f"template_{{uuid4().hex}}"
    async with testing.temporary_database(database_server, name=name) as settings:
        async with Database(settings) as database, database.engine.begin() as connection:
            # The others need a schema or an extension, which their recipes create.
            tables = [x for x in Base.metadata.sorted_tables if not (x.schema or x.info)]
            await connection.run_sync(Base.metadata.create_all, tables)
        yield name
'''
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.py)\n")


def page(project: Project, name: str) -> str:
    """Return a page of the handbook."""
    return project[f"{project.answers['package_dir']}/db/{name}"]


def blocks(text: str) -> list[str]:
    """Return the blocks of Python of a page, or of a part of it."""
    return _BLOCK.findall(text)


def modules(project: Project) -> dict[str, str]:
    """Return the modules of the handbook's blocks, by path.

    A block that begins with a path is that file. The other blocks of a section are one module.
    """
    found: dict[str, str] = {}
    for name in PAGES:
        for section in re.split(r"^## ", page(project, name), flags=re.MULTILINE):
            found_here = blocks(section)
            for block in found_here:
                if file := _FILE.match(block):
                    found[file[1]] = block[file.end() :]
            title = section.partition("\n")[0]
            slug = "_".join(re.findall(r"\w+", title.lower()))
            tests = [block for block in found_here if not _FILE.match(block)]
            if tests:
                path = f"{FOLDER}/test_{slug}.py"
                assert path not in found, f"two sections are called {title}"
                found[path] = f'"""{title}."""\n\n' + "\n\n".join(tests)
    return found


def tests(project: Project) -> dict[str, list[str]]:
    """Return the names of the tests in each module."""
    return {
        path: re.findall(r"^(?:async )?def (test_\w+)\(", text, re.MULTILINE)
        for path, text in modules(project).items()
        if PurePosixPath(path).name.startswith("test_")
    }


def lay(project: Project) -> None:
    """Write the handbook's blocks into a project, where its own tests can run them."""
    for path, text in modules(project).items():
        project[path] = text
    project[f"{FOLDER}/__init__.py"] = '"""The handbook of the layer."""\n'
    project[f"{FOLDER}/conftest.py"] = _CONFTEST.format(package=project.answers["package"])
