"""Reading from replicas, in turn: ReplicatedDatabase and its settings."""

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from .database import Bind, BindContext, Database
from .engine import Password, dialect
from .errors import DataLayerError, QueryTimeout, Unavailable
from .settings import DatabaseSettings, OtherURL

logger = logging.getLogger(__name__)

# Seconds between two attempts to reach a replica that is down.
_PAUSE = 1
_SERIALIZABLE = dialect.transaction_options("SERIALIZABLE", read_only=True)


def _split(value: object) -> object:
    return value.split() if isinstance(value, str) else value or ()


class ReplicatedSettings(DatabaseSettings):
    """DatabaseSettings with the URLs of replicas: DATABASE_REPLICA_URLS, separated by spaces.

    A URL without a user takes the user and the password of DATABASE_URL.
    """

    ADDRESS: ClassVar[list[str]] = [*DatabaseSettings.ADDRESS, "replica_urls"]

    replica_urls: Annotated[tuple[OtherURL, ...], NoDecode, BeforeValidator(_split)] = ()


class ReplicatedDatabase(Database):
    """A Database whose readers and read-only transactions use replicas, each in its turn.

    A replica may not have received yet what was just committed. A replica that does not answer is
    left out until it answers again; if none answers, the primary is read.
    """

    def __init__(
        self,
        settings: ReplicatedSettings | None = None,
        *,
        password: Password | None = None,
        **options: object,
    ) -> None:
        settings = settings or ReplicatedSettings()
        super().__init__(settings, password=password, **options)
        # Test each connection when it is taken: no unit may fail because a replica stopped before.
        options["pool_pre_ping"] = True
        self._replicas = deque(
            Database(settings.model_copy(update={"url": url}), password=password, **options)
            for url in settings.replica_urls
        )
        self._down: dict[Database, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        for replica in self._replicas:
            await replica.__aenter__()
        return await super().__aenter__()

    async def dispose(self) -> None:
        """Close the connections of all pools. A second call has no effect."""
        if self._process == os.getpid():
            for task in self._down.values():
                task.cancel()
        for replica in self._replicas:
            await replica.dispose()
        await super().dispose()
        self._down = {}

    def _bind(self, options: Mapping[str, object], *, read_only: bool) -> BindContext:
        primary = super()._bind(options, read_only=read_only)
        # A replica cannot promise that all transactions have one order.
        if not read_only or options == _SERIALIZABLE:
            return primary
        return self._replica(primary, options)

    @asynccontextmanager
    async def _replica(
        self, primary: BindContext, options: Mapping[str, object]
    ) -> AsyncGenerator[Bind]:
        """Connect to the next replica that answers, or else use the primary."""
        self._replicas.rotate(-1)
        async with AsyncExitStack() as stack:
            for replica in [replica for replica in self._replicas if replica not in self._down]:
                try:
                    connection = await stack.enter_async_context(replica.engine.connect())
                    bind: Bind = await connection.execution_options(**options)
                    break
                except (Unavailable, QueryTimeout) as error:
                    self._leave_out(replica, error)
            else:
                bind = await stack.enter_async_context(primary)
            yield bind

    def _leave_out(self, replica: Database, error: DataLayerError) -> None:
        if replica not in self._down:
            logger.warning("the replica %s is left out: %s", replica.settings.url, error)
            self._down[replica] = asyncio.create_task(self._watch(replica))

    async def _watch(self, replica: Database) -> None:
        """Ask a replica until it answers. Units never do this: they must not wait for it."""
        while replica in self._down:
            await asyncio.sleep(_PAUSE)
            if (await replica.ping(read_only=True)).ok:
                logger.info("the replica %s is back", replica.settings.url)
                del self._down[replica]
