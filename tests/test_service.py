"""A rendered service works: its own tests, its migrations, and its words for what goes wrong."""

import os
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any
from zipfile import ZipFile

import pytest
from harness import DRIVERS, PROGRAMS, SERVER_DRIVERS, Project, is_ours
from samples import SAMPLES

Render = Callable[..., Project]
Note = Callable[[str, object], None]

# Uses the database that the environment names.
USE = """
import asyncio
from shop.db import Database

async def main() -> None:
    async with Database() as database:
        health = await database.ping()
        print(f"ping: {health.error}")
        async with database.transaction() as session:
            await session.connection()

asyncio.run(main())
"""


# Samples whose tests `make test` runs: every driver with the defaults. The probes run below: on
# SQLite without the seeds, and on PostgreSQL by workers.
FIRST = {*DRIVERS}
# The sample whose tests `make test` runs in two parts: those of the seeds, and the layer's.
PARTED = "aiosqlite-bigint-fastapi"
# Samples that differ little from one of those.
WHOLE = {"aiosqlite-probes", "asyncpg-probes", "asyncpg-fastapi"}
# Those without a blog have tests of their own, in test_starter.py.
EMPTY = {"aiosqlite-empty-fastapi", "asyncpg-empty"}

# By workers that share a server, in the order of the files, and at random.
ORDERS = {
    "by workers": ("-n", "2"),
    "in order": ("-p", "no:randomly"),
    **{f"seed {seed}": (f"--randomly-seed={seed}",) for seed in (1, 2, 3)},
}


def _param(name: str, value: object, *, more: bool = False, whole: bool = False) -> object:
    """Return a parameter for `make test`, for `make test-more` or only for `make test-all`."""
    marks = [pytest.mark.whole] if whole else [pytest.mark.more] if more else []
    return pytest.param(value, id=name, marks=marks)


@pytest.mark.server
@pytest.mark.parametrize(
    "answers",
    [
        _param(name, answers, more=name not in FIRST, whole=name in WHOLE | EMPTY)
        for name, answers in SAMPLES.items()
    ],
)
def test_a_service_passes_its_own_tests(
    render: Render, record_property: Note, answers: dict[str, Any]
) -> None:
    record_property("tests", _passed(render(**answers).run("pytest")))


# One in `make test`, where a service that starts its own server shares it among workers.
@pytest.mark.parametrize("order", [_param(x, ORDERS[x], whole=x != "by workers") for x in ORDERS])
@pytest.mark.parametrize(
    "answers",
    [
        _param("asyncpg-fastapi", {"driver": "asyncpg", "web": "fastapi"}),
        _param("asyncpg", {"driver": "asyncpg"}, whole=True),
        _param("aiosqlite", {"driver": "aiosqlite"}, whole=True),
    ],
)
def test_its_tests_pass_in_any_order(
    render: Render, record_property: Note, answers: dict[str, str], order: tuple[str, ...]
) -> None:
    project = render(**answers, extras=["probes"])
    record_property("tests", _passed(project.run("pytest", "-q", *order, TEST_DATABASE_URL="")))


def _passed(output: str) -> int:
    """Return how many tests passed."""
    (number,) = re.findall(r"\b(\d+) passed", output)
    return int(number)


# With the names of the layer's probes, each found by its name.
NAMESAKES = """

class Author(PrimaryKey, Base):
    __tablename__ = "authors"
    books: Mapped[list["Book"]] = relationship(back_populates="author", lazy="raise")


class Book(PrimaryKey, Base):
    __tablename__ = "books"
    author_id: Mapped[Key] = mapped_column(sa.ForeignKey("authors.id"), index=True)
    author: Mapped["Author"] = relationship(back_populates="books", lazy="raise")
"""


def test_a_project_may_name_its_models_as_the_layers_tests_name_theirs(render: Render) -> None:
    project = render(extras=["probes"])
    project["src/shop/models.py"] += NAMESAKES
    project.run("pytest", "-q", "tests/test_models.py", "tests/db/layer_tests/probes/test_pages.py")


@pytest.mark.server
# Which driver it is makes no difference to what is missing then.
@pytest.mark.parametrize(
    "answers",
    [
        _param(PARTED, SAMPLES[PARTED]),
        _param("asyncpg", {"driver": "asyncpg", "extras": ["probes"]}, whole=True),
    ],
)
def test_the_layers_own_tests_pass_when_every_seed_is_deleted(
    render: Render, record_property: Note, answers: dict[str, Any]
) -> None:
    project = render(**answers)
    number = _passed(project.run("pytest", "-q", "--ignore=tests/db"))
    # They are among the seeds, and what they refuse is refused here too.
    filters = tomllib.loads(project["pyproject.toml"])["tool"]["pytest"]["filterwarnings"]
    for path in project.tree:
        # Without a mode of its own pytest-asyncio is strict.
        if not is_ours(path):
            del project[path]
    options = [option for filter_ in filters for option in ("-W", filter_)]
    number += _passed(project.run("pytest", "-q", "tests/db", *options))
    record_property("tests", number)


def test_its_tests_leave_the_database_of_dotenv_alone(render: Render) -> None:
    project = render(extras=["probes"])
    project[".env"] = "DATABASE_NAME=elsewhere/shop.db\n"
    project.run(
        "pytest",
        "-q",
        "tests/db/layer_tests/probes/test_main.py",
        "tests/db/layer_tests/probes/test_migrations.py",
    )
    assert not (project.root / "elsewhere").exists()


@pytest.mark.parametrize("time", [_param(str(n), n, more=n >= 2, whole=n >= 5) for n in range(20)])
def test_a_run_that_is_killed_leaves_neither_a_server_nor_a_file(
    render: Render, tmp_path: Path, time: int
) -> None:
    project = render(driver="asyncpg")
    before, temporary = project.tree, tmp_path / "temporary"
    temporary.mkdir()
    os.mkfifo(tmp_path / "pipe")
    project["tests/test_hang.py"] = f"""
from shop.db import Database

async def test_hangs(database: Database) -> None:
    with open({str(tmp_path / "pipe")!r}, "w") as pipe:
        pipe.write(str(database.settings.url.port))
    while True:
        pass
"""
    environment = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(project.import_path)}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(PROGRAMS / "pytest"), "-q", "-p", "no:cacheprovider", "tests/test_hang.py"]
    with subprocess.Popen(command, cwd=project.root, env=environment) as run:
        port = int((tmp_path / "pipe").read_text())
        run.kill()
    deadline = monotonic() + 30
    while _listens(port) or list(temporary.glob("server-*")):
        assert monotonic() < deadline, f"port {port}, {list(temporary.iterdir())}"
    del project["tests/test_hang.py"]
    assert project.tree == before


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("driver", DRIVERS)
def test_its_migrations_make_what_its_models_say_and_can_be_undone(
    render: Render, driver: str
) -> None:
    said = render(driver=driver).run_on_a_database(
        "alembic upgrade head",
        "alembic check",
        "alembic downgrade base",
        # A table that was left behind would be in the way.
        "alembic upgrade head",
        "python -m shop.db doctor",
    )
    assert "\nok     migrations: at 0001, the newest revision\n" in said
    assert "\nok     connections: " in said


def test_the_three_commands_of_the_readme_work(render: Render, tmp_path: Path) -> None:
    project = render()
    uv = PROGRAMS / "uv"
    cache = subprocess.run([uv, "cache", "dir"], stdout=subprocess.PIPE, check=True, text=True)
    foreign = ("DATABASE_", "TEST_DATABASE_", "PYTEST_", "PYTHON", "VIRTUAL_ENV")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(foreign)
    }
    # Nobody's home, but what has been downloaded once need not be again.
    environment |= {
        "HOME": str(tmp_path),
        "UV_CACHE_DIR": cache.stdout.strip(),
        "UV_PYTHON": sys.executable,
    }
    for command in ("sync", "run pytest", "run alembic upgrade head"):
        done = subprocess.run(
            [uv, *command.split()],
            cwd=project.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"uv {command}:\n{done.stdout}"
    assert (project.root / "shop.db").is_file()


# Imports every module of a wheel.
IMPORT_ALL = """
import importlib, pkgutil, shop

for module in pkgutil.walk_packages(shop.__path__, "shop."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
print(shop.__file__)
"""


# Opens the database as a web server does.
LOGGED = """
import asyncio, logging
from shop.app import create_app

async def main() -> None:
    app = create_app()
    async with app.router.lifespan_context(app):
        pass

{}
asyncio.run(main())
"""


def test_a_line_of_the_readme_shows_what_the_layer_logs(render: Render) -> None:
    project = render(web="fastapi")
    [line] = re.findall(r"^logging\..*$", project["README.md"], re.M)
    assert "INFO:shop.db.database:database: " in project.run("python", "-c", LOGGED.format(line))
    assert "shop.db" not in project.run("python", "-c", LOGGED.format(""))


def test_a_wheel_leaves_the_fixtures_out_and_works_without_them(
    render: Render, tmp_path: Path
) -> None:
    project, built, installed = render(web="fastapi"), tmp_path / "built", tmp_path / "installed"
    project.run("uv", "build", "--quiet", "--wheel", "--out-dir", str(built))
    (wheel,) = built.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(installed)
        names = {name for name in archive.namelist() if name.startswith("shop/")}
    modules = {path.removeprefix("src/") for path in project.tree if path.startswith("src/shop/")}
    assert names == {path for path in modules if not path.startswith("shop/db/testing/")}
    assert "shop/db/testing/__init__.py" in modules
    said = project.run("python", "-c", IMPORT_ALL, PYTHONPATH=str(installed))
    assert said == f"{installed}/shop/__init__.py\n"


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_url_for_another_driver_is_refused(render: Render, driver: str) -> None:
    url = "oracle+oracledb://shop:s3cret@db.example.com/shop"
    said = render(driver=driver).fail("python", "-c", USE, DATABASE_URL=url)
    assert "DATABASE_URL is for oracle+oracledb, and this service for " in said
    assert "s3cret" not in said


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_url_that_is_none_is_refused(render: Render, driver: str) -> None:
    said = render(driver=driver).fail("python", "-c", USE, DATABASE_URL="shop:s3cret@localhost")
    assert "DATABASE_URL is not a database URL: write " in said
    assert "s3cret" not in said


@pytest.mark.parametrize("driver", SERVER_DRIVERS)
def test_a_server_that_does_not_answer_is_named_by_its_setting(render: Render, driver: str) -> None:
    project = render(driver=driver)
    # Nothing listens on port 1.
    url = f"{project.answers['drivername']}://shop:s3cret@127.0.0.1:1/shop"
    said = project.fail("python", "-c", USE, DATABASE_URL=url)
    for words in ("ping: cannot connect: ", "Unavailable: cannot connect: "):
        assert words in said
    assert f"(DATABASE_URL is {url.replace('s3cret', '***')})" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("driver", SERVER_DRIVERS)
def test_a_migration_of_a_server_that_is_down_ends_in_one_line(render: Render, driver: str) -> None:
    project = render(driver=driver)
    url = f"{project.answers['drivername']}://shop:s3cret@127.0.0.1:1/shop"
    said = project.fail("alembic", "upgrade", "head", DATABASE_URL=url).splitlines()
    assert said[-1].startswith("FAILED: cannot connect: ")
    assert "127.0.0.1:1/shop" in said[-1]
    assert "Traceback (most recent call last):" not in said


@pytest.mark.parametrize("driver", SERVER_DRIVERS)
def test_a_url_without_a_database_is_refused(render: Render, driver: str) -> None:
    project = render(driver=driver)
    url = f"{project.answers['drivername']}://shop:s3cret@127.0.0.1:1"
    said = project.fail("python", "-c", USE, DATABASE_URL=url)
    assert "DATABASE_URL names no database: write " in said
    assert "s3cret" not in said


@pytest.mark.parametrize("rest", ["", "/:memory:", "/file::memory:?cache=shared&uri=true"])
def test_a_database_in_memory_is_refused(render: Render, rest: str) -> None:
    said = render().fail("python", "-c", USE, DATABASE_URL=f"sqlite+aiosqlite://{rest}")
    assert "DATABASE_URL names no file, and in memory all sessions would share one" in said


def test_a_directory_that_cannot_be_made_is_named(render: Render, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    url = f"sqlite+aiosqlite:///{tmp_path}/file/shop.db"
    said = render().fail("python", "-c", USE, DATABASE_URL=url)
    assert f"names {tmp_path}/file/shop.db, whose directory cannot be created: " in said


def test_a_file_that_cannot_be_opened_is_named_by_its_setting(
    render: Render, tmp_path: Path
) -> None:
    # Root may write anywhere, but not into a folder as if it were a file.
    said = render().fail("python", "-c", USE, DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path}")
    assert "Unavailable: cannot connect: " in said
    assert f"(DATABASE_URL is sqlite+aiosqlite:///{tmp_path})" in said


def test_a_directory_for_the_file_is_made(render: Render, tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/new/folder/shop.db"
    render().run("python", "-c", USE, DATABASE_URL=url)
    assert (tmp_path / "new/folder/shop.db").is_file()


# Cancels a connect at each of its first steps; prints how many connections the server then has.
CONNECT = """
import asyncio, gc
from shop.db import Database, DatabaseSettings
from shop.db.testing import databases
import sqlalchemy as sa

async def use(database):
    async with database.session() as session:
        await session.connection()

async def main(url):
    gc.disable()
    settings = DatabaseSettings(url=url)
    async with Database(settings) as witness:
        for steps in range(40):
            async with Database(settings) as database:
                task = asyncio.create_task(use(database))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
        await asyncio.sleep(1)
        async with witness.reader() as session:
            print(await session.scalar(sa.text("SELECT count(*) FROM pg_stat_activity")))

with databases.temporary_server() as server:
    asyncio.run(main(server.set(database="postgres")))
"""


@pytest.mark.server
def test_psycopg_closes_what_it_has_connected_by_half(render: Render) -> None:
    project, file = render(driver="psycopg"), "src/shop/db/engine/driver.py"
    left = int(project.run("python", "-c", CONNECT))
    closing = "traceback.clear_frames(error.__traceback__)"
    assert closing in project[file]
    project[file] = project[file].replace(closing, "assert traceback")
    assert int(project.run("python", "-c", CONNECT)) > left + 3


# Cancels a read at many a moment, where the event loop has much to do; prints how many
# connections were lost.
READ = """
import asyncio, gc, logging
import psycopg.waiting
from shop.db import Database, DatabaseSettings
from shop.db.testing import databases
import sqlalchemy as sa

psycopg.waiting.MAX_BUSY_TIME = 0
lost = []

class Handler(logging.Handler):
    def emit(self, record):
        lost.append(record)

logging.basicConfig(handlers=[Handler(logging.ERROR)])

async def main(url):
    async with Database(DatabaseSettings(url=url, pool_size=0)) as database:
        async def read():
            async with database.transaction(read_only=True) as session:
                await session.execute(sa.text("SELECT 1"))

        await read()
        for moment in range(100):
            task = asyncio.create_task(read())
            await asyncio.wait([task], timeout=moment / 5000)
            task.cancel()
            await asyncio.wait([task])
            del task
            gc.collect()
    print(len(lost))

with databases.temporary_server() as server:
    asyncio.run(main(server.set(database="postgres")))
"""


@pytest.mark.more
@pytest.mark.server
def test_psycopg_loses_no_connection_to_a_cancellation_while_it_is_set_up(render: Render) -> None:
    project, file = render(driver="psycopg"), "src/shop/db/engine/driver.py"
    assert int(project.run("python", "-W", "ignore", "-c", READ).split()[-1]) == 0
    setting = "deque(super().set_read_only(value or None).__await__(), maxlen=0)"
    assert setting in project[file]
    project[file] = project[file].replace(setting, "await super().set_read_only(value or None)")
    assert int(project.run("python", "-W", "ignore", "-c", READ).split()[-1]) > 0
