"""Mixins of models: primary keys, timestamps, and versions.

A model that is a MappedAsDataclass declares the columns of its mixins again, with `init=False`:
SQLAlchemy takes no fields from a class that is no dataclass.
"""

import secrets
import sys
import time
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Identity, event
from sqlalchemy.orm import Mapped, Mapper, mapped_column

from ..engine import dialect
from .types import UTCDateTime

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils.compat import uuid7


def uuid7s(count: int) -> list[UUID]:
    """Return ascending keys of one millisecond, faster than `uuid7` makes them one by one.

    In bulk, `uuid7` takes half of the time of a row. The layout is that of RFC 9562: the time, a
    counter with a random start, and 32 random bits for each key.
    """
    counter = secrets.randbits(29)
    first = (time.time_ns() // 1_000_000 << 80) | (7 << 76) | (secrets.randbits(12) << 64)
    first |= (2 << 62) | (counter << 32)
    randoms = memoryview(secrets.token_bytes(4 * count)).cast("I")
    return [UUID(int=first + (n << 32) + random) for n, random in enumerate(randoms)]


class UUIDPrimaryKey:
    """A UUIDv7 primary key that the client makes: known before the flush, and ascending in time.

    A key that the server makes would cost one statement per row, because SQLAlchemy could not match
    the rows of a batch: https://docs.sqlalchemy.org/en/21/core/connections.html#insertmanyvalues
    """

    id: Mapped[UUID] = mapped_column(
        primary_key=True, default=uuid7, info={"defaults": uuid7s}, sort_order=-1
    )


class BigIntPrimaryKey:
    """A 64-bit integer primary key that the database counts up."""

    id: Mapped[int] = mapped_column(dialect.BIGINT_KEY, Identity(), primary_key=True, sort_order=-1)


# The primary key that the service was generated with, and the type of a column that refers to it.
PrimaryKey = UUIDPrimaryKey
Key = UUID


class Timestamped:
    """The times at which a row was created and last updated, by the database's clock."""

    created_at: Mapped[datetime] = mapped_column(
        UTCDateTime, server_default=dialect.NOW, sort_order=90
    )
    updated_at: Mapped[datetime] = mapped_column(
        UTCDateTime, server_default=dialect.NOW, onupdate=dialect.NOW, sort_order=91
    )


class Versioned:
    """An optimistic lock: the flush raises StaleRow if the row has changed since it was read."""

    version: Mapped[int] = mapped_column(sort_order=93)


# These attributes are set here, and not in `__mapper_args__`: SQLAlchemy uses the first
# `__mapper_args__` that it finds, so that of one mixin would hide that of another.


@event.listens_for(Timestamped, "after_mapper_constructed", propagate=True)
def _fetch_defaults(mapper: Mapper[Any], model: type) -> None:
    # Otherwise each flush expires `updated_at`, and to read it raises MissingGreenlet.
    # PRIVATE: sqlalchemy Mapper.eager_defaults: only the parameter is documented
    mapper.eager_defaults = True if mapper.eager_defaults == "auto" else mapper.eager_defaults


@event.listens_for(Versioned, "after_mapper_constructed", propagate=True)
def _count_versions(mapper: Mapper[Any], model: type) -> None:
    # PRIVATE: sqlalchemy Mapper.version_id_col: only the parameter is documented
    column: Any = mapper.version_id_col
    # A concrete subclass has a column of its own, and would use that of its parent.
    if column is None or column.table not in mapper.tables:
        mapper.version_id_col = mapper.columns["version"]
