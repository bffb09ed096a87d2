"""The tables of the layer's tests, on metadata of their own: a project's own models may change."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, registry, relationship

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
