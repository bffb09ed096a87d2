"""The replicas of a database: each is read from in its turn, but while it is down."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from .engine import Password, create_engine
from .errors import DataLayerError, QueryTimeout, Unavailable
from .settings import DatabaseSettings

logger = logging.getLogger(__name__)

# Seconds after which a replica that is down is looked for again.
_PAUSE = 1


class Replicas:
    """Engines that are read from. Each tests its connections when they are taken from the pool."""

    def __init__(self, engines: Sequence[AsyncEngine] = ()) -> None:
        self._engines = list(engines)
        self._down: dict[AsyncEngine, asyncio.Task[None]] = {}

    def __bool__(self) -> bool:
        return bool(self._engines)

    @asynccontextmanager
    async def connection(
        self,
        options: Mapping[str, object],
        *,
        otherwise: AsyncEngine,
    ) -> AsyncGenerator[AsyncEngine | AsyncConnection]:
        """A connection to a replica that answers, with these execution options; or the other."""
        async with AsyncExitStack() as stack:
            bind: AsyncEngine | AsyncConnection = otherwise
            # The first goes to the end, for the next to begin with another.
            self._engines[:] = self._engines[1:] + self._engines[:1]
            for engine in [engine for engine in self._engines if engine not in self._down]:
                try:
                    connection = await stack.enter_async_context(engine.connect())
                    bind = await connection.execution_options(**options)
                    break
                except (Unavailable, QueryTimeout) as error:
                    self._leave_out(engine, error)
            yield bind

    async def dispose(self, *, close: bool) -> None:
        """Forget the engines, and close their connections or leave them to another process."""
        for task in self._down.values():
            task.cancel()
        self._down.clear()
        for engine in self._engines:
            await engine.dispose(close=close)
        self._engines.clear()

    def _leave_out(self, engine: AsyncEngine, error: DataLayerError) -> None:
        if engine not in self._down:
            logger.warning("the replica %s is left out: %s", engine.url, error)
            self._down[engine] = asyncio.create_task(self._await(engine))

    async def _await(self, engine: AsyncEngine) -> None:
        # Here, and not in the units that read: none of them is to wait for one that is down.
        while engine in self._down:
            await asyncio.sleep(_PAUSE)
            # Any error: what gives the password may be down, too, and nobody would look again.
            with suppress(Exception):
                async with engine.connect():
                    logger.info("the replica %s is back", engine.url)
                    del self._down[engine]


def create_replicas(
    settings: DatabaseSettings, password: Password | None, options: Mapping[str, object]
) -> Replicas:
    """Those that the settings name, opened as the primary is."""
    # No unit of work is to take notice of a replica that was stopped before.
    options = {**options, "pool_pre_ping": True}
    each = [settings.model_copy(update={"url": url}) for url in settings.replica_urls]
    return Replicas([create_engine(one, password=password, **options) for one in each])
