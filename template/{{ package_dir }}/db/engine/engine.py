"""The engine: its pool, its timeouts, and the errors that come out of it."""

import asyncio
import logging
import math
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


def create_engine(
    settings: DatabaseSettings,
    *,
    password: Password | None = None,
    **options: object,
) -> AsyncEngine:
    """An engine as the settings say; `options` of create_async_engine win over them.

    `password` is called for each new connection, and may be async: for tokens that expire.
    It connects when first used, and belongs to one event loop: dispose of it before that ends.
    Raises ValueError if DATABASE_URL leads nowhere.
    """
    dialect.locate(settings.url)
    pre_ping = options.pop("pool_pre_ping", settings.pool_pre_ping)
    engine = create_async_engine(
        tls.without_words(settings.url).difference_update_query(driver.IGNORED_PARAMETERS),
        **{
            "echo": settings.echo,
            "hide_parameters": True,
            **dialect.ENGINE_OPTIONS,
            **_pool_options(settings, options.get("poolclass", Pool)),
            **options,
        },
    )
    dialect.attach(engine, settings)
    _Watch(settings, password).attach(engine.sync_engine, ping=bool(pre_ping))
    driver_errors.attach(engine)
    return engine


class Pool(AsyncAdaptedQueuePool):
    """SQLAlchemy's own pool, which says in the layer's terms that it is exhausted."""

    def connect(self) -> PoolProxiedConnection:
        try:
            return super().connect()
        except exc.TimeoutError as error:
            raise errors.PoolExhausted(
                f"no connection came free within {self.timeout()} s ({self.status()}):"
                " hold them for less long, or raise DATABASE_POOL_SIZE"
            ) from error


def _pool_options(settings: DatabaseSettings, kind: object) -> dict[str, object]:
    if not settings.pool_size:
        return {"poolclass": NullPool}
    if not (isinstance(kind, type) and issubclass(kind, QueuePool)):
        # Of another kind, which takes none of these.
        return {}
    return {
        "poolclass": Pool,
        "pool_size": settings.pool_size,
        "max_overflow": settings.max_overflow,
        "pool_timeout": settings.pool_timeout,
        "pool_recycle": settings.pool_recycle,
        # The connections that a quiet hour does not need grow old, and the server may close them.
        "pool_use_lifo": True,
    }


class _Watch:
    """What is done at the events of an engine: passwords, silent servers, slow queries."""

    def __init__(self, settings: DatabaseSettings, password: Password | None) -> None:
        self._settings = settings
        self._password = password
        self._arguments = driver.connect_arguments(settings, dialect.session_settings(settings))

    def attach(self, engine: sa.Engine, *, ping: bool) -> None:
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "handle_error", self._give_up)
        if ping:
            event.listen(engine, "checkout", self._ping)
        if self._settings.slow_query_threshold:
            event.listen(engine, "before_cursor_execute", self._begin)
            event.listen(engine, "after_cursor_execute", self._end)

    def _connect(
        self,
        connecting: Dialect,
        record: ConnectionPoolEntry,
        arguments: list[object],
        options: dict[str, object],
    ) -> DBAPIConnection:
        options |= self._arguments | options  # what the URL or `connect_args` say wins
        if self._password:
            password = self._password()
            # SQLAlchemy calls this in a greenlet, where an await goes through here.
            options["password"] = await_(password) if isawaitable(password) else password
        # What is raised here passes by `handle_error`; TypeError is for a parameter of the URL,
        # UnicodeError for a host that can be no name.
        try:
            return connecting.connect(*arguments, **options)
        except (OSError, TypeError, UnicodeError, connecting.loaded_dbapi.Error) as error:
            reason = str(error) or f"no answer within {self._settings.connect_timeout:g} s"
            raise errors.Unavailable(
                f"cannot connect: {reason} (see DATABASE_URL"
                f" and DATABASE_TLS, which is {self._settings.tls_mode} here)"
            ) from error

    def _ping(
        self,
        connection: DBAPIConnection,
        record: ConnectionPoolEntry,
        proxy: PoolProxiedConnection,
    ) -> None:
        """Ask whether the server is there, as pool_pre_ping does, but in one round trip and 2 s."""
        assert isinstance(connection, AdaptedConnection)
        if "used" not in record.info:
            record.info["used"] = True
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(2, driver.hang_up, connection.driver_connection)
        try:
            connection.run_async(driver.ping)
        except Exception as error:
            # The others in the pool will be no better: all are replaced when they are next used.
            raise exc.InvalidatePoolError from error
        finally:
            timer.cancel()

    def _give_up(self, context: ExceptionContext) -> None:
        # SQLAlchemy may come here again with a connection that it has given up already.
        if not context.connection or context.connection.invalidated:
            return
        # A statement that the server ended for its length is the slowest of all. What SQLAlchemy asks
        # of an engine's first connection has no `info`, and an error here would hide a cancellation.
        with suppress(NotImplementedError):
            self._end(context.connection, None, context.statement or "")
        # What a silent server may still send is anyone's guess, and no farewell would reach it.
        if isinstance(context.original_exception, TimeoutError):
            context.is_disconnect = True
            connection = context.connection.connection.driver_connection
            assert connection
            driver.hang_up(connection)

    def _begin(self, connection: sa.Connection, *execution: object) -> None:
        connection.info["began"] = time.perf_counter()

    def _end(
        self, connection: sa.Connection, cursor: object, statement: str, *execution: object
    ) -> None:
        took = time.perf_counter() - connection.info.pop("began", math.inf)
        if took >= self._settings.slow_query_threshold:
            logger.warning("slow query, %.3f s: %s", took, " ".join(statement[:2000].split()))
