"""The command `python -m <package>.db`: what it says, and how it ends."""

import asyncio
import importlib
import json
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from . import db, dialect

module = importlib.import_module(f"{db.__name__}.__main__")


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str


class Command:
    """The command, with these settings in the environment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    async def __call__(self, *arguments: str, **settings: object) -> Done:
        for name, value in settings.items():
            self._monkeypatch.setenv(f"DATABASE_{name.upper()}", str(value))
        self._monkeypatch.setattr(sys, "argv", ["db", *arguments])
        # In a thread, since it runs an event loop of its own.
        status = await asyncio.to_thread(module.main)
        said = self._capsys.readouterr()
        return Done(status, said.out, said.err)


@pytest.fixture
def command(
    fresh_database: db.Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    # Its parts would lead elsewhere.
    for part in ("HOST", "PORT", "USER", "PASSWORD", "NAME"):
        monkeypatch.delenv(f"DATABASE_{part}", raising=False)
    monkeypatch.setitem(db.DatabaseSettings.model_config, "env_file", None)
    url = fresh_database.settings.url.render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", url)
    return Command(monkeypatch, capsys)


def unreachable(database: db.Database) -> str:
    """A URL where nobody listens."""
    url = database.settings.url
    if not url.host:
        pytest.skip("a file is always there")
    return url.set(port=1, password="hidden").render_as_string(hide_password=False)


async def test_ping_says_where_the_database_is_and_that_it_answers(command: Command) -> None:
    done = await command("ping")
    assert (done.status, done.err) == (0, "")
    assert ": answers, in " in done.out


@pytest.fixture
def new_file(fresh_database: db.Database, tmp_path: Path) -> Path:
    """Where a database could be, and is not, nor its directory."""
    if fresh_database.settings.url.host:
        pytest.skip("this database is no file")
    return tmp_path / "new" / "new.db"


def is_there(file: Path) -> bool:
    return file.exists()


async def test_a_file_that_is_not_there_is_not_made(command: Command, new_file: Path) -> None:
    done = await command("ping", name=new_file)
    assert (done.status, done.out) == (1, "")
    assert "the file does not exist yet: `alembic upgrade head` creates it" in done.err
    assert not is_there(new_file.parent)


async def test_a_file_that_is_not_there_is_not_waited_for(command: Command, new_file: Path) -> None:
    # The first migration makes it, after this.
    assert (await command("wait", name=new_file)).status == 0
    assert not is_there(new_file.parent)


async def test_a_service_that_asks_for_its_health_makes_no_file(
    fresh_database: db.Database, new_file: Path
) -> None:
    settings = db.DatabaseSettings(url=fresh_database.settings.url.set(database=str(new_file)))
    async with db.Database(settings) as database:
        health = await database.ping()
    assert "does not exist yet" in str(health.error)
    assert not is_there(new_file)


async def test_a_file_is_found_by_its_uri_too(
    fresh_database: db.Database, command: Command
) -> None:
    url = fresh_database.settings.url
    if url.host:
        pytest.skip("this database is no file")
    uri = url.set(database=f"file:{url.database}").update_query_dict({"uri": "true"})
    assert (await command("ping", url=uri)).status == 0


async def test_ping_is_over_in_time_while_the_whole_file_is_locked(
    fresh_database: db.Database, command: Command
) -> None:
    if fresh_database.settings.url.host:
        pytest.skip("nobody can lock the whole of this database")
    with closing(sqlite3.connect(str(fresh_database.settings.url.database))) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        async with asyncio.timeout(5), db.Database(fresh_database.settings) as database:
            assert not (await database.ping(0.1)).ok
            assert (await command("ping", "--deadline=0.1")).status == 1


async def test_ping_does_not_wait_for_whoever_writes(
    fresh_database: db.Database, command: Command
) -> None:
    async with fresh_database.transaction() as session:
        # With SQLite the lock of all writers.
        await session.connection()
        assert (await command("ping", lock_timeout=0.1)).status == 0
        assert (await fresh_database.ping()).ok


async def test_ping_says_what_is_wrong_and_what_to_try(
    command: Command, fresh_database: db.Database
) -> None:
    done = await command("ping", url=unreachable(fresh_database), connect_timeout=2)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error: cannot connect: ")
    assert "\ntry: " in done.err
    assert "hidden" not in done.err


async def test_a_setting_that_is_wrong_is_named_without_its_value(command: Command) -> None:
    done = await command("ping", url="nothing://hidden@anywhere")
    assert done.status == 1
    assert done.err.startswith("error: DATABASE_URL: ")
    assert "hidden" not in done.err


async def test_wait_gives_up_at_its_deadline_and_says_why_it_waits(
    command: Command, fresh_database: db.Database
) -> None:
    url = unreachable(fresh_database)
    done = await command("wait", "--deadline=1", url=url, connect_timeout=2)
    assert done.status == 1
    assert done.err.startswith("waiting up to 1 s more: cannot connect: ")
    assert done.err.count("waiting") == 1
    assert "\nerror: " in done.err


async def test_wait_ends_as_soon_as_the_database_answers(command: Command) -> None:
    assert (await command("wait")).status == 0


async def test_budget_counts_what_all_processes_may_open(
    command: Command, fresh_database: db.Database
) -> None:
    async with fresh_database.engine.connect() as connection:
        limit = await dialect.connection_limit(connection)
    sizes = {"pool_size": 2, "max_overflow": 1, "pooler": "none"}
    done = await command("budget", "--json", processes=1, **sizes)
    assert done.status == 0
    assert json.loads(done.out) | {"need": 3, "limit": limit, "ok": True} == json.loads(done.out)
    done = await command("budget", processes=100_000, **sizes)
    if limit is None:
        assert done.out.endswith("has no limit on connections\n")
    else:
        assert done.status == 1
        total = "100000 processes x (2 + 1) connections = 300000"
        assert f"{total}, more than the {limit} that the server has for them" in done.err


async def test_the_limit_is_what_the_server_says(fresh_database: db.Database) -> None:
    if fresh_database.settings.url.get_backend_name() != "postgresql":
        pytest.skip("only PostgreSQL keeps some of its connections for administrators")
    async with fresh_database.engine.connect() as connection:
        limit = await dialect.connection_limit(connection)
        shown = str(await connection.scalar(sa.text("SHOW max_connections")))
        kept = str(await connection.scalar(sa.text("SHOW superuser_reserved_connections")))
    assert limit == int(shown) - int(kept)
