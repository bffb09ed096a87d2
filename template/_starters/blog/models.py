"""The tables of this service: a start, to change and to replace."""

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .db import (
    Base,
    JSONObject,
    Key,
    PrimaryKey,
    SoftDeletable,
    Timestamped,
    Versioned,
    partial_index,
)

# A relationship raises unless the query said how to load it, as by `selectinload(User.posts)`: a
# query that runs by itself cannot be awaited, and is seldom alone.


class User(PrimaryKey, Timestamped, SoftDeletable, Base):
    """Someone who writes."""

    __tablename__ = "users"
    # Once a user is deleted, someone else may take the address.
    __table_args__ = (partial_index("email", unique=True, where="deleted_at IS NULL"),)

    email: Mapped[str] = mapped_column(sa.String(320))
    name: Mapped[str] = mapped_column(sa.String(100))

    profile: Mapped["Profile | None"] = relationship(
        back_populates="user",
        cascade="all, delete-orphan",
        passive_deletes=True,
        lazy="raise",
    )
    posts: Mapped[list["Post"]] = relationship(
        back_populates="author",
        cascade="all",
        passive_deletes=True,
        lazy="raise",
    )


class Profile(Base):
    """A user's words about themselves: one each, since the user's key is its own."""

    __tablename__ = "profiles"

    user_id: Mapped[Key] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    bio: Mapped[str] = mapped_column(sa.Text, default="")
    # A change of its top level is noticed; for one below it, assign to the top level again.
    preferences: Mapped[JSONObject] = mapped_column(default=dict)

    user: Mapped[User] = relationship(back_populates="profile", lazy="raise")


class PostStatus(StrEnum):
    DRAFT = "draft"
    PUBLISHED = "published"
    ARCHIVED = "archived"


post_tags = sa.Table(
    "post_tags",
    Base.metadata,
    sa.Column[Key]("post_id", sa.ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True),
    # The primary key begins with the post: the way back from a tag needs an index of its own.
    sa.Column[Key](
        "tag_id", sa.ForeignKey("tags.id", ondelete="CASCADE"), primary_key=True, index=True
    ),
)


class Post(PrimaryKey, Timestamped, SoftDeletable, Versioned, Base):
    """A user's text. If two change it at once, the second gets StaleRow."""

    __tablename__ = "posts"
    __table_args__ = (
        sa.Index(None, "author_id", "status"),
        # For the usual list, newest first.
        partial_index("created_at", "id", where="status = 'published' AND deleted_at IS NULL"),
    )

    author_id: Mapped[Key] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(sa.String(200))
    body: Mapped[str] = mapped_column(sa.Text)
    status: Mapped[PostStatus] = mapped_column(default=PostStatus.DRAFT)

    author: Mapped[User] = relationship(back_populates="posts", lazy="raise")
    tags: Mapped[list["Tag"]] = relationship(
        secondary=post_tags,
        back_populates="posts",
        order_by="Tag.name",
        passive_deletes=True,
        lazy="raise",
    )

    @hybrid_property
    def is_published(self) -> bool:
        return self.status is PostStatus.PUBLISHED

    @is_published.inplace.expression
    @classmethod
    def _is_published(cls) -> sa.ColumnElement[bool]:
        return cls.status == PostStatus.PUBLISHED


class Tag(PrimaryKey, Base):
    """A word that posts are found by."""

    __tablename__ = "tags"

    name: Mapped[str] = mapped_column(sa.String(50), unique=True)

    posts: Mapped[list[Post]] = relationship(
        secondary=post_tags,
        back_populates="tags",
        passive_deletes=True,
        lazy="raise",
    )


# For migrations/env.py and tests/conftest.py; a model in another module is imported there too.
metadata = Base.metadata
