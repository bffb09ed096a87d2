"""The engine: its pool, its health, its dialect and driver, and the translation of their errors."""

from .engine import Password, create_engine
from .health import Health, PoolStatus

__all__ = ["Health", "Password", "PoolStatus", "create_engine"]
