"""Mistakes in a service's own code, and the sentence with which each is refused."""

import re
import tomllib
from collections.abc import Callable

import pytest
from harness import FIRST_DRIVERS, Project, Template

Render = Callable[..., Project]

IMPORTS = """
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.ext.mutable import MutableList
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from .db import Base, JSONObject, Repository
from .models import User


class Elsewhere(DeclarativeBase):
    pass
"""

AFTER = IMPORTS.count("\n") + 1

LEAK = """
from shop.db import Database

kept = []

async def test_committed(fresh_database: Database) -> None:
    kept.append(await fresh_database.engine.connect())
"""

# What an eager guard could take for a mistake.
RIGHT = """
class Captain(Base):
    __tablename__ = "captains"
    id: Mapped[int] = mapped_column(primary_key=True)
    log: Mapped[JSONObject] = mapped_column(default=dict)
    ports: Mapped[list[str]] = mapped_column(MutableList.as_mutable(sa.JSON))
    ship_id: Mapped[int | None] = mapped_column(sa.ForeignKey("ships.id"), index=True)


class Ship(Base):
    __tablename__ = "ships"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    captain_id: Mapped[int] = mapped_column(
        "captainId", sa.ForeignKey("captains.id"), index=True, key="captain"
    )
    captain: Mapped[Captain] = relationship(
        lazy="raise", primaryjoin="Ship.captain_id == Captain.id"
    )
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "ship"}


class Barge(Ship):
    __mapper_args__ = {"polymorphic_identity": "barge"}


if __name__ == "__main__":
    engine = create_async_engine("sqlite+aiosqlite:///shop.db")
"""

HIDDEN = """
from shop.models import Post, PostStatus, User
from sqlalchemy.ext.asyncio import AsyncSession

async def test_hidden(session: AsyncSession) -> None:
    author = User(email="ada@example.com", name="Ada")
    session.add(Post(author=author, title="First", body="", status=PostStatus.HIDDEN))
    await session.flush()
"""

# Each a module of its own, the guard that refuses it, and the words in which it does.
MISTAKES = {
    "lazy": (
        """
class Address(Base):
    __tablename__ = "addresses"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), index=True)
    kind: Mapped[str]
    user: Mapped[User] = relationship()
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "address"}


class Temporary(Address):
    __mapper_args__ = {"polymorphic_identity": "temporary"}
""",
        "test_every_relationship_says_how_it_is_loaded",
        "Each of these 2 is loaded by a query that nobody wrote, and that cannot be awaited: write"
        ' relationship(..., lazy="raise"), and selectinload(...) of it in the queries that need it:'
        "\n    Address.user\n",
    ),
    "imperative": (
        """
class Parcel:
    pass


sa.orm.registry(metadata=Base.metadata).map_imperatively(
    Parcel,
    sa.Table(
        "parcels",
        Base.metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.ForeignKey("users.id"), index=True),
    ),
    properties={"user": relationship(User, lazy=True)},
)
""",
        "test_every_relationship_says_how_it_is_loaded",
        "\n    Parcel.user\n",
    ),
    "noload": (
        """
class Crate(Base):
    __tablename__ = "crates"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), index=True)
    user: Mapped[User] = relationship(lazy="noload")
""",
        "test_every_relationship_says_how_it_is_loaded",
        "Crate.user is always empty, whatever the database has: SQLAlchemy deprecates"
        ' lazy="noload" for that: write relationship(..., lazy="raise"), and',
    ),
    "json": (
        """
class Letter(Base):
    __tablename__ = "letters"
    id: Mapped[int] = mapped_column(primary_key=True)
    pages: Mapped[list[str]] = mapped_column(sa.JSON)
""",
        "test_every_json_column_tracks_its_changes",
        "Letter.pages holds JSON, and a change inside it is not saved: write"
        " Mapped[shop.db.JSONObject] with mapped_column() and no type, or for a list"
        " mapped_column(MutableList.as_mutable(sa.JSON))",
    ),
    "naive": (
        """
class Visit(Base):
    __tablename__ = "visits"
    id: Mapped[int] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(sa.DateTime)
""",
        "test_every_datetime_has_a_time_zone",
        "visits.seen_at gives datetimes without a time zone: write"
        " mapped_column(shop.db.UTCDateTime)",
    ),
    "nameless": (
        """
class Seat(Elsewhere):
    __tablename__ = "seats"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)
""",
        "test_every_constraint_and_index_has_a_name",
        "seats(number) has UniqueConstraint without a name, by which a migration could change it:"
        " write name=..., as the database has it. While there is no table yet,"
        " MetaData(naming_convention=shop.db.NAMING_CONVENTION) gives it one",
    ),
    "nameless check": (
        """
class Bid(Elsewhere):
    __tablename__ = "bids"
    __table_args__ = (sa.CheckConstraint("amount > 0"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int]
""",
        "test_every_constraint_and_index_has_a_name",
        "bids(amount > 0) is a CheckConstraint without a name, by which a migration could change"
        " it: write name=..., as the database has it.",
    ),
    "no index": (
        """
class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
""",
        "test_every_foreign_key_has_an_index",
        "Each of these 2 refers to another table and has no index: each delete there, and each"
        " join, reads all of this one. Write mapped_column(ForeignKey(...), index=True)",
    ),
    "no index of two columns": (
        """
class Place(Base):
    __tablename__ = "places"
    __table_args__ = (
        sa.ForeignKeyConstraint(["house", "floor"], ["floors.house", "floors.number"]),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    house: Mapped[int] = mapped_column(index=True)
    floor: Mapped[int] = mapped_column()


class Floor(Base):
    __tablename__ = "floors"
    house: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
""",
        "test_every_foreign_key_has_an_index",
        "\n    places(house, floor)\n",
    ),
    "hides": (
        """
class Plant(Base):
    __tablename__ = "plants"
    id: Mapped[int] = mapped_column(primary_key=True)
    awaitable_attrs: Mapped[str] = mapped_column(sa.String(10))
""",
        "test_no_attribute_hides_one_of_the_base_class",
        "Plant.awaitable_attrs hides what the base class has under that name: write"
        ' awaitable_attrs_: Mapped[...] = mapped_column("awaitable_attrs")',
    ),
    "engine": (
        """
class Settings:
    engine = create_async_engine("sqlite+aiosqlite:///shop.db")
""",
        "test_no_engine_is_made_at_import",
        f"shop/engine.py makes an engine in line {AFTER + 2}, when it is imported,"
        " for no event loop: write `async with Database() as database:` where the service starts",
    ),
    "commits": (
        """
class UserRepository(Repository[User]):
    async def save(self, user: User) -> None:
        await self.add(user)
        await self.session.commit()
""",
        "test_no_repository_commits",
        f"shop/commits.py has a repository, UserRepository, that commits in line"
        f" {AFTER + 4}: let it flush, and its callers write `async with database.transaction() as"
        " session:`",
    ),
}


@pytest.fixture(scope="module")
def refusals(template: Template) -> str:
    """What the guards say of all these mistakes together."""
    project = _plant(template.render(), *MISTAKES)
    return project.fail("pytest", "-q", "tests/db/layer_tests/test_guards.py", "-p", "no:randomly")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_what_to_write(refusals: str, mistake: str) -> None:
    _, guard, words = MISTAKES[mistake]
    assert f"FAILED tests/db/layer_tests/test_guards.py::{guard}" in refusals
    assert words in refusals


def test_what_is_right_is_let_pass(render: Render) -> None:
    project = _plant(render(), right=RIGHT)
    project.run("pytest", "-q", "-W", "error", "tests/db/layer_tests/test_guards.py")


def test_each_mistake_is_refused_once(refusals: str) -> None:
    assert refusals.count("FAILED") == len({guard for _, guard, _ in MISTAKES.values()})
    # Two of a kind are one sentence with a list, twice.
    assert len(re.findall("[Ww]rite ", refusals)) == len(MISTAKES) - 2


@pytest.mark.server
@pytest.mark.parametrize("driver", FIRST_DRIVERS)
def test_an_enum_is_refused_until_its_new_value_is_migrated(render: Render, driver: str) -> None:
    project = render(driver=driver)
    models, archived = project["src/shop/models.py"], '    ARCHIVED = "archived"\n'
    assert archived in models
    longer = f'{archived}    HIDDEN = "not to be seen"\n'
    project["src/shop/models.py"] = models.replace(archived, longer)
    said = project.fail("pytest", "-q", "tests/db/layer_tests/test_guards.py", "-p", "no:randomly")
    assert said.count("FAILED") == 1
    assert "posts.status may be 'not to be seen', and no migration says so" in said
    # What it says to write, written.
    (steps,) = re.findall(r"^    from shop.db import migrate\n(?:    .*\n)+", said, re.M)
    assert "migrate.set_enum_values" in steps
    project["migrations/versions/0002_hidden.py"] = (
        f'revision = "0002"\ndown_revision = "0001"\n\ndef upgrade() -> None:\n{steps}'
    )
    project["tests/test_hidden.py"] = HIDDEN
    project.run("pytest", "-q", "tests/db/layer_tests/test_guards.py", "tests/test_hidden.py")


def test_what_has_to_stay_can_be_accepted(render: Render) -> None:
    project = _plant(render(), "no index")
    project["tests/conftest.py"] += """

@pytest.fixture(scope="session")
def guards_accept() -> set[str]:
    return {"orders.*"}
"""
    project.run("pytest", "-q", "tests/db/layer_tests/test_guards.py")


ENGINES = {
    "helpers/__init__.py": "from .make import make_engine as engine_maker\n",
    "helpers/make.py": """
from functools import partial

import sqlalchemy
from sqlalchemy import create_engine


def make_engine(url="sqlite://"):
    return create_engine(url)


class Handle:
    def __init__(self):
        self.engine = self.open()

    @classmethod
    def open(cls):
        return make_engine()

    def connect(self):
        pass


class Later:
    def start(self):
        self.engine = make_engine()


class Build:
    @staticmethod
    def engine():
        return Handle()


make = partial(sqlalchemy.create_engine, "sqlite://")


def later():
    def start():
        return make_engine()

    return start
""",
    # Each in a line of its own, since equal sentences are one.
    "e1.py": "from .helpers import engine_maker\nengine = engine_maker()\n",
    "e2.py": "\nfrom shop.helpers.make import Handle\nhandle = Handle()\n",
    "e3.py": "\n\nfrom shop import helpers\nengine = helpers.make.make_engine()\n",
    "e4.py": "\n\n\nimport shop.helpers.make as m\nengine = m.Build.engine()\n",
    "e5.py": "\n\n\n\nfrom .helpers.make import make\nengine = make()\n",
    "e6.py": "\n\n\n\n\nfrom .helpers.make import Later\nlater = Later().start()\nlater = Later()\n"
    "engine = later.start()\n",
    # None is made.
    "none.py": "from .helpers.make import Handle, Later, later, make_engine\n"
    "start = later()\nobject = Later()\nname = make_engine.__name__\n"
    "def get():\n    return make_engine()\n"
    "if __name__ == '__main__':\n    get()\n",
    "migrations/script.py.mako": "",
    "migrations/env.py": "import sqlalchemy\nengine = sqlalchemy.create_engine('sqlite://')\n",
}


def test_an_engine_that_is_made_through_helpers_is_found(render: Render) -> None:
    project = render()
    for path, text in ENGINES.items():
        project[f"src/shop/{path}"] = text
    said = project.fail("pytest", "-q", "tests/db", "-k", "no_engine_is_made_at_import")
    found = re.findall(r"^shop/(\S+) makes an engine in line (\d+)", said, re.M)
    assert sorted(found) == [*((f"e{n}.py", f"{n + 1}") for n in range(1, 6)), ("e6.py", "9")]


FILE = "tests/guards_accept.toml"


def test_the_findings_of_a_day_are_written_to_a_file_and_new_ones_fail(render: Render) -> None:
    project = _plant(render(), *MISTAKES)
    guards = ("pytest", "-q", "tests/db/layer_tests/test_guards.py", "-p", "no:randomly")
    project.run(*guards, TEST_GUARDS="accept")
    written = tomllib.loads(project[FILE])
    assert {*written} == {guard for _, guard, _ in MISTAKES.values()}
    loaded = "test_every_relationship_says_how_it_is_loaded"
    assert written[loaded] == ["Address.user", "Crate.user", "Parcel.user"]
    assert "guards_accept.toml" not in project.run(*guards)
    # One guard alone writes its own findings.
    before = project[FILE]
    project.run(*guards, "-k", loaded, TEST_GUARDS="accept")
    assert project[FILE] == before
    # A new finding fails, also of a name that is there. One that is no more is reported.
    engine = project["src/shop/engine.py"]
    project["src/shop/engine.py"] = engine + "engine = create_async_engine('sqlite+aiosqlite://')\n"
    said = project.fail(*guards)
    assert said.count("FAILED") == 1
    assert re.search(r"^shop/engine.py makes an engine in line \d+", said, re.M)
    project["src/shop/engine.py"] = IMPORTS
    said = project.run(*guards)
    assert (
        "guards_accept.toml: delete 'shop/engine.py', which test_no_engine_is_made_at_import finds"
        " no more" in said
    )
    project.run(*guards, TEST_GUARDS="accept")
    assert "shop/engine.py" not in project[FILE]


def test_processes_do_not_overwrite_each_others_findings(render: Render) -> None:
    project = _plant(render(), "lazy", "naive")
    said = project.fail(
        "pytest", "-q", "-n1", "tests/db", "-k", "relationship", TEST_GUARDS="accept"
    )
    assert "processes would overwrite each other's findings: add `-n 0`" in said
    assert FILE not in project.tree


def test_a_service_makes_none_of_these_mistakes(template: Template) -> None:
    template.render(driver="asyncpg").run("pytest", "-q", "tests/db/layer_tests/test_guards.py")


def test_a_connection_that_is_kept_fails_its_test(render: Render) -> None:
    project = render()
    project["tests/test_leak.py"] = LEAK
    said = project.fail("pytest", "-q", "tests/test_leak.py", "-p", "no:randomly")
    assert "ERROR tests/test_leak.py::test_committed - Failed: 1 connections were not" in said


@pytest.mark.whole
def test_nothing_else_notices_a_connection_that_is_kept(render: Render) -> None:
    project = render()
    kit = project["src/shop/db/testing/fixtures.py"]
    check = "        _refuse_leaks(database)\n"
    assert kit.count(check) == 1
    project["src/shop/db/testing/fixtures.py"] = kit.replace(check, "")
    project["tests/test_leak.py"] = LEAK
    assert "1 passed" in project.run("pytest", "-q", "tests/test_leak.py", "-p", "no:randomly")


def _plant(project: Project, *mistakes: str, **right: str) -> Project:
    """Put mistakes into modules of their own, which the tests import as they do the models."""
    modules = {mistake.replace(" ", "_"): MISTAKES[mistake][0] for mistake in mistakes} | right
    for module, text in modules.items():
        project[f"src/shop/{module}.py"] = IMPORTS + text
    conftest = project["tests/conftest.py"]
    tables = "    return metadata\n"
    assert conftest.count(tables) == 1
    elsewhere = "".join(f", {module}.Elsewhere.metadata" for module in modules)
    conftest = conftest.replace(tables, f"    return [metadata{elsewhere}]\n")
    conftest = conftest.replace("-> MetaData:", "-> list[MetaData]:")
    imported = f"from shop import {', '.join(modules)}\nfrom shop.models"
    project["tests/conftest.py"] = conftest.replace("from shop.models", imported)
    return project


def test_an_edited_layer_is_told_what_to_write_instead(template: Template) -> None:
    project = template.render(driver="asyncpg", web="fastapi")
    for path in ("engine/engine.py", "repository/pages.py", "tls.py"):
        project[f"src/shop/db/{path}"] += "# Ours.\n"
    del project["src/shop/db/fastapi.py"]
    guard = "tests/db/layer_tests/test_guards.py::test_the_layer_is_as_it_was_released"
    said = project.fail("pytest", "-q", guard)
    for sentence in (
        "db/engine/engine.py is changed, so that an update of the template may conflict there:"
        " take a setting, or an event of SQLAlchemy on",
        "take a subclass of Repository instead, and have `copier recopy --overwrite` make the file",
        "db/tls.py is changed, so that an update of the template may conflict there: take an"
        " argument, a subclass or a setting instead",
        "db/fastapi.py is missing,",
    ):
        assert sentence in said
    said = project.run_on_a_database("alembic upgrade head", "python -m shop.db doctor")
    found = "engine/engine.py (changed), fastapi.py (missing), repository/pages.py (changed)"
    assert f"note   layer: not as it was released: {found}, tls.py (changed)" in said
