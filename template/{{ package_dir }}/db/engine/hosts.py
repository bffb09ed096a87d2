"""The hosts of a URL of PostgreSQL, which are tried one by one, each with its own timeout."""

import random
import re
import time
from collections.abc import Awaitable, Callable
from itertools import cycle
from typing import Any

import sqlalchemy as sa

# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS
_ATTRIBUTES = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
# A host and its port. An IPv6 address needs brackets to have one.
_PLACE = re.compile(r"\[(.+)\]:?(\d*)|([^:]*):?(\d*)")
# Seconds for which a host that did not answer is tried after all others.
_REST = 60

Place = tuple[tuple[str, object], ...]


class Hosts:
    """The servers of a URL, in its order or, with `load_balance_hosts=random`, in any.

    If `target_session_attrs` says what the server must be, then the last one that was is the first.

    Raises:
        ValueError: There is no such `target_session_attrs`.
    """

    def __init__(self, url: sa.URL) -> None:
        attribute = str(url.query.get("target_session_attrs", "any"))
        if attribute not in _ATTRIBUTES:
            raise ValueError(f"target_session_attrs must be one of {', '.join(_ATTRIBUTES)}")
        self._attributes = ("standby", "any") if attribute == "prefer-standby" else (attribute,)
        self._balanced = url.query.get("load_balance_hosts") == "random"
        self._places = _places(url)
        # When a host did not answer.
        self._silent: dict[Place, float] = {}

    async def connect(
        self, connect: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any
    ) -> Any:
        """Return a connection to the first server that answers, and is what it must be."""
        failures: list[str] = []
        for place, attribute in self._in_turn():
            began = time.monotonic()
            options |= {**dict(place), "target_session_attrs": attribute}
            try:
                connection = await connect(*arguments, **options)
            except BaseException as error:
                # A caller may cancel this before the timeout: its next attempt begins elsewhere.
                if time.monotonic() - began > 1:
                    self._silent[place] = time.monotonic()
                failures.append(f"{options.get('host')}: {str(error) or 'no answer in time'}")
                if not isinstance(error, Exception) or not place:
                    raise
            else:
                if attribute != "any":
                    self._places.sort(key=lambda x: x != place)
                return connection
        raise ConnectionError("; ".join(failures))

    def _in_turn(self) -> list[tuple[Place, str]]:
        if self._balanced:
            random.shuffle(self._places)
        attempts = [(place, each) for each in self._attributes for place in self._places]
        before = time.monotonic() - _REST
        return sorted(attempts, key=lambda x: self._silent.get(x[0], before) > before)


def _places(url: sa.URL) -> list[Place]:
    """Return the arguments of the driver for each host; none if it finds the server by itself."""
    query = url.normalized_query
    hosts, ports = (",".join(query.get(name, ())).split(",") for name in ("host", "port"))
    # libpq connects to `hostaddr`, whatever the host is.
    if hosts == [""] or "hostaddr" in query:
        return [()]
    places: list[Place] = []
    for host, port in zip(hosts, cycle(ports), strict=False):
        match = _PLACE.fullmatch(host)
        name, own = (match[1] or match[3], match[2] or match[4]) if match else (host, "")
        places.append((("host", name), ("port", int(own or port or url.port or 5432))))
    return places
