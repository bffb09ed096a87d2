"""The base class, the mixins and the column types of models."""

from .base import NAMING_CONVENTION, Base, metadata
from .mixins import BigIntPrimaryKey, Key, PrimaryKey, Timestamped, UUIDPrimaryKey, Versioned
from .soft_delete import SoftDeletable
from .types import ExactDecimal, IntegerEnum, JSONObject, UTCDateTime

__all__ = [
    "NAMING_CONVENTION",
    "Base",
    "BigIntPrimaryKey",
    "ExactDecimal",
    "IntegerEnum",
    "JSONObject",
    "Key",
    "PrimaryKey",
    "SoftDeletable",
    "Timestamped",
    "UTCDateTime",
    "UUIDPrimaryKey",
    "Versioned",
    "metadata",
]
