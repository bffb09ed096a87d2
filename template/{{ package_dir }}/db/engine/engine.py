"""The async engine: its pool, its passwords, its timeouts, and the log of slow queries."""

import asyncio
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import isawaitable

import sqlalchemy as sa
from sqlalchemy import PoolProxiedConnection, event, exc
from sqlalchemy.engine import AdaptedConnection, Dialect, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, NullPool, QueuePool
from sqlalchemy.util import await_

from .. import errors, tls
from ..settings import DatabaseSettings
from . import dialect, driver, driver_errors

logger = logging.getLogger(__name__)

Password = Callable[[], str | Awaitable[str]]

# Errors of connecting that a driver does not define. It raises TypeError for an unknown parameter of
# the URL, UnicodeError for a host that cannot be a host name, and RuntimeError if the server hangs up
# before the driver has used the connection.
_CONNECT_ERRORS = (OSError, RuntimeError, TypeError, UnicodeError)

# Whether the text of an error speaks of TLS.
_ABOUT_TLS = re.compile(r"\b(ssl|tls|certificate)", re.IGNORECASE).search


def create_engine(
    settings: DatabaseSettings,
    *,
    password: Password | None = None,
    **options: object,
) -> AsyncEngine:
    """Return an engine for the database that the settings describe.

    The engine connects when it is first used. It belongs to one event loop: dispose of the engine
    before that loop ends.

    Args:
        settings: The address, the pool and the timeouts.
        password: Returns the password of a new connection, for example a token that expires. It is
            called for each new connection, and may be async.
        **options: Arguments of `create_async_engine`. They win over the settings.

    Raises:
        ValueError: DATABASE_URL names no database.
    """
    dialect.locate(settings.url)
    pre_ping = options.pop("pool_pre_ping", settings.pool_pre_ping)
    engine = create_async_engine(
        tls.without_parameters(settings.url).difference_update_query(driver.IGNORED_PARAMETERS),
        **{
            "echo": settings.echo,
            "hide_parameters": True,
            **dialect.ENGINE_OPTIONS,
            **_pool_options(settings, options.get("poolclass", Pool)),
            **options,
        },
    )
    dialect.attach(engine, settings)
    _Listeners(settings, password).attach(engine.sync_engine, ping=bool(pre_ping))
    driver_errors.attach(engine)
    return engine


class Pool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool, with the layer's own error for an exhausted pool."""

    def connect(self) -> PoolProxiedConnection:
        """Return a connection, or raise PoolExhausted after DATABASE_POOL_TIMEOUT."""
        try:
            return super().connect()
        except exc.TimeoutError as error:
            raise errors.PoolExhausted(
                f"no connection became free within DATABASE_POOL_TIMEOUT ({self.status()}): use"
                " connections for a shorter time, or raise DATABASE_POOL_SIZE"
            ) from error


def _pool_options(settings: DatabaseSettings, poolclass: object) -> dict[str, object]:
    if not settings.pool_size:
        return {"poolclass": NullPool}
    if not (isinstance(poolclass, type) and issubclass(poolclass, QueuePool)):
        # Other pools accept none of these options.
        return {}
    return {
        "poolclass": Pool,
        "pool_size": settings.pool_size,
        "max_overflow": settings.max_overflow,
        "pool_timeout": settings.pool_timeout,
        "pool_recycle": settings.pool_recycle,
        # With LIFO the connections that are not needed stay idle, and the server may close them.
        "pool_use_lifo": True,
    }


class _Listeners:
    """Listeners for the events of an engine: connect, ping, error, and each statement."""

    def __init__(self, settings: DatabaseSettings, password: Password | None) -> None:
        self._settings = settings
        self._password = password
        self._arguments = driver.connect_arguments(settings, dialect.session_settings(settings))

    def attach(self, engine: sa.Engine, *, ping: bool) -> None:
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "handle_error", self._drop_after_timeout)
        if ping:
            event.listen(engine, "checkout", self._ping)
        if self._settings.slow_query_threshold:
            event.listen(engine, "before_cursor_execute", self._start_clock)
            event.listen(engine, "after_cursor_execute", self._log_slow_query)

    def _connect(
        self,
        sa_dialect: Dialect,
        record: ConnectionPoolEntry,
        arguments: list[object],
        options: dict[str, object],
    ) -> DBAPIConnection:
        options |= self._arguments | options  # the URL and `connect_args` win
        if self._password:
            password = self._password()
            # PRIVATE: sqlalchemy util.await_: do_connect is synchronous, a password may be async
            options["password"] = await_(password) if isawaitable(password) else password
        # `handle_error` does not see errors of connecting.
        try:
            return sa_dialect.connect(*arguments, **options)
        except (*_CONNECT_ERRORS, sa_dialect.loaded_dbapi.Error) as error:
            # psycopg's messages have several lines.
            reason = " ".join(str(error).split())
            reason = reason or f"no answer within {self._settings.connect_timeout:g} s"
            url, mode = self._settings.url, self._settings.tls_mode
            # Other parameters may be secrets.
            url = url.set(query={name: x for name, x in url.query.items() if name == "host"})
            hint = f", and DATABASE_TLS is {mode}" if _ABOUT_TLS(reason) else ""
            raise errors.Unavailable(
                f"cannot connect: {reason} (DATABASE_URL is {url}{hint})"
            ) from error

    def _ping(
        self, connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
    ) -> None:
        """Test the connection as pool_pre_ping does, but with one round trip and a limit of 2 s."""
        assert isinstance(connection, AdaptedConnection)
        if "used" not in record.info:
            record.info["used"] = True
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(2, driver.hang_up, connection.driver_connection)
        try:
            connection.run_async(driver.ping)
        except Exception as error:
            # The other connections are probably lost too: the pool replaces each at its next use.
            raise exc.InvalidatePoolError from error
        finally:
            timer.cancel()

    def _drop_after_timeout(self, context: ExceptionContext) -> None:
        # SQLAlchemy may call this again for a connection that it has already invalidated.
        if not context.connection or context.connection.invalidated:
            return
        # A statement that failed may have been slow too. The connection on which SQLAlchemy first
        # inspects the server has no `info`; its NotImplementedError would hide a cancellation.
        with suppress(NotImplementedError):
            self._log_slow_query(context.connection, None, context.statement or "")
        # A late reply may still arrive, so drop the connection without closing it politely.
        if isinstance(context.original_exception, TimeoutError):
            connection = context.connection.connection.driver_connection
            assert connection
            driver.hang_up(connection)

    def _start_clock(self, connection: sa.Connection, *_: object) -> None:
        connection.info["started"] = time.perf_counter()

    def _log_slow_query(
        self, connection: sa.Connection, cursor: object, statement: str, *_: object
    ) -> None:
        seconds = time.perf_counter() - connection.info.pop("started", math.inf)
        if seconds >= self._settings.slow_query_threshold:
            logger.warning("slow query, %.3f s: %s", seconds, " ".join(statement[:2000].split()))
