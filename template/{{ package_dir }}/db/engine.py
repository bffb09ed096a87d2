"""The engine: its pool, its timeouts, and the errors that come out of it."""

from sqlalchemy import PoolProxiedConnection, event, exc
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, NullPool

from . import dialect, driver, errors
from .settings import DatabaseSettings


def create_engine(settings: DatabaseSettings, **options: object) -> AsyncEngine:
    """An engine as the settings say; `options` of create_async_engine win over them.

    It connects when first used, and belongs to one event loop: dispose of it before that ends.
    Raises ValueError if DATABASE_URL leads nowhere.
    """
    dialect.locate(settings.url)
    engine = create_async_engine(
        settings.url,
        **{
            "echo": settings.echo,
            "hide_parameters": True,
            "connect_args": driver.connect_arguments(settings),
            **dialect.ENGINE_OPTIONS,
            **_pool_options(settings),
            **options,
        },
    )
    dialect.attach(engine)
    event.listen(engine.sync_engine, "do_connect", _connect)
    event.listen(engine.sync_engine, "handle_error", errors.translate, retval=True)
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


def _pool_options(settings: DatabaseSettings) -> dict[str, object]:
    if not settings.pool_size:
        return {"poolclass": NullPool}
    return {
        "poolclass": Pool,
        "pool_size": settings.pool_size,
        "max_overflow": settings.max_overflow,
        "pool_timeout": settings.pool_timeout,
        "pool_recycle": settings.pool_recycle,
        "pool_pre_ping": settings.pool_pre_ping,
        # The connections that a quiet hour does not need grow old, and the server may close them.
        "pool_use_lifo": True,
    }


def _connect(
    dialect: Dialect,
    record: ConnectionPoolEntry,
    arguments: list[object],
    options: dict[str, object],
) -> DBAPIConnection:
    # Drivers raise OSError and TimeoutError from here, which pass by `handle_error`.
    try:
        return dialect.connect(*arguments, **options)
    except (OSError, dialect.loaded_dbapi.Error) as error:
        reason = str(error) or type(error).__name__
        raise errors.Unavailable(f"cannot connect: {reason}. See DATABASE_URL.") from error
