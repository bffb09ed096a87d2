"""Several hosts in a URL of PostgreSQL: their order, and what they have to be."""

import asyncio
import importlib
import random
import struct
from typing import Any

import pytest
import sqlalchemy as sa

from . import db

if not db.settings.DRIVER.startswith("postgresql"):
    pytest.skip("the hosts of a URL are those of libpq", allow_module_level=True)

hosts = importlib.import_module(f"{db.__name__}.engine.hosts")


class Network:
    """Servers that connections lead to, by their host: each refuses, or has a role."""

    def __init__(self, query: str, **roles: str) -> None:
        self._hosts: Any = hosts.Hosts(sa.make_url(f"{db.settings.DRIVER}://me@:7/shop?{query}"))
        self.roles = roles
        self.tried: list[str] = []

    async def connect(self) -> str:
        """Return the host and port of a connection."""
        found: str = await self._hosts.connect(self._connect)
        return found

    async def _connect(self, *, host: str, port: int, target_session_attrs: str) -> str:
        self.tried.append(f"{host} {target_session_attrs}")
        role = self.roles.get(host, "primary")
        if role == "silent":
            await asyncio.sleep(1.1)
            raise TimeoutError
        if role == "refuses" or target_session_attrs not in ("any", role):
            raise ConnectionRefusedError("refused")
        return f"{host} {port}"


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("host=one:5&host=two", {"one 5", "two 7"}),
        ("host=one,two&port=5,6", {"one 5", "two 6"}),
        ("host=one,two&port=5", {"one 5", "two 5"}),
        ("host=::1&host=[::2]:5", {"::1 7", "::2 5"}),
        ("host=/run/postgresql&host=one:5", {"/run/postgresql 7", "one 5"}),
    ],
)
async def test_a_list_of_hosts_may_have_ports(query: str, places: set[str]) -> None:
    network = Network(query)
    found = {await network.connect()}
    network.roles = {next(iter(found)).split()[0]: "refuses"}
    assert {*found, await network.connect()} == places


async def test_hosts_are_tried_in_the_order_of_the_url() -> None:
    network = Network("host=one&host=two", one="refuses")
    assert await network.connect() == "two 7"
    network.roles = {}
    assert await network.connect() == "one 7"


async def test_the_server_that_was_what_it_must_be_is_tried_first() -> None:
    network = Network("host=one&host=two&target_session_attrs=primary", one="standby")
    assert [await network.connect() for _ in range(2)] == ["two 7"] * 2
    assert network.tried == ["one primary", "two primary", "two primary"]


async def test_a_standby_is_preferred_in_two_passes() -> None:
    network = Network("host=one&host=two&target_session_attrs=prefer-standby", one="refuses")
    assert await network.connect() == "two 7"
    assert network.tried == ["one standby", "two standby", "one any", "two any"]
    network.roles = {"one": "standby"}
    assert await network.connect() == "one 7"


async def test_a_silent_host_is_tried_after_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network("host=one&host=two", one="silent")
    assert [await network.connect() for _ in range(2)] == ["two 7"] * 2
    assert network.tried == ["one any", "two any", "two any"]
    # It may answer again later.
    monkeypatch.setattr(hosts, "_REST", 0)
    network.roles = {}
    assert await network.connect() == "one 7"


async def test_a_caller_that_does_not_wait_so_long_finds_the_next_host_later() -> None:
    network = Network("host=one&host=two", one="silent")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.05):
            await network.connect()
    assert await network.connect() == "two 7"
    assert network.tried == ["one any", "two any"]


async def test_balanced_hosts_are_tried_in_any_order() -> None:
    random.seed(1)
    network = Network("host=one&host=two&load_balance_hosts=random")
    assert {await network.connect() for _ in range(20)} == {"one 7", "two 7"}


async def test_each_host_is_named_with_its_reason() -> None:
    network = Network("host=one&host=two", one="silent", two="refuses")
    with pytest.raises(ConnectionError, match="one: no answer in time; two: refused"):
        await network.connect()


async def serve_cockroachdb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept a connection, and report the parameter that CockroachDB reports."""
    (length,) = struct.unpack("!i", await reader.readexactly(4))
    await reader.readexactly(length - 4)
    # AuthenticationOk, ParameterStatus, BackendKeyData, ReadyForQuery.
    for kind, body in (
        (b"R", bytes(4)),
        (b"S", b"server_version\x0013.0.0\0"),
        (b"S", b"crdb_version\0CockroachDB CCL v25.1.0\0"),
        (b"K", bytes(8)),
        (b"Z", b"I"),
    ):
        writer.write(kind + struct.pack("!i", len(body) + 4) + body)
    await reader.read()
    writer.close()


async def test_cockroachdb_is_refused_in_a_sentence() -> None:
    server = await asyncio.start_server(serve_cockroachdb, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = sa.make_url(f"{db.settings.DRIVER}://root@127.0.0.1:{port}/defaultdb")
    async with server, db.Database(db.DatabaseSettings(url=url)) as database:
        assert "the server is CockroachDB, which is not" in str((await database.ping()).error)


async def test_an_unknown_attribute_is_refused_in_a_sentence(fresh_database: db.Database) -> None:
    url = fresh_database.settings.url.update_query_dict({"target_session_attrs": "primray"})
    with pytest.raises(ValueError, match="target_session_attrs must be one of any, read-write"):
        async with db.Database(db.DatabaseSettings(url=url)):
            pass
