"""The data layer. `copier update` keeps it current (copier-async-sqlalchemy): never edit it."""

from .database import Database
from .engine import Health, PoolStatus, create_engine
from .engine.dialect import partial_index
from .errors import (
    RETRYABLE,
    CheckViolation,
    CommitOutcomeUnknown,
    ConcurrentSessionUse,
    ConstraintViolation,
    DataLayerError,
    Deadlock,
    ForeignKeyViolation,
    InvalidCursor,
    InvalidValue,
    LockTimeout,
    NotFound,
    NotNullViolation,
    NotWritable,
    PoolExhausted,
    QueryTimeout,
    ReadOnly,
    SchemaChanged,
    SerializationFailure,
    StaleRow,
    TransactionRolledBack,
    Unavailable,
    UniqueViolation,
    UnknownField,
)
from .models import (
    NAMING_CONVENTION,
    Base,
    BigIntPrimaryKey,
    ExactDecimal,
    IntegerEnum,
    JSONObject,
    Key,
    PrimaryKey,
    SoftDeletable,
    Timestamped,
    UTCDateTime,
    UUIDPrimaryKey,
    Versioned,
)
from .repository.pages import CursorPage, Page
from .repository.repository import Repository
from .session import on_commit
from .settings import DatabaseSettings

__all__ = [
    # Where the database is, and the way in.
    "DatabaseSettings",
    "Database",
    "Health",
    "PoolStatus",
    "create_engine",
    "on_commit",
    # Models.
    "Base",
    "NAMING_CONVENTION",
    "PrimaryKey",
    "Key",
    "UUIDPrimaryKey",
    "BigIntPrimaryKey",
    "Timestamped",
    "SoftDeletable",
    "Versioned",
    "UTCDateTime",
    "ExactDecimal",
    "JSONObject",
    "IntegerEnum",
    "partial_index",
    # Rows.
    "Repository",
    "Page",
    "CursorPage",
    # What can go wrong.
    "DataLayerError",
    "NotFound",
    "UnknownField",
    "NotWritable",
    "InvalidCursor",
    "InvalidValue",
    "ConstraintViolation",
    "UniqueViolation",
    "ForeignKeyViolation",
    "NotNullViolation",
    "CheckViolation",
    "StaleRow",
    "SerializationFailure",
    "Deadlock",
    "LockTimeout",
    "QueryTimeout",
    "SchemaChanged",
    "PoolExhausted",
    "Unavailable",
    "CommitOutcomeUnknown",
    "TransactionRolledBack",
    "ReadOnly",
    "ConcurrentSessionUse",
    "RETRYABLE",
]
