"""The layer in a project that exists: kinds of them, each as its owners would go about it."""

import re
import shutil
import sqlite3
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from copier import run_copy
from harness import ANSWERS, REPOSITORY, SNAPSHOT, Project, Template, git, is_ours, tiered

NEXT = "v9999.1.0"

# Models of theirs: one relation, with the index that it needs or without.
MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column
{base}

class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True)


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customers.id"){index})
"""
OUR_BASE = "from .db import Base\n"
THEIR_BASE = (
    "from sqlalchemy.orm import DeclarativeBase\n\n\nclass Base(DeclarativeBase):\n    pass\n"
)

# A test of theirs, with the layer's fixtures; one without, in a loop of its own.
TEST = """
import asyncio

from shop.db import Repository
from shop.models import Customer, Order


async def test_an_order_is_found(session) -> None:
    customer = await Repository[Customer](session).create()
    order = await Repository[Order](session).create(customer_id=customer.id)
    assert await Repository[Order](session).find() == [order]
    assert await Repository[Customer](session).count() == 1


def test_of_their_own() -> None:
    assert asyncio.run(asyncio.sleep(0, "done")) == "done"
"""

APP = """
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def root() -> str:
    return "theirs"
"""

CONFTEST = """
import pytest
from fastapi.testclient import TestClient
from shop.app import app


@pytest.fixture
def client() -> TestClient:
    return TestClient(app)


@pytest.fixture
def session() -> str:
    return "theirs"


@pytest.fixture
def database() -> str:
    return "theirs"
"""

APP_TEST = """
def test_the_app_is_as_it_was(client, session, database) -> None:
    assert {session, database} == {"theirs"}
    assert client.get("/").json() == "theirs"
"""

ALEMBIC = """
[alembic]
script_location = %(here)s/alembic
prepend_sys_path = %(here)s/src
path_separator = os
"""

# As it was before the layer came: it knows its own database, and nothing of settings.
THEIR_ENV = """
import sqlalchemy as sa
from alembic import context

with sa.create_engine("sqlite:///production.db").connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

MAKO = """
from alembic import op
import sqlalchemy as sa

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
"""

# Their migrations find a table of others.
PREPARE = """
from sqlalchemy import text

@pytest.fixture(scope="session")
def prepare_database():
    async def prepare(connection):
        await connection.execute(text("CREATE TABLE places (id INTEGER)"))

    return prepare
"""

EXPECTS = """
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    op.execute("INSERT INTO places VALUES (1)")
    op.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY)")
    op.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER)")
"""

# They have a db, and Alembic in a folder of its own.
CROWDED = {
    "src/shop/__init__.py": "",
    "src/shop/db.py": "engine = None\n",
    "src/shop/data/__init__.py": "",
    "src/shop/models.py": MODELS.format(base="from .data.db import Base\n", index=", index=True"),
    "src/shop/settings.py": "DB_URI = 'sqlite:///../theirs.sqlite'\n",
    "src/alembic.ini": ALEMBIC.replace("(here)s/src", "(here)s"),
    "src/alembic/env.py": "raise NotImplementedError('theirs')\n",
    "src/alembic/script.py.mako": MAKO,
    "src/alembic/versions/1.py": EXPECTS,
}

ANYIO = """
import pytest

@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_with_their_mark(session) -> None:
    pass
"""

# Fixtures and tests as one writes them who knows of one event loop, that of the test.
LOOPS = """
import asyncio

import pytest
import pytest_asyncio
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop.models import User


@pytest_asyncio.fixture
async def loop():
    return asyncio.get_running_loop()


@pytest_asyncio.fixture
async def user(session):
    session.add(user := User(email="ada@example.com", name="Ada"))
    await session.flush()
    yield user
    await session.refresh(user)


async def test_of_the_database(loop, user, session) -> None:
    assert loop is asyncio.get_running_loop()
    assert await session.scalar(sa.select(User.email)) == user.email


def test_of_the_database_that_awaits_nothing(user) -> None:
    assert user.id


class TestOfTheDatabase:
    @pytest_asyncio.fixture
    async def number(self, session) -> int:
        return await session.scalar(sa.select(1))

    async def test_in_a_class(self, number, session) -> None:
        assert number == await session.scalar(sa.select(1))


@given(number=st.integers(0, 9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=3)
async def test_with_examples(session, number) -> None:
    assert await session.scalar(sa.select(sa.literal(number))) == number


@pytest.mark.asyncio
async def test_of_their_own(loop) -> None:
    assert loop is asyncio.get_running_loop()
"""

TOP_LEVEL_DB = """
from db.models import NAME


def test_it() -> None:
    assert NAME == "theirs"
"""

# The tests get the tables without migrations.
CREATE = """
import pytest_asyncio
from shop import db
from uuid import uuid4

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database_template(database_server):
    name = f"template_{uuid4().hex}"
    async with testing.temporary_database(database_server, name=name) as settings:
        async with db.Database(settings) as database, database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield name
"""

ACCEPT = """
@pytest.fixture(scope="session")
def guards_accept():
    return {"*(*)"}
"""

PYPROJECT = '[project]\nname = "shop"\nversion = "1"\n'


@dataclass(frozen=True)
class Kind:
    """A kind of project: its files, and how the layer is asked for."""

    files: dict[str, str]
    base: str = OUR_BASE
    package_dir: str = "src/shop"
    env: str = "migrations/env.py"
    driver: str = "aiosqlite"
    answers: dict[str, str] = field(default_factory=dict[str, str])


KINDS = {
    "src layout, pytest-asyncio strict": Kind({"src/shop/__init__.py": ""}),
    "flat layout, pytest-asyncio auto, importlib": Kind(
        {
            "shop/__init__.py": "",
            "tests/__init__.py": "",
            "pyproject.toml": PYPROJECT
            + '[tool.pytest]\nasyncio_mode = "auto"\naddopts = ["--import-mode=importlib"]\n',
        },
        package_dir="shop",
    ),
    "FastAPI app with its own conftest and Alembic": Kind(
        {
            "src/shop/__init__.py": "",
            "src/shop/app.py": APP,
            "tests/conftest.py": CONFTEST,
            "tests/test_app.py": APP_TEST,
            "alembic.ini": ALEMBIC,
            "alembic/env.py": "raise NotImplementedError('theirs')\n",
            "alembic/script.py.mako": MAKO,
        },
        env="alembic/env.py",
        driver="asyncpg",
    ),
    "own Base and models": Kind({"src/shop/__init__.py": ""}, base=THEIR_BASE),
    "generated by another Copier template": Kind({}, base=THEIR_BASE),
}


@pytest.fixture(scope="module")
def releases(template: Template) -> Template:
    """This template and its next release, in which the layer has a module more."""

    def change(repository: Path) -> None:
        layer = repository / "template/{{ package_dir }}/db"
        (layer / "outbox.py").write_text('"""A pattern that is new."""\n')
        text = (layer / "engine/engine.py").read_text("utf-8")
        (layer / "engine/engine.py").write_text(text + "# Last of all.\n", "utf-8")

    return template.release(NEXT, change)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_project_adopts_the_layer(releases: Template, tmp_path: Path, kind: Kind) -> None:
    project = _adopt(releases, tmp_path, kind)

    # The guards look at their models, and are content once these are mended.
    _model(project, kind, index="")
    refused = project.fail("pytest", "-q", "tests/db/layer_tests/test_guards.py")
    assert "orders.customer_id refers to another table and has no index" in refused
    _model(project, kind, index=", index=True")

    if kind.env != "migrations/env.py":
        assert not (project.root / "migrations").exists()

    # Theirs and ours pass, on the schema that their own migrations make.
    versions = project.root / kind.env.replace("env.py", "versions")
    versions.mkdir()
    url = f"sqlite+aiosqlite:///{tmp_path}.db"
    if kind.driver == "aiosqlite":
        project.run("alembic", "revision", "--autogenerate", "-m", "orders", DATABASE_URL=url)
        project["tests/test_shop.py"] = TEST
    project.run("pytest", "-q")

    # Later on it is kept current.
    _commit(project)
    before = project.contents()
    project.update()
    assert project.conflicts == []
    assert f"{kind.package_dir}/db/outbox.py" in project.tree
    assert project[f"{kind.package_dir}/db/engine/engine.py"].endswith("# Last of all.\n")
    after = project.contents()
    theirs = [path for path in before if not is_ours(path) and not path.startswith(".copier")]
    assert {path: after[path] for path in theirs} == {path: before[path] for path in theirs}


def test_tests_migrate_no_database_that_an_env_of_theirs_leads_to(
    releases: Template, tmp_path: Path
) -> None:
    kind = KINDS["FastAPI app with its own conftest and Alembic"]
    project = _adopt(releases, tmp_path, kind)
    _model(project, kind, index=", index=True")
    project[kind.env] = THEIR_ENV
    # They have a session of their own.
    project["tests/test_shop.py"] = TEST.replace("(session)", "(fresh_database)", 1)
    said = project.fail("pytest", "-q", "tests/test_shop.py")
    assert "for the tests env.py would migrate sqlite:///production.db: have it call" in said
    with sqlite3.connect(project.root / "production.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_what_a_test_of_the_database_takes_runs_in_its_event_loop(
    template: Template, mode: str
) -> None:
    project = template.render(driver="asyncpg")
    project["tests/test_loops.py"] = LOOPS
    loops = [f"asyncio_default_{kind}_loop_scope=function" for kind in ("fixture", "test")]
    options = [x for option in (f"asyncio_mode={mode}", *loops) for x in ("-o", option)]
    project.run("pytest", "-q", "tests/test_loops.py", *options)


def test_a_project_with_a_db_and_alembic_elsewhere_takes_the_layer_into_a_package_below(
    releases: Template, tmp_path: Path
) -> None:
    root, theirs = tmp_path / "shop", tmp_path / "theirs.sqlite"
    _write(root, CROWDED)
    with pytest.raises(ValueError, match=r"package=shop\.data and package_dir=src/shop/data") as no:
        releases.ask(root, scope="layer", package="shop")
    answers: dict[str, Any] = {
        "scope": "layer",
        "extras": ["probes"],
        **dict(re.findall(r"(package\w*)=([\w./]*\w)", str(no.value))),
    }
    told = releases.tell(root, **answers)
    assert "Made besides, where they were missing, and yours: tests/conftest.py.\n" in told
    project = releases.at(SNAPSHOT).render(root, **answers)
    ours = [path for path in project.tree if is_ours(path)]
    assert {*project.tree} == {*ours, *CROWDED, ANSWERS, "tests/conftest.py"}

    env = _told(told, "Alembic's env.py")
    assert env.count("url=...)") == 1
    env = env.replace("url=...)", "url=DB_URI), version_table='revisions'")
    project["src/alembic/env.py"] = f"from shop.settings import DB_URI\n{env}"
    conftest = _told(told, "tests/conftest.py")
    project["tests/conftest.py"] = conftest + PREPARE
    project["tests/test_shop.py"] = TEST.replace("shop.db", "shop.data.db")
    layers = ("test_guards", "probes/test_migrations", "probes/test_main")
    files = [f"tests/db/layer_tests/{name}.py" for name in layers]
    project.run("pytest", "-q", "tests/test_shop.py", *files)
    # The tests have left the database of env.py alone. No DATABASE_URL leads to it.
    assert not theirs.exists()
    with sqlite3.connect(theirs) as connection:
        connection.execute("CREATE TABLE places (id INTEGER)")
    project.run("alembic", "-c", "src/alembic.ini", "upgrade", "head")
    with sqlite3.connect(theirs) as connection:
        assert connection.execute("SELECT version_num FROM revisions").fetchall() == [("1",)]

    project["tests/test_shop.py"] = ANYIO
    # The guards look at the whole of the project, not at the package below alone.
    project["src/shop/db.py"] = (
        "import sqlalchemy\nengine = sqlalchemy.create_engine('sqlite://')\n"
    )
    said = project.fail("pytest", "-q", "tests/test_shop.py", "tests/db/layer_tests/test_guards.py")
    assert "remove pytest.mark.anyio and the fixture anyio_backend, and write" in said
    assert "shop/db.py makes an engine in line 2" in said

    _commit(project)
    project.update()
    assert project.conflicts == []
    assert "src/shop/data/db/outbox.py" in project.tree
    assert "from shop.data import db\n" in project["tests/db/layer_tests/__init__.py"]


@dataclass(frozen=True)
class Legacy:
    """A project in small, as it was before the layer came, and how its owners run its tests."""

    files: dict[str, str]
    package: str = "shop"
    tests_dir: str = "tests"
    #: The folder of the project below that of the repository.
    root: str = "."
    #: Its env.py, which is written anew.
    env: str = ""
    #: Whether a run of its tests finds those of the layer.
    runs_ours: bool = True
    #: What a run of the guards says of its models.
    says: str = "passed"


FLAT = '[tool.pytest.ini_options]\npythonpath = ["."]\n'
IT = "from {package}.models import {model}\n\n\ndef test_it():\n    assert {model}.__tablename__\n"

BOT_MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, relationship


class Base(DeclarativeBase):
    pass


def columns(number):
    return {
        "__tablename__": f"table_{number}",
        "id": sa.Column(sa.Integer, primary_key=True),
        "before_id": sa.Column(sa.ForeignKey("table_0.id", name=f"fk_{number}"), index=True),
        "before": relationship("Model0", remote_side="Model0.id"),
    }


for number in range(50):
    globals()[f"Model{number}"] = type(f"Model{number}", (Base,), columns(number))
"""

ADVANCED = """
from advanced_alchemy.base import UUIDAuditBase
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy.orm import Mapped

Base = UUIDAuditBase


class Author(UUIDAuditBase):
    __tablename__ = "authors"
    name: Mapped[str]


class AuthorRepository(SQLAlchemyAsyncRepository[Author]):
    model_type = Author
"""

ADVANCED_TEST = """
import asyncio

from shop.models import Author, AuthorRepository
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine


def test_it():
    async def work():
        engine = create_async_engine("sqlite+aiosqlite://")
        async with engine.begin() as connection:
            await connection.run_sync(Author.metadata.create_all)
        async with AsyncSession(engine) as session:
            await AuthorRepository(session=session).add(Author(name="Ada"))
            assert await AuthorRepository(session=session).count() == 1
        await engine.dispose()

    asyncio.run(work())
"""

SQLMODEL = """
from sqlmodel import Field, SQLModel

Base = SQLModel


class Hero(SQLModel, table=True):
    __tablename__ = "heroes"
    id: int | None = Field(default=None, primary_key=True)
    name: str
"""

ENGINE = "\n\nfrom sqlalchemy import create_engine\nengine = create_engine('sqlite://')\n"

NOTHING = """
revision = "1"
down_revision = None


def upgrade() -> None:
    \"\"\"Nothing was there before.\"\"\"


def downgrade() -> None:
    \"\"\"Nothing was there before.\"\"\"
"""

LEGACY = {
    "a bot with 50 relationships and a nested Alembic": Legacy(
        {
            "bot/__init__.py": "",
            "bot/models.py": BOT_MODELS,
            "bot/database/alembic.ini": ALEMBIC.replace("here)s/src", "here)s/../.."),
            "bot/database/alembic/env.py": "raise NotImplementedError('theirs')\n",
            "bot/database/alembic/script.py.mako": MAKO,
            "bot/database/alembic/versions/README": "",
            "tests/test_it.py": IT.format(package="bot", model="Model1"),
            "pyproject.toml": FLAT,
        },
        package="bot",
        env="bot/database/alembic/env.py",
        says="Each of these 50 is loaded by a query that nobody wrote",
    ),
    "an app with its tests inside": Legacy(
        {
            "app/__init__.py": "",
            "app/models.py": SQLMODEL,
            "app/tests/__init__.py": "",
            # The guards look at no tests.
            "app/tests/test_it.py": IT.format(package="app", model="Hero") + ENGINE,
            "pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = ["app"]\n',
        },
        package="app",
        tests_dir="app/tests",
    ),
    # pytest finds them by testpaths alone, and not the package from another folder.
    "an app with its tests beside its modules": Legacy(
        {
            "app/__init__.py": "",
            "app/models.py": SQLMODEL,
            "app/test_it.py": IT.format(package="app", model="Hero"),
            "pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = ["app"]\n',
        },
        package="app",
        tests_dir="tests",
        runs_ours=False,
    ),
    "src.app": Legacy(
        {
            "src/__init__.py": "",
            "src/app/__init__.py": "",
            "src/app/models.py": ADVANCED,
            "tests/test_it.py": IT.format(package="src.app", model="Author"),
            "pyproject.toml": FLAT,
        },
        package="src.app",
    ),
    "a top-level db": Legacy(
        {
            "db/__init__.py": "",
            "db/models.py": "NAME = 'theirs'\n",
            "shop/__init__.py": "",
            "shop/models.py": SQLMODEL,
            "tests/test_it.py": TOP_LEVEL_DB,
            "pyproject.toml": FLAT,
        },
    ),
    "advanced-alchemy": Legacy(
        {
            "src/shop/__init__.py": "",
            "src/shop/models.py": ADVANCED,
            "tests/__init__.py": "",
            "tests/test_it.py": ADVANCED_TEST,
            "pyproject.toml": FLAT.replace('"."', '"src"'),
        },
    ),
    "SQLModel": Legacy(
        {
            "src/shop/__init__.py": "",
            "src/shop/models.py": SQLMODEL,
            "tests/test_it.py": IT.format(package="shop", model="Hero"),
            "pyproject.toml": FLAT.replace('"."', '"src"'),
        },
    ),
    "one of the projects of a repository": Legacy(
        {
            "pytest.ini": "[pytest]\npythonpath = backend\n",
            "backend/shop/__init__.py": "",
            "backend/shop/models.py": SQLMODEL,
            "backend/alembic.ini": "[alembic]\nscript_location = migrations\n",
            "backend/migrations/env.py": "raise NotImplementedError('theirs')\n",
            "backend/migrations/script.py.mako": MAKO,
            "backend/migrations/versions/1.py": NOTHING,
            "backend/tests/unit/test_it.py": IT.format(package="shop", model="Hero"),
            "backend/tests/test_more.py": IT.format(package="shop", model="Hero"),
            "other/tests/test_other.py": "def test_other(): pass\n",
        },
        root="backend",
        env="migrations/env.py",
    ),
}


@pytest.mark.parametrize("name", tiered(LEGACY, *[*LEGACY][:2]))
def test_the_tests_of_a_project_pass_before_and_after(
    template: Template, tmp_path: Path, name: str
) -> None:
    legacy = LEGACY[name]
    _write(tmp_path, legacy.files)
    before = Project(tmp_path, template.ask(scope="layer"))
    theirs = _passed(before)
    assert theirs

    project_root = tmp_path / legacy.root
    answers = {"scope": "layer", "package": legacy.package}
    told = template.tell(project_root, **answers)
    project = template.render(project_root, **answers)
    assert project.answers["tests_dir"] == legacy.tests_dir
    ours = f"{legacy.tests_dir}/db"
    # The made conftest.py, and then what the message says to put there.
    conftest = f"{legacy.tests_dir}/conftest.py"
    if legacy.env:
        assert project.answers["made"] == [conftest]
        env = _told(told, "Alembic's env.py").replace(", settings=DatabaseSettings(url=...)", "")
        project[legacy.env] = env
        project[conftest] = _told(told, conftest)
    after = Project(tmp_path, project.answers)
    for text in (project[conftest], _told(told, conftest)):
        project[conftest] = text
        passed = _passed(after, TEST_GUARDS="accept")
        assert theirs <= passed
        assert legacy.runs_ours == any("/db/layer_tests/" in test for test in passed)
    project.run("pytest", "-q", ours, PYTHONPATH="", TEST_GUARDS="accept")
    project.run("pytest", "-q", ours, PYTHONPATH="")
    (project.root / f"{legacy.tests_dir}/guards_accept.toml").unlink()
    guards = ("pytest", "-q", f"{ours}/layer_tests/test_guards.py")
    said = (project.run if legacy.says == "passed" else project.fail)(*guards, PYTHONPATH="")
    assert legacy.says in said


def _passed(project: Project, **settings: str) -> set[str]:
    """The tests that pass in a run of all, in which none fails."""
    said = project.run("pytest", "-q", "-rp", "-p", "no:randomly", PYTHONPATH="", **settings)
    return set(re.findall(r"^PASSED (\S+)", said, re.M))


@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_a_top_level_package_db_keeps_its_name(
    template: Template, tmp_path: Path, mode: str
) -> None:
    theirs = {
        "db/__init__.py": "",
        "db/models.py": "NAME = 'theirs'\n",
        "shop/__init__.py": "",
        "tests/test_it.py": TOP_LEVEL_DB,
        # As a module of the layer's tests is called.
        "tests/test_smoke.py": TOP_LEVEL_DB,
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\n',
    }
    _write(tmp_path, theirs)
    project = template.render(tmp_path, scope="layer", package_dir="shop")
    said = project.run("pytest", "-q", "-p", "no:randomly", f"--import-mode={mode}", "tests")
    assert re.search(r"^\d+ passed", said, re.M), said


def test_the_layer_can_be_taken_without_tests_and_get_them_later(
    template: Template, tmp_path: Path
) -> None:
    _write(tmp_path, {"shop/__init__.py": "", "tests/test_it.py": "def test_it(): pass\n"})
    told = template.tell(tmp_path, scope="layer", package="shop", tests_dir="none")
    # Before anything is written.
    assert told.startswith("The layer's tests need pytest 8.2 and pytest-asyncio 0.24, or later")
    assert "conftest" not in told
    assert "pytest>=" not in told
    project = template.render(tmp_path, scope="layer", tests_dir="none")
    tests = [path for path in project.tree if path.startswith(("tests/", "none/"))]
    assert tests == ["tests/test_it.py"]
    assert "shop/db/testing/fixtures.py" not in project.tree
    # No module of the layer that is left imports pytest.
    modules = [path for path in project.tree if path.startswith("shop/") and path.endswith(".py")]
    assert [path for path in modules if "pytest" in project[path].replace("pytest.mark", "")] == []
    project.commit()
    project.update(tests_dir="tests")
    assert "tests/db/layer_tests/test_guards.py" in project.tree
    assert "shop/db/testing/fixtures.py" in project.tree
    project.run("pytest", "-q")


# A project as the page on adoption takes it.
PAGE = {
    "shop/__init__.py": "",
    "shop/settings.py": """
class Settings:
    DB_URI = "postgresql+asyncpg://postgres@localhost/nowhere"


settings = Settings()
""",
    "shop/models.py": MODELS.format(base=THEIR_BASE, index=""),
    "shop/app.py": """
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import sqlalchemy as sa
from fastapi import Depends, FastAPI
from shop.models import Customer, Order
from shop.settings import settings
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

app = FastAPI()
make_session = async_sessionmaker(create_async_engine(settings.DB_URI))


async def get_session():
    async with make_session() as session:
        yield session


@app.post("/customers")
async def create_customer(session=Depends(get_session)):
    session.add(customer := Customer())
    await session.commit()
    await session.refresh(customer)
    return customer.id


@app.get("/orders/count")
async def count_orders(session=Depends(get_session)):
    return await session.scalar(sa.select(sa.func.count()).select_from(Order))
""",
    "deploy/alembic.ini": "[alembic]\nscript_location = migrations\n"
    "sqlalchemy.url = postgresql+asyncpg://postgres@localhost/nowhere\n",
    "deploy/migrations/env.py": "raise NotImplementedError('theirs')\n",
    "deploy/migrations/script.py.mako": MAKO,
    "deploy/migrations/versions/5d3c1b2a9f0e.py": """
from alembic import op

revision = "5d3c1b2a9f0e"
down_revision = None


def upgrade() -> None:
    op.execute("CREATE TABLE warehouse.stock (id INTEGER)")
    op.execute("CREATE TABLE customers (id SERIAL PRIMARY KEY)")
    op.execute(
        "CREATE TABLE orders (id SERIAL PRIMARY KEY,"
        " customer_id INTEGER NOT NULL REFERENCES customers (id))"
    )
""",
    "tests/conftest.py": "",
    "pyproject.toml": FLAT,
}


@pytest.mark.server
def test_every_block_of_the_page_on_adoption_runs(template: Template, tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "adopting.md").read_text("utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", page, re.M | re.S)
    copy = next(block for _, block in blocks if "copier copy" in block)
    _write(tmp_path, PAGE)
    project = template.render(tmp_path, **dict(re.findall(r"-d (\w+)=(\w+)", copy)))
    assert project.answers["package_dir"] == "shop"
    assert project["tests/conftest.py"] == ""
    ways: list[str] = []
    for kind, block in blocks:
        file = block.partition("\n")[0].removeprefix("# ")
        if "TEST_GUARDS" in block:
            project.run("pytest", "-q", "tests/db", PYTHONPATH="", TEST_GUARDS="accept")
            assert "shop/app.py" in project["tests/guards_accept.toml"]
        elif "uv run pytest" in block:
            # What fails are guards.
            said = project.fail("pytest", "-q", "tests/db", PYTHONPATH="")
            failed = re.findall(r"^FAILED tests/db/layer_tests/(\w+)", said, re.M)
            assert {*failed} <= {"test_guards", "test_revisions"}, said
        elif file.endswith("env.py"):
            ways.append(block)
            project[file] = block
        elif kind == "python":
            old = project[file] if file in project.tree else ""
            project[file] = f"{old}\n{block}"
        else:
            assert "uvx copier" in block
    # Both ways to write env.py.
    assert len(ways) == 2
    for way in ways:
        project["deploy/migrations/env.py"] = way
        project.run("pytest", "-q", PYTHONPATH="")
    project.run("python", "-c", "import shop.dependencies")
    _commit(project)
    project.update()
    assert project.conflicts == []


@pytest.mark.more
@pytest.mark.parametrize(("pytest_", "asyncio_"), [("8.2.2", "0.24.0"), ("8.4.2", "1.2.0")])
def test_the_tests_run_on_the_oldest_pytest_that_the_copy_names(
    template: Template, tmp_path: Path, pytest_: str, asyncio_: str
) -> None:
    base = MODELS.format(base=OUR_BASE, index=", index=True")
    _write(tmp_path, {"src/shop/__init__.py": "", "src/shop/models.py": base})
    told = template.tell(tmp_path, scope="layer", package="shop")
    project = template.render(tmp_path, scope="layer", package="shop")
    assert '"pytest>=8.2"' in told
    assert '"pytest-asyncio>=0.24"' in told
    project["tests/conftest.py"] = _told(told, "tests/conftest.py") + CREATE
    project["tests/test_shop.py"] = TEST.replace("async def", "@pytest.mark.asyncio\nasync def")
    project["tests/test_shop.py"] = "import pytest\n" + project["tests/test_shop.py"]
    packages = [f"pytest=={pytest_}", f"pytest-asyncio=={asyncio_}"]
    packages += [x for x in re.findall(r'"([a-z][\w\[\]-]+>=[^"]+)"', told) if "pytest" not in x]
    project.run("uv", "venv", "--quiet", "--python", sys.executable, ".venv")
    python = str(project.root / ".venv/bin/python")
    project.run("uv", "pip", "install", "--quiet", "--python", python, *packages)
    said = project.run(python, "-m", "pytest", "-q")
    assert re.search(r"^\d\d passed", said, re.M), said


def _adopt(releases: Template, root: Path, kind: Kind) -> Project:
    """A project of this kind, with the layer, and with what its message says to add."""
    _write(root, kind.files)
    answers = {"scope": "layer", "driver": kind.driver, "package": "shop"}
    answers["package_dir"] = kind.package_dir
    template = releases.at(SNAPSHOT)
    # What a copy into it will say.
    told = releases.tell(root, **answers)
    if kind.files:
        theirs = set(kind.files)
        project = template.render(root, **answers)
    else:
        _generate_by_another_template(releases.repository.parent / "another", root)
        theirs = set(Project(root, template.ask()).tree)
        project = template.render_beside(root, **answers)
        assert "another" in project[ANSWERS]
    for path in theirs & set(kind.files):
        assert project[path] == kind.files[path]
    # Their database is the one that DATABASE_URL names.
    env = _told(told, "Alembic's env.py").replace(", settings=DatabaseSettings(url=...)", "")
    project[kind.env] = env
    conftest = "tests/conftest.py"
    kept = kind.files.get(conftest, "")
    project[conftest] = f"{kept}\n{_told(told, conftest)}"
    if kind.base == THEIR_BASE:
        # Their database has its names already: those that it gave by itself.
        project[conftest] += ACCEPT
    return project


def _model(project: Project, kind: Kind, *, index: str) -> None:
    project[f"{kind.package_dir}/models.py"] = MODELS.format(base=kind.base, index=index)


def _told(message: str, file: str) -> str:
    """What the message after a copy says to put into a file."""
    block = re.search(rf"^( +{re.escape(file)} +)(.*\n(?: {{20,}}.*\n|\n)*)", message, re.M)
    assert block, message
    return textwrap.dedent(" " * len(block[1]) + block[2])


def _generate_by_another_template(template: Path, root: Path) -> None:
    files = {
        "copier.yml": "name: {type: str, default: shop}\n",
        "{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers|to_nice_yaml }}",
        "src/{{ name }}/__init__.py.jinja": "",
        "pyproject.toml.jinja": PYPROJECT,
        "README.md.jinja": "# {{ name }}\n",
    }
    _write(template, files)
    git(template, "init", "--quiet")
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "--message", "Theirs")
    git(template, "tag", "v1.0.0")
    run_copy(str(template), root, defaults=True, quiet=True)


def _write(root: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def _commit(project: Project) -> None:
    for cache in [*project.root.rglob("__pycache__"), project.root / ".pytest_cache"]:
        shutil.rmtree(cache)
    project.commit()
