"""The URLs that people have of PostgreSQL: each leads there on both drivers, or is refused."""

import json
from collections.abc import Callable

import pytest
from harness import Project

Render = Callable[..., Project]

# Runs in a rendered project: a server that listens on a socket too, and ways to name it.
SCRIPT = """
import asyncio, dataclasses, json

import sqlalchemy as sa
from shop.db import Database, DatabaseSettings
from shop.db.testing import databases, servers

SETTINGS = ("search_path", "statement_timeout", "application_name", "timezone")
SOCKET = ("unix_socket_directories",)


async def connect(url, names=SETTINGS, **parts):
    try:
        async with Database(DatabaseSettings(url=url, **parts)) as database:
            async with database.session() as session:
                shown = [sa.func.current_setting(name) for name in names]
                return list((await session.execute(sa.select(*shown))).one())
    except Exception as error:
        return "refused", f"{type(error).__name__}: {error}"


async def main(port):
    tcp = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    (socket,) = await connect(tcp, SOCKET)
    async with Database(DatabaseSettings(url=tcp)) as database, database.engine.begin() as own:
        await own.execute(sa.text("ALTER DATABASE postgres SET timezone = 'Europe/Berlin'"))
    parts = {"host": socket, "port": port, "user": "postgres", "name": "postgres"}
    cases = {
        "an old name": connect(tcp.replace("postgresql", "postgres")),
        "a line's end": connect(f"{tcp}\\n"),
        "a socket": connect(f"postgresql://postgres@:{port}/postgres?host={socket}"),
        "a socket in parts": connect("postgresql://", **parts),
        "a socket in libpq's form": connect(f"postgresql://postgres@%2Ftmp:{port}/postgres"),
        "several hosts": connect(
            f"postgresql://postgres@/postgres?host=127.0.0.1:1&host=127.0.0.1:{port}"
            "&target_session_attrs=read-write&sslmode=disable"
        ),
        "several hosts in libpq's form": connect(tcp.replace("@", "@127.0.0.1:1,")),
        "options": connect(f"{tcp}?options=-c%20search_path%3Dmine"),
        "a name": connect(f"{tcp}?application_name=mine"),
        "what libpq knows": connect(f"{tcp}?connect_timeout=10&keepalives=1&gssencmode=disable"),
        "what nobody knows": connect(f"{tcp}?schema=mine"),
    }
    return {name: await case for name, case in cases.items()}


own = "-cunix_socket_directories={directory}"
serve = tuple(own if x.startswith("-cunix") else x for x in databases._SERVER.serve)
program = dataclasses.replace(databases._SERVER, serve=serve)
with servers.start(program) as (_, port):
    told = asyncio.run(main(port))
print(json.dumps(told))
"""


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_a_url_leads_to_the_server_or_is_refused_in_a_sentence(render: Render, driver: str) -> None:
    project = render(driver=driver)
    project["check.py"] = SCRIPT
    told: dict[str, list[str]] = json.loads(project.run("python", "check.py").splitlines()[-1])
    came = {name: row for name, row in told.items() if row[0] != "refused"}
    # A day has 24 hours, whatever the time zone of the database is.
    plain = ['"$user", public', "5s", "Shop", "UTC"]
    ways = ("an old name", "a line's end", "a socket", "a socket in parts", "several hosts")
    assert came == {
        **dict.fromkeys((*ways, "what libpq knows"), plain),
        # The limits that the service was given hold on.
        "options": ["mine", "5s", "Shop", "UTC"],
        "a name": ['"$user", public', "5s", "mine", "UTC"],
    }
    for name in ("a socket in libpq's form", "several hosts in libpq's form"):
        assert "the host of DATABASE_URL is not a single" in told[name][1]
    _, problem = told["what nobody knows"]
    assert problem.startswith("Unavailable: cannot connect: ")
    assert "schema" in problem


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize(
    ("url", "variables", "sentence"),
    [
        ("///shop", {"PGHOST": "db.example.invalid"}, "names no host, and PGHOST names one"),
        ("//me@/shop", {"PGHOST": "db.example.invalid"}, "names no host, and PGHOST names one"),
        ("///shop", {"PGSERVICE": "orders"}, "names no host, and PGSERVICE names one"),
        ("//me@localhost/shop", {"PGSSLMODE": "verify-full"}, "PGSSLMODE is verify-full, and"),
        # These agree.
        ("//me@localhost:1/shop", {"PGSSLMODE": "prefer"}, "cannot connect"),
        ("//me@localhost:1/shop", {"PGHOST": "db.example.invalid"}, "cannot connect"),
        ("//me@localhost:1/shop?sslmode=disable", {"PGSSLMODE": "require"}, "cannot connect"),
    ],
)
def test_a_variable_of_libpq_that_contradicts_the_settings_is_refused(
    render: Render, driver: str, url: str, variables: dict[str, str], sentence: str
) -> None:
    project = render(driver=driver)
    url = f"postgresql+{driver}:{url}"
    said = project.fail("python", "-m", "shop.db", "ping", DATABASE_URL=url, **variables)
    assert sentence in said
