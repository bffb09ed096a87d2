"""How a database and a pool are: what health checks and metrics ask."""

import asyncio
import time
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool, QueuePool

from . import dialect


@dataclass(frozen=True)
class Health:
    """Whether the database answers: `latency` in seconds, `error` says why it does not."""

    ok: bool
    latency: float
    error: str | None = None


@dataclass(frozen=True)
class PoolStatus:
    """How many connections are in use, idle in the pool, and possible in all."""

    in_use: int
    idle: int
    limit: int | None


async def ping(engine: AsyncEngine, timeout: float) -> Health:
    """Whether the database answers within `timeout` seconds. It makes nothing, and never raises."""
    began = time.perf_counter()
    # A task of its own: to give up a connection may take longer, as where SQLite waits for a lock.
    asking = asyncio.create_task(_ask(engine))
    try:
        await asyncio.wait([asking], timeout=timeout)
    finally:
        asking.cancel()
    error = asking.result() if asking.done() else f"no answer within {timeout} s"
    return Health(error is None, time.perf_counter() - began, error)


async def _ask(engine: AsyncEngine) -> str | None:
    """What is wrong with the database; None if it answers."""
    if missing := dialect.missing(engine.url):
        return missing
    try:
        async with engine.execution_options(**dialect.AUTOCOMMIT).connect() as connection:
            await connection.execute(sa.select(1))
    except Exception as problem:
        # Of any kind: what gives the password may be down, too.
        return str(problem)
    return None


def pool_status(pool: Pool | None, limit: int) -> PoolStatus:
    """How a pool stands at this moment; all zero where there is none."""
    if not isinstance(pool, QueuePool):
        return PoolStatus(in_use=0, idle=0, limit=None)
    return PoolStatus(in_use=pool.checkedout(), idle=pool.checkedin(), limit=limit)
