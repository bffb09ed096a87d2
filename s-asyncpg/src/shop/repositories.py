"""What this service asks of its tables, by name. Whoever opened the session commits."""

import sqlalchemy as sa
from sqlalchemy.orm import selectinload

from .db import CursorPage, Page, Repository
from .models import Post, Tag, User


class UserRepository(Repository[User]):
    sortable = {"created_at": User.created_at, "email": User.email, "name": User.name}
    writable = {"email", "name"}

    async def find_by_email(self, email: str) -> User | None:
        return await self.find_one_or_none(User.email == email)


class PostRepository(Repository[Post]):
    sortable = {"created_at": Post.created_at, "title": Post.title}
    writable = {"author_id", "title", "body", "status"}

    # What a post is shown with.
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
            *self._seen(tag),
            number=number,
            size=size,
            sort=("-created_at",),
            options=self.shown,
        )

    async def feed(
        self,
        *,
        tag: str | None = None,
        cursor: str | None = None,
        size: int = 20,
    ) -> CursorPage[Post]:
        """The same from a cursor on: page 1,000 takes no longer than the first."""
        return await self.cursor_page(
            *self._seen(tag),
            cursor=cursor,
            size=size,
            sort=("-created_at",),
            options=self.shown,
        )

    def _seen(self, tag: str | None = None) -> list[sa.ColumnExpressionArgument[bool]]:
        tagged = [] if tag is None else [Post.tags.any(Tag.name == tag)]
        return [Post.is_published, *tagged]


class TagRepository(Repository[Tag]):
    sortable = {"name": Tag.name}
    writable = {"name"}
