"""The tables of the layer's tests, on metadata of their own: a project's own models may change."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import PurePosixPath
from typing import ClassVar, Protocol
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from . import db


# Beside the Base, not below it: a class that relationships name is one for all that is below.
class ProbeBase(AsyncAttrs, DeclarativeBase):
    metadata = sa.MetaData(naming_convention=db.NAMING_CONVENTION)
    type_annotation_map: ClassVar = db.Base.type_annotation_map


class Author(db.UUIDPrimaryKey, db.Timestamped, db.SoftDeletable, ProbeBase):
    __tablename__ = "probe_authors"

    email: Mapped[str] = mapped_column(sa.String(100), unique=True)
    name: Mapped[str] = mapped_column(sa.String(100), default="Ada")

    books: Mapped[list["Book"]] = relationship(back_populates="author", lazy="raise")


class Book(db.BigIntPrimaryKey, db.Timestamped, db.SoftDeletable, db.Versioned, ProbeBase):
    __tablename__ = "probe_books"
    __table_args__ = (
        sa.UniqueConstraint("author_id", "title"),
        sa.CheckConstraint("pages > 0", name="some_pages"),
    )

    author_id: Mapped[UUID] = mapped_column(sa.ForeignKey(Author.id), index=True)
    title: Mapped[str] = mapped_column(sa.String(100))
    pages: Mapped[int] = mapped_column(default=1)

    author: Mapped[Author] = relationship(back_populates="books", lazy="raise")


class Member(db.BigIntPrimaryKey, db.Timestamped, db.SoftDeletable, ProbeBase):
    __tablename__ = "probe_members"
    __table_args__ = (
        db.partial_index("club", "email", unique=True, where="deleted_at IS NULL"),
        db.partial_index("email", where="deleted_at IS NULL"),
    )

    club: Mapped[str] = mapped_column(sa.String(50), default="chess")
    email: Mapped[str] = mapped_column(sa.String(100))
    notes: Mapped[db.JSONObject] = mapped_column(default=dict)


class Leaflet(db.BigIntPrimaryKey, ProbeBase):
    """Numbers of another type than a book's, under the same name."""

    __tablename__ = "probe_leaflets"

    pages: Mapped[float]
    at_id: Mapped[int] = mapped_column(default=0)
    weight: Mapped[float] = mapped_column(sa.Float(24), default=0.1)
    story: Mapped[str | None] = mapped_column(sa.Text, deferred=True)
    book_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Book.id))

    book: Mapped[Book | None] = relationship(lazy="raise")


class Placement(ProbeBase):
    """A key of two columns."""

    __tablename__ = "probe_placements"

    shelf: Mapped[str] = mapped_column(sa.String(20), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[Decimal]

    visits: Mapped[list["Visit"]] = relationship(lazy="raise")


class Visit(db.BigIntPrimaryKey, ProbeBase):
    """A foreign key of two columns."""

    __tablename__ = "probe_visits"
    __table_args__ = (
        sa.ForeignKeyConstraint(["shelf", "place"], [Placement.shelf, Placement.place]),
    )

    shelf: Mapped[str] = mapped_column(sa.String(20))
    place: Mapped[int]


class Review(ProbeBase):
    """A key in another order than the table's columns."""

    __tablename__ = "probe_reviews"
    __table_args__ = (sa.PrimaryKeyConstraint("reader", "book"),)

    book: Mapped[str] = mapped_column(sa.String(20))
    reader: Mapped[int]
    stars: Mapped[int]


class Seat(db.BigIntPrimaryKey, ProbeBase):
    """Unique where no column is NULL."""

    __tablename__ = "probe_seats"
    __table_args__ = (sa.UniqueConstraint("room", "number"),)

    room: Mapped[str | None] = mapped_column(sa.String(20))
    number: Mapped[int]
    guest: Mapped[str | None] = mapped_column(sa.String(20))


class Category(ProbeBase):
    """Rows that refer to other rows of the same table."""

    __tablename__ = "probe_categories"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    parent_id: Mapped[int | None] = mapped_column(sa.ForeignKey("probe_categories.id"))
    label: Mapped[str] = mapped_column(sa.String(20), server_default="none")


class Employee(db.BigIntPrimaryKey, ProbeBase):
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


ADDRESS = sa.String(20).with_variant(postgresql.MACADDR(), "postgresql")


class Marked(TypeDecorator[str]):
    """A type that is written and read by an expression, as encrypted columns are."""

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


def token(before: str | None) -> str:
    return uuid4().hex


class Card(db.BigIntPrimaryKey, ProbeBase):
    """Its types have no binary form in PostgreSQL's drivers, and its versions are no count."""

    __tablename__ = "probe_cards"
    version: Mapped[str] = mapped_column(sa.String(32))
    __mapper_args__ = {"version_id_col": version, "version_id_generator": token}

    address: Mapped[str] = mapped_column(ADDRESS)
    addresses: Mapped[list[str]] = mapped_column(
        sa.JSON().with_variant(postgresql.ARRAY(postgresql.MACADDR), "postgresql")
    )


class Person(ProbeBase):
    """Classes of which one has a table of its own; a key that nobody makes."""

    __tablename__ = "probe_people"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}

    name: Mapped[str] = mapped_column(sa.String(50), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(20))
    wakes: Mapped[time]
    sleeps: Mapped[timedelta]
    _password: Mapped[str] = mapped_column("password", sa.String(50))

    @hybrid_property
    def password(self) -> str:
        return self._password

    @password.inplace.setter
    def _set_password(self, value: str) -> None:
        self._password = f"hash of {value}"


class Student(Person):
    __tablename__ = "probe_students"
    __mapper_args__ = {"polymorphic_identity": "student"}

    name: Mapped[str] = mapped_column(sa.ForeignKey(Person.name), primary_key=True)
    grade: Mapped[int]


Person.length = column_property(sa.func.length(Person.name))


class Meter(db.BigIntPrimaryKey, db.SoftDeletable, ProbeBase):
    """Columns that the database computes, without a mixin that asks for them."""

    __tablename__ = "probe_meters"
    __mapper_args__ = {
        "polymorphic_on": "kind",
        "polymorphic_identity": "meter",
        "with_polymorphic": "*",
    }

    kind: Mapped[str] = mapped_column(sa.String(20))
    count: Mapped[int] = mapped_column(default=1)
    double: Mapped[int] = mapped_column(sa.Computed("count * 2", persisted=True))
    next: Mapped[int] = column_property(count + 1)
    unit: Mapped[str] = mapped_column(sa.String(10), server_default="kWh")
    read_at: Mapped[datetime | None] = mapped_column(onupdate=sa.func.now())
    story: Mapped[str | None] = mapped_column(sa.Text, deferred=True)


class WaterMeter(Meter):
    """In the same table."""

    __mapper_args__ = {"polymorphic_identity": "water"}

    leaks: Mapped[int | None]
    losses: Mapped[int | None] = mapped_column(sa.Computed("leaks * 10", persisted=True))


class HeatMeter(Meter):
    """In a table of its own beside."""

    __tablename__ = "probe_heat_meters"
    __mapper_args__ = {"polymorphic_identity": "heat"}

    id: Mapped[int] = mapped_column(sa.ForeignKey(Meter.id), primary_key=True)
    rooms: Mapped[int] = mapped_column(default=1)
    valves: Mapped[int] = mapped_column(sa.Computed("rooms * 3", persisted=True))


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


class AsPath(TypeDecorator[PurePosixPath]):
    """A path, kept as its text."""

    impl = sa.String(50)
    cache_ok = True

    def process_bind_param(self, value: PurePosixPath | None, dialect: sa.Dialect) -> str | None:
        return value.as_posix() if value else None

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> PurePosixPath | None:
        return PurePosixPath(value) if value else None


class Folder(ProbeBase):
    """A key of a type that is not the database's."""

    __tablename__ = "probe_folders"

    path: Mapped[PurePosixPath] = mapped_column(AsPath, primary_key=True)


class Parameters(Protocol):
    """What SQLAlchemy hands to a default that asks for it."""

    def get_current_parameters(self) -> Mapping[str, object]: ...


def derive(context: Parameters) -> str:
    return f"from {context.get_current_parameters().get('code')}"


def stamp() -> datetime:
    return datetime(2030, 1, 1, tzinfo=UTC)


class Sample(db.UUIDPrimaryKey, db.Timestamped, db.Versioned, ProbeBase):
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
