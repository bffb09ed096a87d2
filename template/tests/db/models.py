"""The tables of the layer's tests, on metadata of their own: a project's own models may change."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, registry, relationship
from sqlalchemy.types import TypeDecorator

from . import db


class ProbeBase(db.Base):
    __abstract__ = True
    registry = registry(
        metadata=sa.MetaData(naming_convention=db.base.NAMING_CONVENTION),
        type_annotation_map=db.Base.registry.type_annotation_map,
    )
    metadata = registry.metadata


class Author(db.UUIDKeyed, db.Timestamped, db.SoftDeletable, ProbeBase):
    __tablename__ = "probe_authors"

    email: Mapped[str] = mapped_column(sa.String(100), unique=True)
    name: Mapped[str] = mapped_column(sa.String(100), default="Ada")

    books: Mapped[list["Book"]] = relationship(back_populates="author", lazy="raise")


class Book(db.BigIntKeyed, db.Timestamped, db.SoftDeletable, db.Versioned, ProbeBase):
    __tablename__ = "probe_books"
    __table_args__ = (
        sa.UniqueConstraint("author_id", "title"),
        sa.CheckConstraint("pages > 0", name="some_pages"),
    )

    author_id: Mapped[UUID] = mapped_column(sa.ForeignKey(Author.id), index=True)
    title: Mapped[str] = mapped_column(sa.String(100))
    pages: Mapped[int] = mapped_column(default=1)

    author: Mapped[Author] = relationship(back_populates="books", lazy="raise")


class Member(db.BigIntKeyed, db.Timestamped, db.SoftDeletable, ProbeBase):
    __tablename__ = "probe_members"
    __table_args__ = (
        db.partial_index("club", "email", unique=True, where="deleted_at IS NULL"),
        db.partial_index("email", where="deleted_at IS NULL"),
    )

    club: Mapped[str] = mapped_column(sa.String(50), default="chess")
    email: Mapped[str] = mapped_column(sa.String(100))
    notes: Mapped[db.JSONObject] = mapped_column(default=dict)


class Placement(ProbeBase):
    """A key of two columns."""

    __tablename__ = "probe_placements"

    shelf: Mapped[str] = mapped_column(sa.String(20), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[Decimal]


class Seat(db.BigIntKeyed, ProbeBase):
    """Unique where no column is NULL."""

    __tablename__ = "probe_seats"
    __table_args__ = (sa.UniqueConstraint("room", "number"),)

    room: Mapped[str | None] = mapped_column(sa.String(20))
    number: Mapped[int]
    guest: Mapped[str | None] = mapped_column(sa.String(20))


class Employee(db.BigIntKeyed, ProbeBase):
    """Classes that share a table."""

    __tablename__ = "probe_employees"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "employee"}

    kind: Mapped[str] = mapped_column(sa.String(20))
    email: Mapped[str] = mapped_column(sa.String(50), unique=True)
    name: Mapped[str] = mapped_column(sa.String(50))


class Manager(Employee):
    __mapper_args__ = {"polymorphic_identity": "manager"}

    bonus: Mapped[int | None]


class Engineer(Employee):
    __mapper_args__ = {"polymorphic_identity": "engineer"}


class Marked(TypeDecorator[str]):
    """What is written and read by an expression, as encrypted columns are."""

    impl = sa.String(50)
    cache_ok = True

    def bind_expression(self, bindparam: sa.BindParameter[str]) -> sa.ColumnElement[str]:
        return sa.type_coerce(bindparam, sa.String) + "!"

    def column_expression(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
        return sa.func.replace(column, "!", "", type_=self)


class Secret(ProbeBase):
    """Columns with names and keys of their own, in a table of a name that might be taken."""

    __tablename__ = "bulk_rows"

    id: Mapped[int] = mapped_column("the id", primary_key=True, autoincrement=False, key="number")
    word: Mapped[str | None] = mapped_column("theWord", Marked, key="said")
    plain: Mapped[str | None] = mapped_column("select", sa.String(50), key="kept")


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Size(Enum):
    """Not texts themselves: only the database has a text for each."""

    SMALL = "small"
    LARGE = "large"


class Shelf(ProbeBase):
    """A key that is an enum."""

    __tablename__ = "probe_shelves"

    size: Mapped[Size] = mapped_column(primary_key=True)


class Parameters(Protocol):
    """What SQLAlchemy hands to a default that asks for it."""

    def get_current_parameters(self) -> Mapping[str, object]: ...


def derive(context: Parameters) -> str:
    return f"from {context.get_current_parameters().get('code')}"


def stamp() -> datetime:
    return datetime(2030, 1, 1, tzinfo=UTC)


class Sample(db.UUIDKeyed, db.Timestamped, db.Versioned, ProbeBase):
    """Every kind of column, each of which may be NULL, and one of each kind of default."""

    __tablename__ = "probe_samples"

    code: Mapped[str] = mapped_column(sa.String(50), unique=True)
    copy: Mapped[str | None] = mapped_column(sa.String(50), sa.Computed("code", persisted=True))
    number: Mapped[int | None]
    small: Mapped[int | None] = mapped_column(sa.Integer)
    ratio: Mapped[float | None]
    flag: Mapped[bool | None]
    price: Mapped[Decimal | None]
    text: Mapped[str | None] = mapped_column(sa.Text)
    blob: Mapped[bytes | None]
    colour: Mapped[Colour | None]
    document: Mapped[db.JSONObject | None]
    day: Mapped[date | None]
    moment: Mapped[datetime | None]
    reference: Mapped[UUID | None]
    constant: Mapped[str] = mapped_column(sa.String(20), default="constant")
    computed: Mapped[db.JSONObject] = mapped_column(default=dict)
    derived: Mapped[str] = mapped_column(sa.String(60), default=derive)
    served: Mapped[int] = mapped_column(server_default="7")
    stamped: Mapped[datetime | None] = mapped_column(onupdate=stamp)
