"""The engine: its pool, its timeouts, its health, and the errors that come out of it."""

from .engine import Password, create_engine
from .health import Health, PoolStatus

__all__ = ["Health", "Password", "PoolStatus", "create_engine"]
