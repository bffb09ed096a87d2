"""The layer's module for replicas, for the tests of it."""

from shop.db.replicas import ReplicatedDatabase, ReplicatedSettings

__all__ = ["ReplicatedDatabase", "ReplicatedSettings"]
