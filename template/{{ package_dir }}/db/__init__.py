"""The data layer. `copier update` keeps it current (copier-async-sqlalchemy): never edit it."""

from .base import Base, ExactDecimal, JSONObject, UTCDateTime
from .database import Database
from .dialect import partial_index
from .engine import create_engine
from .errors import (
    CheckViolation,
    CommitUnknown,
    ConstraintViolation,
    DatabaseError,
    Deadlock,
    ForeignKeyViolation,
    InvalidCursor,
    InvalidValue,
    LockTimeout,
    NotFound,
    NotNullViolation,
    PoolExhausted,
    QueryTimeout,
    ReadOnly,
    RolledBack,
    SchemaChanged,
    SerializationFailure,
    SharedSession,
    StaleVersion,
    StillReferenced,
    Unavailable,
    UniqueViolation,
    UnknownField,
)
from .health import Health, PoolStatus
from .mixins import BigIntKeyed, Key, Keyed, SoftDeletable, Timestamped, UUIDKeyed, Versioned
from .pagination import CursorPage, Page
from .repository import Repository, contains, starts_with
from .sessions import create_session, on_commit
from .settings import DatabaseSettings

__all__ = [
    # Where the database is, and the way in.
    "DatabaseSettings",
    "Database",
    "Health",
    "PoolStatus",
    "create_engine",
    "create_session",
    "on_commit",
    # Models.
    "Base",
    "Key",
    "Keyed",
    "UUIDKeyed",
    "BigIntKeyed",
    "Timestamped",
    "SoftDeletable",
    "Versioned",
    "UTCDateTime",
    "ExactDecimal",
    "JSONObject",
    "partial_index",
    # Rows.
    "Repository",
    "Page",
    "CursorPage",
    "contains",
    "starts_with",
    # What can go wrong.
    "DatabaseError",
    "NotFound",
    "UnknownField",
    "InvalidCursor",
    "InvalidValue",
    "ConstraintViolation",
    "UniqueViolation",
    "ForeignKeyViolation",
    "StillReferenced",
    "NotNullViolation",
    "CheckViolation",
    "StaleVersion",
    "SerializationFailure",
    "Deadlock",
    "LockTimeout",
    "QueryTimeout",
    "SchemaChanged",
    "PoolExhausted",
    "Unavailable",
    "CommitUnknown",
    "RolledBack",
    "ReadOnly",
    "SharedSession",
]
