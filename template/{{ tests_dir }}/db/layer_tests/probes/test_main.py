"""The command `python -m <package>.db`: its output and its exit status."""

import asyncio
import importlib
import json
import re
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
import sqlalchemy as sa

from . import db, dialect, doctor, testing
from .proxy import proxy

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
    tmp_path: Path,
) -> Command:
    # Its parts would lead elsewhere.
    for part in ("HOST", "PORT", "USER", "PASSWORD", "NAME"):
        monkeypatch.delenv(f"DATABASE_{part}", raising=False)
    monkeypatch.setitem(db.DatabaseSettings.model_config, "env_file", None)
    url = fresh_database.settings.url.render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", url)
    # The project's migrations are not those of this database.
    monkeypatch.setenv("ALEMBIC_CONFIG", str(tmp_path / "alembic.ini"))
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
    assert done.out.startswith("ok     database: ")
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
    assert done.status == 1
    assert "the file does not exist yet: `alembic upgrade head` creates it" in done.out
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
    assert (done.status, done.err) == (1, "")
    problem, advice = done.out.splitlines()
    assert problem.startswith("failed database: cannot connect: ")
    assert advice.startswith("       try: ")
    assert "hidden" not in done.out


async def test_ping_says_what_to_try_where_the_server_is_silent(
    command: Command, fresh_database: db.Database
) -> None:
    if not fresh_database.settings.url.host:
        pytest.skip("there is no network between this and a file")
    async with proxy(fresh_database.settings.url) as (network, url):
        network.silence()
        address = url.render_as_string(hide_password=False)
        done = await command("ping", "--deadline=0.5", url=address, connect_timeout=9)
    assert done.out.startswith("failed database: no answer within 0.5 s\n")
    assert "try: check firewalls, and the host and the port in DATABASE_URL" in done.out


async def test_a_setting_that_is_wrong_is_named_without_its_value(command: Command) -> None:
    done = await command("ping", url="nothing://hidden@anywhere")
    assert done.status == 1
    assert done.out.startswith("failed settings: DATABASE_URL: ")
    assert "hidden" not in done.out


async def test_wait_gives_up_at_its_deadline_and_says_why_it_waits(
    command: Command, fresh_database: db.Database
) -> None:
    url = unreachable(fresh_database)
    done = await command("wait", "--deadline=1", url=url, connect_timeout=2)
    assert done.status == 1
    assert done.err.startswith("waiting up to 1 s more: cannot connect: ")
    assert done.err.count("waiting") == 1
    assert done.out.startswith("failed database: cannot connect: ")


async def test_wait_ends_as_soon_as_the_database_answers(command: Command) -> None:
    assert (await command("wait")).status == 0


SLOW = """
    CREATE TABLE probe_slow (id BIGINT PRIMARY KEY, name VARCHAR(20), other BIGINT, part_id BIGINT,
    CONSTRAINT fk_slow FOREIGN KEY (other) REFERENCES probe_slow (id),
    CONSTRAINT fk_part FOREIGN KEY (part_id) REFERENCES probe_slow (id), UNIQUE (part_id, name))
"""
STATISTICS = (
    "CREATE INDEX ix_slow_name ON probe_slow (name)",
    "CREATE INDEX ix_slow_names ON probe_slow (name)",
    "CREATE INDEX ix_slow_few ON probe_slow (name) WHERE id < 0",
    "INSERT INTO probe_slow SELECT x, 'name ' || x FROM generate_series(1, 20000) AS x",
    # As the extension has it.
    "CREATE VIEW pg_stat_statements AS SELECT oid AS dbid, 'SELECT  9' AS query, 7 AS calls,"
    " 8000.0::float8 AS total_exec_time FROM pg_database",
    *["SELECT count(*) FROM probe_slow"] * 101,
)


async def test_analyze_says_what_makes_queries_slow(
    command: Command, fresh_database: db.Database
) -> None:
    database = fresh_database.settings.url.get_backend_name()
    options = fresh_database.engine.execution_options(**dialect.AUTOCOMMIT)
    async with options.connect() as connection:
        for statement in (SLOW, *(STATISTICS if database == "postgresql" else ())):
            await connection.exec_driver_sql(statement)
        # PostgreSQL counts when a connection ends, and otherwise up to ten seconds later.
        await connection.invalidate()
    key = (
        "foreign key: no index of probe_slow begins with other: all of the table is read when a row"
    )
    notes = {
        "sqlite": [f"{key} of probe_slow is deleted"],
        # It makes the indexes itself.
        "mysql": list[str](),
        "postgresql": [
            "duplicate index: ix_slow_name, ix_slow_names of probe_slow are alike",
            f"{key} of probe_slow is deleted",
            "slow statement: 8 s in all, 7 calls: SELECT 9",
            "table scan: probe_slow (20000 rows) was read as a whole N times",
            "unused index: ix_slow_name of probe_slow (N kB) was never read",
            "unused index: ix_slow_names of probe_slow (N kB) was never read",
        ],
    }[database]

    async def find() -> list[str]:
        done = await command("analyze", "--json")
        said = json.loads(done.out)
        assert (done.status, said["ok"]) == (0, True)
        lines = [f"{x['name']}: {x['message']}" for x in said["checks"]]
        return [re.sub(r"\d+( times| kB)", r"N\1", x).partition(", and by")[0] for x in lines]

    async with asyncio.timeout(50):
        found = await find()
        while not {*notes} <= {*found}:
            found = await find()
    assert sorted(x for x in found if "slow" in x) == notes
    assert ("\n       try: add index=True" in (await command("analyze")).out) == bool(notes)


async def test_analyze_says_that_nothing_was_found(
    command: Command, database_server: sa.URL, tmp_path: Path
) -> None:
    async with testing.temporary_database(database_server) as settings:
        async with db.Database(settings) as database, database.engine.begin():
            pass  # SQLite makes the file.
        url = settings.url.render_as_string(hide_password=False)
        done = await command("analyze", url=url)
        assert (done.status, done.out) == (0, "ok     analysis: nothing was found\n")
        missing = settings.url.set(database=f"{tmp_path}/nothing/nothing")
        done = await command("analyze", url=missing.render_as_string(hide_password=False))
    assert done.status == 1 and done.out.startswith("failed database: ")
    assert "nothing/nothing" in done.out and not (tmp_path / "nothing").exists()


async def test_doctor_has_a_line_for_each_check(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "differences", dict)
    done = await command("doctor", processes=1, pool_size=1, max_overflow=0, pooler="none")
    assert (done.status, done.err) == (0, "")
    lines = [line.split(":")[0] for line in done.out.splitlines()]
    layer, packages, *others = lines
    assert layer == "ok     layer"
    assert packages in ("ok     packages", "note   packages")
    assert others == [
        "ok     database",
        "note   migrations",
        # The advice to the note.
        "       try",
        "ok     connections",
    ]
    assert f"not checked, because {tmp_path}/alembic.ini has no section [alembic]" in done.out


async def test_doctor_checks_what_it_can_without_a_database(
    command: Command, fresh_database: db.Database
) -> None:
    done = await command("doctor", url=unreachable(fresh_database), connect_timeout=2)
    assert (done.status, done.err) == (1, "")
    assert " packages: " in done.out
    assert "\nfailed database: cannot connect: " in done.out
    for name in ("migrations", "connections"):
        assert f"\nnote   {name}: not checked, because the database does not answer" in done.out


async def test_doctor_counts_the_connections_that_all_processes_may_open(
    command: Command, fresh_database: db.Database
) -> None:
    async with fresh_database.engine.connect() as connection:
        limit = await dialect.connection_limit(connection)
    sizes = {"pool_size": 2, "max_overflow": 1}
    done = await command("doctor", "--json", processes=1, pooler="none", **sizes)
    total = "1 processes x (2 + 1) connections = 3"
    report = json.loads(done.out)
    (check,) = [check for check in report["checks"] if check["name"] == "connections"]
    assert report["ok"] is True
    assert check["status"] == "ok"
    assert check["message"] == f"{total}; the database allows {limit or 'any number'}"
    done = await command("doctor", processes=100_000)
    if limit is None:
        assert done.out.endswith("= 300000; the database allows any number\n")
    else:
        assert done.status == 1
        assert f"connections = 300000; the database allows only {limit}\n" in done.out
        assert "try: lower DATABASE_POOL_SIZE or " in done.out


def test_doctor_finds_the_files_that_are_not_as_they_were_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "doctor.py"))
    package = db.__name__.rpartition(".")[0].replace(".", "_").encode()
    names = ("same.py", "ends.py", "named.py", "edited.py", "gone.py", "testing/left_out.py")
    released = sha256(b"one\n/two\n").hexdigest()
    lines = [f"{released}  {name}\n" for name in names]
    (tmp_path / "manifest.sha256").write_text("".join(lines))
    # The URL of the default database, which has the package's name, is no difference.
    texts = (b"one\n/two\n", b"one\r\n/two\r\n", b"one\n/" + package + b"two\n", b"one\n")
    for name, text in zip(names, texts, strict=False):
        (tmp_path / name).write_bytes(text)

    assert doctor.differences() == {"edited.py": "changed", "gone.py": "missing"}

    check = doctor.check_layer()
    assert (check.name, check.status) == ("layer", "note")
    assert check.message == "not as it was released: edited.py (changed), gone.py (missing)"
    for name in ("edited.py", "gone.py"):
        (tmp_path / name).write_bytes(b"one\n/two\n")
    assert doctor.check_layer().status == "ok"


@pytest.mark.parametrize(
    ("requirement", "tested", "status", "message"),
    [
        ("sqlalchemy[asyncio]>=2.1", "999.0", "ok", "new enough, and none newer than "),
        ("sqlalchemy[asyncio]>=999.1", "999.2", "failed", "sqlalchemy[asyncio] 2."),
        ("sqlalchemy>=2.1", "2.0.45", "note", "newer than what this release was tested with: "),
        # Only the tests need it, or only some versions of Python.
        ("no-such-package>=1", "1.2", "ok", "new enough, and none newer than "),
    ],
)
def test_doctor_compares_each_package_with_its_oldest_and_its_newest_version(
    monkeypatch: pytest.MonkeyPatch, requirement: str, tested: str, status: str, message: str
) -> None:
    monkeypatch.setattr(doctor, "REQUIREMENTS", {requirement: tested})
    check = doctor.check_packages()
    assert (check.name, check.status) == ("packages", status)
    assert check.message.startswith(message)
    assert check.advice == (f"uv add '{requirement}'" if status == "failed" else None)


async def test_the_limit_is_what_the_server_says(fresh_database: db.Database) -> None:
    if fresh_database.settings.url.get_backend_name() != "postgresql":
        pytest.skip("only PostgreSQL keeps some of its connections for administrators")
    async with fresh_database.engine.connect() as connection:
        limit = await dialect.connection_limit(connection)
        shown = str(await connection.scalar(sa.text("SHOW max_connections")))
        kept = str(await connection.scalar(sa.text("SHOW superuser_reserved_connections")))
    assert limit == int(shown) - int(kept)
