"""Checks of what a service needs: its database, migrations, connections and packages."""

import asyncio
import os
import re
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Sequence
from configparser import InterpolationError
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection

from .database import Database
from .engine import dialect, driver, health
from .errors import DataLayerError
from .settings import DatabaseSettings
from .versions import REQUIREMENTS

# Advice, by the kind of an error.
_ADVICE = {
    ssl.SSLCertVerificationError: "name the file of the server's authority in DATABASE_TLS_CA_FILE,"
    " and the host as its certificate does; DATABASE_TLS=require encrypts and verifies nothing",
    socket.gaierror: "correct the host in DATABASE_URL: no address is known for it",
    ConnectionRefusedError: "start the server, or correct the host and the port in DATABASE_URL:"
    " nothing listens there",
    TimeoutError: "check firewalls, and the host and the port in DATABASE_URL: nothing answers there",
}


class Check(NamedTuple):
    """The result of one check: `failed` needs a change, a `note` is only worth reading."""

    name: str
    status: Literal["ok", "note", "failed"]
    message: str
    advice: str | None = None


async def examine(settings: DatabaseSettings, deadline: float) -> list[Check]:
    """Check the packages, the database, its migrations and the connections of all processes."""
    checks = [check_layer(), check_packages(), await check_database(settings, deadline)]
    if checks[-1].status == "failed":
        unknown = "not checked, because the database does not answer"
        return [*checks, *(Check(name, "note", unknown) for name in ("migrations", "connections"))]
    # The same file as for Alembic's own command.
    config = Config(os.environ.get("ALEMBIC_CONFIG", "alembic.ini"))
    async with connect(settings, deadline) as connection:
        checks.append(await check_migrations(connection, config))
        checks.append(await check_connections(connection, settings))
    return checks


async def check_database(settings: DatabaseSettings, deadline: float) -> Check:
    """Connect once, and execute a statement."""
    place, began = dialect.locate(settings.url), time.perf_counter()
    if missing := dialect.missing(settings.url):
        return Check("database", "failed", f"{place}: {missing}")
    try:
        async with connect(settings, deadline) as connection:
            only_reads = await connection.scalar(sa.select(dialect.only_reads(settings.url)))
    except (DataLayerError, TimeoutError) as error:
        message = str(error) or f"no answer within {deadline:.1f} s"
        advice = _advise(error)
        return Check("database", "failed", message, None if advice in message else advice)
    if only_reads:
        advice = "name the primary in DATABASE_URL, or wait until a failover has ended"
        return Check("database", "failed", f"{place}: {health.ONLY_READS}", advice)
    return Check("database", "ok", f"{place}: answers, in {time.perf_counter() - began:.3f} s")


async def check_migrations(connection: AsyncConnection, config: Config) -> Check:
    """Compare the revision of the database with the newest one, both as env.py finds them."""
    if not config.file_config.has_section("alembic"):
        missing = f"not checked, because {config.config_file_name} has no section [alembic]"
        advice = "run this in the project's root, or name Alembic's file in ALEMBIC_CONFIG"
        return Check("migrations", "note", missing, advice)
    try:
        current, newest = await connection.run_sync(partial(_read_revisions, config))
    except InterpolationError:
        problem = f"Alembic cannot read {config.config_file_name}, because its path contains %"
        return Check("migrations", "failed", problem, "rename the folder")
    except Exception as error:  # env.py is the project's own
        problem = f"env.py failed: {type(error).__name__}: {error}".partition("\n")[0]
        advice = f"have it call {__package__}.migrate.run(metadata)"
        return Check("migrations", "failed", problem, advice)
    if problem := await connection.run_sync(dialect.invalid_indexes):
        advice = "build each again by create_index_concurrently() in a revision, or drop it"
        return Check("migrations", "failed", problem, advice)
    if current == newest == "none":
        advice = "write the first: `alembic revision --autogenerate`, then `alembic upgrade head`"
        return Check("migrations", "note", "there is no revision yet", advice)
    if current == newest:
        return Check("migrations", "ok", f"at {newest}, the newest revision")
    behind = f"the database is at {current}, and the newest revision is {newest}"
    advice = "run `alembic upgrade head`, or deploy the code that the database was migrated for"
    return Check("migrations", "failed", behind, advice)


async def check_connections(connection: AsyncConnection, settings: DatabaseSettings) -> Check:
    """Compare the connections that all processes may open with those that the server allows."""
    need = settings.processes * max(1, settings.pool_size + settings.max_overflow)
    sizes = f"({settings.pool_size} + {settings.max_overflow})"
    total = f"{settings.processes} processes x {sizes} connections = {need}"
    if settings.pooler != "none":
        return Check("connections", "note", f"not checked: the pooler must allow {total}")
    limit = await dialect.connection_limit(connection)
    if limit is None or need <= limit:
        allowed = limit or "any number"
        return Check("connections", "ok", f"{total}; the database allows {allowed}")
    advice = (
        "lower DATABASE_POOL_SIZE or DATABASE_MAX_OVERFLOW, run fewer processes"
        " (DATABASE_PROCESSES), put a pooler between, or raise max_connections on the server"
    )
    return Check("connections", "failed", f"{total}; the database allows only {limit}", advice)


def check_layer() -> Check:
    """Compare the files of the layer with those of its release."""
    if different := differences():
        found = ", ".join(f"{name} ({how})" for name, how in different.items())
        advice = "`copier recopy --overwrite` makes them as they were released"
        return Check("layer", "note", f"not as it was released: {found}", advice)
    return Check("layer", "ok", "as it was released")


def differences() -> dict[str, str]:
    """Return the files that are not as they were released, and whether they changed or are missing.

    A folder that is missing was left out on purpose, as a wheel leaves out `testing`.
    """
    folder, different = Path(__file__).parent, dict[str, str]()
    package = __name__.removesuffix(".db.doctor").replace(".", "_").encode()
    for line in (folder / "manifest.sha256").read_text("utf-8").splitlines():
        digest, _, name = line.partition("  ")
        file = folder / name
        if not file.exists():
            different |= {name: "missing"} if file.parent.exists() else {}
            continue
        # Git may have put other line ends. A package that was renamed has another URL by default.
        text = file.read_bytes().replace(b"\r\n", b"\n").replace(b"/" + package, b"/")
        if sha256(text).hexdigest() != digest:
            different[name] = "changed"
    return different


def check_packages() -> Check:
    """Compare the installed packages with those that the layer needs, and was tested with."""
    old: dict[str, str] = {}
    new: list[str] = []
    for requirement, tested in REQUIREMENTS.items():
        name, _, oldest = requirement.partition(">=")
        try:
            installed = version(name.partition("[")[0])
        except PackageNotFoundError:
            # Only the tests need it, or this Python does without; an import would say so.
            continue
        if _numbers(installed) < _numbers(oldest):
            old[requirement] = f"{name} {installed} is older than {oldest}"
        elif _numbers(installed) > _numbers(tested):
            new.append(f"{name} {installed} ({tested})")
    if old:
        added = " ".join(f"'{requirement}'" for requirement in old)
        return Check("packages", "failed", "; ".join(old.values()), f"uv add {added}")
    if new:
        known = f"newer than what this release was tested with: {', '.join(new)}"
        return Check("packages", "note", known)
    return Check("packages", "ok", "new enough, and none newer than this release was tested with")


@asynccontextmanager
async def connect(settings: DatabaseSettings, deadline: float) -> AsyncGenerator[AsyncConnection]:
    """Connect in autocommit, for a check that ends within `deadline` seconds."""
    # SQLite waits for a lock in a thread, which no timeout of asyncio ends.
    limits = {"lock_timeout": min(settings.lock_timeout, deadline)}
    async with (
        Database(settings.model_copy(update=limits)) as database,
        asyncio.timeout(deadline),
        # Without a transaction: SQLite would wait for the lock of a writer to begin one.
        database.engine.execution_options(**dialect.AUTOCOMMIT).connect() as connection,
    ):
        yield connection


def _advise(error: BaseException) -> str:
    # The cause of a TimeoutError is a cancellation, or None before Python 3.11.7.
    cause = error if isinstance(error, TimeoutError) else error.__cause__ or error
    if advice := dialect.ADVICE.get(driver.error_code(cause) or ""):
        return advice
    for kind, advice in _ADVICE.items():
        if isinstance(cause, kind):
            return advice
    return (
        "check DATABASE_URL (host, port, user, password, name) and DATABASE_TLS, and whether the"
        " server runs"
    )


def _read_revisions(config: Config, connection: sa.Connection) -> list[str]:
    """Return the revision of the database, and the newest one of the migrations."""
    script = ScriptDirectory.from_config(config)
    heads: list[Sequence[str]] = [script.get_heads()]

    def read(_: object, context: MigrationContext) -> list[RevisionStep]:
        heads.insert(0, context.get_current_heads())
        return []

    config.attributes["connection"] = connection
    try:
        # Through env.py, which may name another table for the revisions.
        with EnvironmentContext(config, script, fn=read, dont_mutate=True):
            script.run_env()
    finally:
        del config.attributes["connection"]
    # There is one, or none, unless branches of migrations were not merged.
    return [" and ".join(sorted(each)) or "none" for each in heads]


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, without what marks a pre-release."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, numbers[0].split("."))) if numbers else ()
