"""How a database and a pool are: what health checks and metrics ask."""

import asyncio
import time
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool, QueuePool

from . import dialect
from .errors import DatabaseError


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


async def ping(engine: AsyncEngine, patience: float) -> Health:
    """Whether the database answers within `patience` seconds."""
    began = time.perf_counter()
    error = None
    try:
        async with asyncio.timeout(patience):
            alone = engine.execution_options(**dialect.AUTOCOMMIT)
            async with alone.connect() as connection:
                await connection.execute(sa.select(1))
    except TimeoutError:
        error = f"no answer within {patience} s"
    except (DatabaseError, SQLAlchemyError, OSError) as problem:
        error = str(problem)
    return Health(error is None, time.perf_counter() - began, error)


def pool_status(pool: Pool | None, limit: int) -> PoolStatus:
    """How a pool stands at this moment; all zero where there is none."""
    if not isinstance(pool, QueuePool):
        return PoolStatus(in_use=0, idle=0, limit=None)
    return PoolStatus(in_use=pool.checkedout(), idle=pool.checkedin(), limit=limit)
