"""The queries of this service, by name. The code that opened the session commits."""

import sqlalchemy as sa
from sqlalchemy.orm import selectinload

from .db import Page, Repository
from .models import Post, Tag, User


class UserRepository(Repository[User]):
    sortable = {"created_at": User.created_at, "email": User.email, "name": User.name}
    filterable = {"created_at": User.created_at, "email": User.email, "name": User.name}
    writable = {"email", "name"}

    async def find_by_email(self, email: str) -> User | None:
        return await self.find_one_or_none(User.email == email)


class PostRepository(Repository[Post]):
    sortable = {"created_at": Post.created_at, "title": Post.title}
    filterable = {
        "author_id": Post.author_id,
        "created_at": Post.created_at,
        "title": Post.title,
    }
    writable = {"author_id", "title", "body", "status"}

    # A post is shown with these.
    shown = (selectinload(Post.author), selectinload(Post.tags))

    async def published(
        self,
        *,
        tag: str | None = None,
        number: int = 1,
        size: int = 20,
    ) -> Page[Post]:
        """A page of what readers see, newest first, each with its author and its tags."""
        return await self.page(
            *self.seen(tag),
            number=number,
            size=size,
            sort=("-created_at",),
            options=self.shown,
        )

    def seen(self, tag: str | None = None) -> list[sa.ColumnExpressionArgument[bool]]:
        """The condition that readers see a post, of one tag or of all."""
        tagged = [] if tag is None else [Post.tags.any(Tag.name == tag)]
        return [Post.is_published, *tagged]


class TagRepository(Repository[Tag]):
    sortable = {"name": Tag.name}
    writable = {"name"}
