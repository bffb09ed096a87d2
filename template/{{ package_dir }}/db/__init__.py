"""The data layer. `copier update` keeps it current (copier-async-sqlalchemy): never edit it.

Where its promises are kept:

- A COMMIT comes to its end, whatever cancels it: `session/ending.py`.
- Callbacks run if the commit took effect: `session/session.py`, `session/on_commit.py`.
- Only work of which nothing is in the database is repeated: `Database.run`.
- A lost reply to COMMIT is told from a failure: `engine/driver_errors.py`.
- Returned rows can be read without an await: `Repository._flush`.
- Decimals and datetimes compute as Python's do: `models/types.py`.
- Pages show each row once: `repository/pages.py`, `repository/keyset.py`, `repository/cursor.py`.
- Soft-deleted rows stay hidden: `models/soft_delete.py`.
- Two tasks never share a session: `session/guard.py`.
- COPY writes what INSERT would write: `repository/copy.py` (PostgreSQL).
"""

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
    InvalidType,
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
    # Errors.
    "DataLayerError",
    "NotFound",
    "UnknownField",
    "NotWritable",
    "InvalidCursor",
    "InvalidValue",
    "InvalidType",
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
