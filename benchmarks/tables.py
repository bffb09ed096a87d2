"""The table that everyone works on, as SQLAlchemy's own models and as SQLModel's."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlmodel import Field, SQLModel

if sys.version_info >= (3, 14):
    from uuid import uuid7 as uuid7
else:
    from uuid_utils.compat import uuid7 as uuid7

TIMESTAMP = sa.DateTime(timezone=True)


class Base(DeclarativeBase):
    pass


class User(Base):
    """A plain model: nobody pays for another's mixins."""

    __tablename__ = "users"
    # Else `updated_at` would have to be read again after each change.
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 - as its base declares it

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    email: Mapped[str] = mapped_column(sa.String(200), unique=True)
    name: Mapped[str] = mapped_column(sa.String(100))
    active: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP, server_default=sa.func.now())
    updated_at: Mapped[datetime] = mapped_column(
        TIMESTAMP, server_default=sa.func.now(), onupdate=sa.func.now()
    )


class Entry(Base):
    """What is paged through: ties in `day`, and a score that most have not."""

    __tablename__ = "entries"
    __table_args__ = (
        sa.Index("entries_by_day", "day", "id"),
        sa.Index("entries_mixed", sa.text("day DESC"), "title", "id"),
        sa.Index("entries_by_score", "score", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[int]
    title: Mapped[str] = mapped_column(sa.String(100))
    score: Mapped[int | None]


USERS = User.metadata.tables["users"]


def _now() -> datetime:
    return datetime.now(UTC)


class AlchemyBase(DeclarativeBase):
    pass


class AlchemyUser(AlchemyBase):
    """The same table for advanced-alchemy: with the server's clock it would upsert row by row."""

    __tablename__ = "users"
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 - as its base declares it

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    email: Mapped[str] = mapped_column(sa.String(200), unique=True)
    name: Mapped[str] = mapped_column(sa.String(100))
    active: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP, server_default=sa.func.now())
    updated_at: Mapped[datetime] = mapped_column(
        TIMESTAMP, server_default=sa.func.now(), onupdate=_now
    )


class Users(SQLModel, table=True):
    """The same table, as SQLModel has it: it is called by its name."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    email: str = Field(max_length=200, unique=True)
    name: str = Field(max_length=100)
    active: bool
    created_at: datetime | None = Field(
        default=None, sa_type=TIMESTAMP, sa_column_kwargs={"server_default": sa.func.now()}
    )
    updated_at: datetime | None = Field(
        default=None,
        sa_type=TIMESTAMP,
        sa_column_kwargs={"server_default": sa.func.now(), "onupdate": _now},
    )


class UserCreate(BaseModel):
    """What FastCRUD takes for a new row: it asks for schemas of pydantic."""

    id: UUID
    email: str
    name: str
    active: bool


class UserUpdate(BaseModel):
    name: str


Row = dict[str, object]


def rows(number: int, *, start: int = 0, name: str = "Ada Lovelace") -> Iterator[Row]:
    """New rows as a service gets them: from somewhere, one after the other."""
    for index in range(start, start + number):
        yield {"email": f"user{index}@example.com", "name": name, "active": index % 10 != 0}
