"""The state of the database and of the pool, for health checks and metrics."""

import asyncio
import time
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool, QueuePool

from . import dialect

# Faults of a server that answers, and refuses writes.
ONLY_READS = "the server only reads: it is a standby, or its administrator forbids writes"


@dataclass(frozen=True)
class Health:
    """Whether the database answers, its latency in seconds, and the error if it does not."""

    ok: bool
    latency: float
    error: str | None = None


@dataclass(frozen=True)
class PoolStatus:
    """The numbers of connections in use, idle in the pool, and allowed in all."""

    in_use: int
    idle: int
    limit: int | None


async def ping(engine: AsyncEngine, timeout: float, *, read_only: bool = False) -> Health:
    """Return whether the database answers within `timeout` seconds. Never raises.

    A server that refuses writes is an error, unless `read_only` is True.
    """
    start = time.perf_counter()
    # The task may outlive this call: closing its connection can take longer than the timeout, for
    # example while SQLite waits for a lock.
    query = asyncio.create_task(_query(engine, read_only))
    try:
        await asyncio.wait([query], timeout=timeout)
    finally:
        query.cancel()
    error = query.result() if query.done() else f"no answer within {timeout} s"
    return Health(error is None, time.perf_counter() - start, error)


async def _query(engine: AsyncEngine, read_only: bool) -> str | None:
    """Return what is wrong with the database, or None if it answers."""
    if missing := dialect.missing(engine.url):
        return missing
    try:
        async with engine.execution_options(**dialect.AUTOCOMMIT).connect() as connection:
            only_reads = await connection.scalar(sa.select(dialect.only_reads(engine.url)))
    except Exception as error:
        # An error of any class: the source of the password may be down too.
        return str(error)
    return ONLY_READS if only_reads and not read_only else None


def pool_status(pool: Pool | None, limit: int) -> PoolStatus:
    """Return the current numbers of a pool; all zero if the engine has no pool."""
    if not isinstance(pool, QueuePool):
        return PoolStatus(in_use=0, idle=0, limit=None)
    # PRIVATE: sqlalchemy QueuePool.checkedout: status(), its public form, returns only text
    # PRIVATE: sqlalchemy QueuePool.checkedin: the same
    return PoolStatus(in_use=pool.checkedout(), idle=pool.checkedin(), limit=limit)
