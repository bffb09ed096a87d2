"""MariaDB for tests: how a server is had, and how its databases are made and dropped."""

import signal
from collections.abc import Generator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..engine import create_engine
from ..settings import DRIVER, DatabaseSettings
from .servers import ServerProgram, start

# How a server for tests is had.
_SERVER = ServerProgram(
    name="MariaDB",
    # No package on PyPI brings the programs along.
    embedded=None,
    # Debian and Homebrew keep the server's program off an ordinary user's PATH.
    elsewhere=(
        "/usr/sbin",
        "/usr/libexec",
        "/opt/homebrew/opt/mariadb*/bin",
        "/usr/local/opt/mariadb*/bin",
    ),
    install=(
        "install the programs mariadb-install-db and mariadbd"
        " (Debian: apt-get install mariadb-server; macOS: brew install mariadb)",
    ),
    initialise=(
        "mariadb-install-db",
        "--no-defaults",
        "--datadir={directory}/data",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        # Even if this machine's own name leads nowhere.
        "--force",
    ),
    serve=(
        "mariadbd",
        "--no-defaults",
        "--datadir={directory}/data",
        "--port={port}",
        "--bind-address=127.0.0.1",
        # In the directory of the data: a whole path for one may be too long.
        "--socket=s",
        "--pid-file={directory}/pid",
        "--character-set-server=utf8mb4",
        # Debian's default of 128 MB is filled when the server starts.
        "--innodb-buffer-pool-size=64M",
        # The data is thrown away: nothing has to survive a crash.
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-doublewrite=OFF",
        "--skip-log-bin",
    ),
    ready="ready for connections",
    stop=signal.SIGTERM,
)

# What a database holds, in the order in which one part may need another: what SHOW CREATE calls
# it, which of its columns is the statement, and where its names are.
_PARTS = (
    ("TABLE", 1, "table_name", "tables WHERE table_type = 'BASE TABLE' AND table_schema"),
    ("VIEW", 1, "table_name", "views WHERE table_schema"),
    ("TRIGGER", 2, "trigger_name", "triggers WHERE trigger_schema"),
)


@contextmanager
def temporary_server() -> Generator[sa.URL]:
    """A server for tests, gone afterwards. Raises NoServer, which names each way to get one."""
    with start(_SERVER) as (host, port):
        yield sa.make_url(f"{DRIVER}://root@{host}:{port}/mysql")


async def create_database(server: sa.URL, name: str, template: str | None = None) -> sa.URL:
    """A new database, empty or a copy of `template`, which nobody is connected to."""
    async with _administrator(server) as connection:
        await connection.exec_driver_sql(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        if template:
            await connection.exec_driver_sql(f"USE `{name}`")
            await _copy(connection, template, name)
    return server.set(database=name)


async def drop_database(server: sa.URL, name: str) -> None:
    """Remove a database that create_database made; nothing happens if it is gone."""
    async with _administrator(server) as connection:
        await connection.exec_driver_sql(f"DROP DATABASE IF EXISTS `{name}`")


async def _copy(connection: AsyncConnection, template: str, name: str) -> None:
    """Copy what a database holds, one by one, since MySQL copies none as a whole."""
    # The tables come in no order that foreign keys would like.
    await connection.exec_driver_sql("SET foreign_key_checks = 0")
    for kind, position, column, place in _PARTS:
        names = sa.text(f"SELECT {column} FROM information_schema.{place} = :schema")
        for part in await connection.scalars(names, {"schema": template}):
            shown = await connection.exec_driver_sql(f"SHOW CREATE {kind} `{template}`.`{part}`")
            # A view names the database in front of each table.
            statement = shown.scalars(position).one()
            await connection.exec_driver_sql(statement.replace(template, name))
            if kind == "TABLE":
                await _copy_rows(connection, template, part)


async def _copy_rows(connection: AsyncConnection, template: str, table: str) -> None:
    given = sa.text(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = :schema"
        " AND table_name = :table AND extra NOT LIKE '%GENERATED'"
    )
    names = await connection.scalars(given, {"schema": template, "table": table})
    columns = ", ".join(f"`{name}`" for name in names)
    await connection.exec_driver_sql(
        f"INSERT INTO `{table}` ({columns}) SELECT {columns} FROM `{template}`.`{table}`"
    )


def _administrator(server: sa.URL) -> AsyncConnection:
    """A connection in no transaction, closed when its block is left."""
    url = server.set(database=server.database or "mysql")
    settings = DatabaseSettings(url=url, pool_size=0, statement_timeout=0, command_timeout=0)
    return create_engine(settings, isolation_level="AUTOCOMMIT").connect()
