"""PgBouncer in transaction mode: it forgets what was not said in the transaction, and so do we."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from typing import cast

import pytest
import yaml
from harness import Project, tiered

Render = Callable[..., Project]

PROCESSES = 4
TRANSACTIONS = 1000

# Runs in a rendered project: a server, a pooler before it, and processes that work through that.
SCRIPT = '''
import asyncio, contextlib, json, os, pwd, socket, subprocess, sys, tempfile
from pathlib import Path

import sqlalchemy as sa
from shop.db import Database, DatabaseSettings, DataLayerError, QueryTimeout
from shop.db.testing import databases

# That of compose.yaml, at other ports, and with the sizes that the checks expect.
CONFIGURATION = f"""
{os.environ["CONFIGURATION"]}
default_pool_size = 5
max_client_conn = 200
"""


@contextlib.contextmanager
def pooler(server):
    """PgBouncer before a server, as a user without rights; the URL that leads through it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "pgbouncer.ini")
        file.write_text(CONFIGURATION.format(server=server, port=port))
        os.chmod(directory, 0o755)
        command = ["pgbouncer", "-q", file]
        with subprocess.Popen(command, user=user, stdin=subprocess.DEVNULL) as process:
            try:
                yield server.set(port=port)
            finally:
                process.terminate()


async def work(url, transactions):
    """Transactions of several statements, ten at a time; how many failed."""
    failures = []
    async with Database(DatabaseSettings(url=url)) as database:

        async def one(number):
            try:
                async with database.transaction() as session:
                    assert await session.scalar(sa.select(sa.literal(number))) == number
                    await session.execute(sa.text("INSERT INTO work VALUES (:n)"), {"n": number})
                    assert await session.scalar(sa.text("SHOW statement_timeout")) == "5s"
            except Exception as error:
                failures.append(repr(error))

        async def several(numbers):
            for number in numbers:
                await one(number)

        await asyncio.gather(*(several(range(i, transactions, 10)) for i in range(10)))
    return failures


async def look(url):
    """What each of the pooler's connections to the server has kept."""
    kept = {}
    everyone = asyncio.Barrier(5)
    async with Database(DatabaseSettings(url=url)) as database:

        async def one():
            async with database.transaction() as session:
                await session.connection()
                await everyone.wait()
                pid = await session.scalar(sa.text("SELECT pg_backend_pid()"))
                query = sa.text("SELECT count(*) FROM pg_prepared_statements")
                kept[pid] = await session.scalar(query)

        await asyncio.gather(*(one() for _ in range(5)))
        try:
            async with database.transaction() as session:
                await session.execute(sa.text("SELECT pg_sleep(30)"))
        except QueryTimeout:
            timeout = "ended"
        async with database.reader() as session:
            reader = await session.scalar(sa.text("SHOW statement_timeout"))
        async with database.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            outside = await connection.scalar(sa.text("SHOW statement_timeout"))
            rows = await connection.scalar(sa.text("SELECT count(*) FROM work"))
    told = {"timeout": timeout, "reader": reader, "outside": outside}
    return told | {"kept": list(kept.values()), "rows": rows}


async def prepare(server):
    url = await databases.create_database(server, "pooled")
    async with Database(DatabaseSettings(url=url, pooler="none")) as database:
        async with database.engine.begin() as connection:
            await connection.execute(sa.text("CREATE TABLE work (n int)"))
    return url


def main():
    if "--work" in sys.argv:
        print(json.dumps(asyncio.run(work(os.environ["WORK_URL"], int(sys.argv[2])))))
        return
    processes, transactions = int(sys.argv[1]), int(sys.argv[2])
    with databases.temporary_server() as server:
        direct = asyncio.run(prepare(server))
        with pooler(direct) as url:
            wait = [sys.executable, "-m", "shop.db", "wait"]
            text = url.render_as_string(hide_password=False)
            environment = os.environ | {"WORK_URL": text, "DATABASE_URL": text}
            subprocess.run(wait, env=environment, check=True, stdout=subprocess.DEVNULL)
            command = [sys.executable, __file__, "--work", str(transactions)]
            running = [
                subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
                for _ in range(processes)
            ]
            failures = [failure for x in running for failure in json.loads(x.communicate()[0])]
            print(json.dumps({"failures": failures[:3], **asyncio.run(look(url))}))


main()
'''


@cache
def version() -> tuple[int, ...]:
    """The version of PgBouncer on PATH; nothing where there is none."""
    if not shutil.which("pgbouncer"):
        return ()
    told = subprocess.run(["pgbouncer", "--version"], check=True, capture_output=True, text=True)
    return tuple(int(number) for number in re.findall(r"\d+", told.stdout)[:2])


@pytest.fixture(autouse=True)
def _pgbouncer() -> None:
    if not version() and os.environ.get("REQUIRE_ALL_SERVERS") != "1":
        pytest.skip("pgbouncer is not on this machine (Debian: apt-get install pgbouncer)")


def configuration(project: Project) -> str:
    """What compose.yaml gives to PgBouncer, with places for the ports of a test."""
    text: str = yaml.safe_load(project["compose.yaml"])["configs"]["pgbouncer"]["content"]
    for old, new in {
        "host=database port=5432": "host=127.0.0.1 port={server.port}",
        "listen_addr = *": "listen_addr = 127.0.0.1",
        "listen_port = 6432": "listen_port = {port}",
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    # Debian 12 has 1.18, which does not know this setting and follows no statement.
    return text if version() >= (1, 21) else re.sub("max_prepared_statements.*", "", text)


def work(project: Project) -> dict[str, object]:
    """What became of the work of several processes, and what was left of it."""
    project["check.py"] = SCRIPT
    arguments = ("check.py", str(PROCESSES), str(TRANSACTIONS))
    said = project.run("python", *arguments, CONFIGURATION=configuration(project))
    told: dict[str, object] = json.loads(said.splitlines()[-1])
    return told


EXPECTED: dict[str, object] = {
    "failures": [],
    "rows": PROCESSES * TRANSACTIONS,
    # The limits hold in a transaction, and are gone with it.
    "timeout": "ended",
    "reader": "5s",
    "outside": "0",
}


@pytest.mark.parametrize("driver", tiered(["asyncpg", "psycopg"], "asyncpg"))
def test_processes_share_a_pooler_that_keeps_no_statement(render: Render, driver: str) -> None:
    told = work(render(driver=driver, pooler="pgbouncer_statementless"))
    # One for each of the pooler's connections to the server.
    assert told == {**EXPECTED, "kept": [0] * 5}


@pytest.mark.more
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_processes_share_a_pooler_that_follows_their_statements(
    render: Render, driver: str
) -> None:
    if version() < (1, 21):
        # Debian 12 has 1.18, so that this is no failure anywhere.
        pytest.skip("PgBouncer follows prepared statements from 1.21 on: no such one is on PATH")
    told = work(render(driver=driver, pooler="pgbouncer"))
    kept = cast("list[int]", told.pop("kept"))
    assert told == EXPECTED
    # They were prepared, once for all processes.
    assert [0 < number <= 100 for number in kept] == [True] * 5


def test_what_a_direct_connection_sets_for_its_session_is_refused_by_a_pooler(
    render: Render,
) -> None:
    project = render(driver="asyncpg", pooler="none")
    project["check.py"] = SCRIPT.replace('"shop.db", "wait"]', '"shop.db", "wait", "--deadline=2"]')
    with pytest.raises(AssertionError, match="unsupported startup parameter"):
        settings = configuration(render(driver="asyncpg", pooler="pgbouncer"))
        project.run("python", "check.py", "1", "1", CONFIGURATION=settings)


def test_migrations_ask_for_a_way_past_the_pooler(render: Render) -> None:
    project = render(driver="asyncpg", pooler="pgbouncer")
    said = project.fail("alembic", "upgrade", "head")
    assert "FAILED: DATABASE_MIGRATION_URL is missing" in said
    assert "Traceback" not in said
    # As the README's first commands do.
    project[".env"] = project[".env.example"]
    code = "from shop.db import DatabaseSettings as Settings; assert Settings().migration_url"
    project.run("python", "-c", code)
