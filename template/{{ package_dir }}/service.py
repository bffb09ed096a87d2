"""The service's functions, for the web or a worker: schemas in and out. The caller commits."""

from collections.abc import AsyncGenerator, Collection

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import flag_modified

from .db import Database, Key, StaleRow
from .models import Post, Tag
from .repositories import PostRepository, TagRepository, UserRepository
from .schemas import (
    PostCreate,
    PostResponse,
    PostUpdate,
    TagResponse,
    UserCreate,
    UserResponse,
    UserUpdate,
)


async def create_user(session: AsyncSession, new: UserCreate) -> UserResponse:
    """A new user. Raises UniqueViolation if the address is taken."""
    user = await UserRepository(session).create(**new.model_dump())
    return UserResponse.model_validate(user)


async def get_user(session: AsyncSession, key: Key) -> UserResponse:
    """The user with this key. Raises NotFound."""
    return UserResponse.model_validate(await UserRepository(session).get_one(key))


async def update_user(session: AsyncSession, key: Key, change: UserUpdate) -> UserResponse:
    """Change a user. Raises NotFound, UniqueViolation."""
    users = UserRepository(session)
    user = await users.update(await users.get_one(key), **change.model_dump(exclude_unset=True))
    return UserResponse.model_validate(user)


async def delete_user(session: AsyncSession, key: Key) -> None:
    """Hide a user, until they are restored. Raises NotFound."""
    users = UserRepository(session)
    await users.delete(await users.get_one(key))


async def restore_user(session: AsyncSession, key: Key) -> UserResponse:
    """Bring a user back. Raises NotFound; UniqueViolation if the address was taken meanwhile."""
    users = UserRepository(session).with_deleted()
    return UserResponse.model_validate(await users.restore(await users.get_one(key)))


async def create_post(session: AsyncSession, author: Key, new: PostCreate) -> PostResponse:
    """A new post, and those of its tags that are new. Raises NotFound for the author."""
    post = Post(
        author=await UserRepository(session).get_one(author),
        tags=await _tags(session, new.tags),
        **new.model_dump(exclude={"tags"}),
    )
    return PostResponse.model_validate(await PostRepository(session).add(post))


async def get_post(session: AsyncSession, key: Key) -> PostResponse:
    """The post with this key. Raises NotFound."""
    return PostResponse.model_validate(
        await PostRepository(session).get_one(key, options=PostRepository.shown),
    )


async def export_posts(database: Database) -> AsyncGenerator[str]:
    """The published posts as lines of JSON, any number of them, in a session of its own."""
    async with database.reader() as session:
        posts = PostRepository(session)
        async for batch in posts.batches(Post.is_published, options=posts.shown):
            for post in batch:
                yield PostResponse.model_validate(post).model_dump_json() + "\n"


async def update_post(session: AsyncSession, key: Key, change: PostUpdate) -> PostResponse:
    """Change a post. Raises NotFound; StaleRow if it changed since it was read."""
    posts = PostRepository(session)
    post = await posts.get_one(key, options=PostRepository.shown)
    # A change that comes between this line and the flush is StaleRow too, by the model.
    if post.version != change.version:
        raise StaleRow(f"the post is at version {post.version}, not {change.version}")
    await posts.update(post, **change.model_dump(exclude_unset=True, exclude={"version"}))
    return PostResponse.model_validate(post)


async def set_tags(session: AsyncSession, key: Key, names: Collection[str]) -> PostResponse:
    """Give a post these tags, and no others. Raises NotFound, StaleRow."""
    post = await PostRepository(session).get_one(key, options=PostRepository.shown)
    post.tags = await _tags(session, names)
    # Tags lie in a table of their own: without this the post would keep its version.
    flag_modified(post, "title")
    await session.flush()
    return PostResponse.model_validate(post)


async def delete_post(session: AsyncSession, key: Key) -> None:
    """Hide a post, until it is restored. Raises NotFound, StaleRow."""
    posts = PostRepository(session)
    await posts.delete(await posts.get_one(key))


async def restore_post(session: AsyncSession, key: Key) -> PostResponse:
    """Bring a post back. Raises NotFound, StaleRow."""
    posts = PostRepository(session).with_deleted()
    post = await posts.restore(await posts.get_one(key, options=PostRepository.shown))
    return PostResponse.model_validate(post)


async def list_tags(session: AsyncSession) -> list[TagResponse]:
    """All tags, by name."""
    tags = await TagRepository(session).find(order_by=Tag.name)
    return [TagResponse.model_validate(tag) for tag in tags]


async def _tags(session: AsyncSession, names: Collection[str]) -> list[Tag]:
    """The tags with these names, those made that are missing."""
    tags = TagRepository(session)
    found = await tags.find(Tag.name.in_(names), order_by=Tag.name)
    # In one order for all: two who make the same tags would wait for each other.
    if missing := sorted(set(names).difference(tag.name for tag in found)):
        # Another request may be making the same one: it is then taken as it is.
        await tags.upsert_many([{"name": name} for name in missing], on=("name",))
        statement = tags.statement().where(Tag.name.in_(names)).order_by(Tag.name)
        # With a lock, since MySQL would else read what was there before.
        found = list(await session.scalars(statement.with_for_update(read=True)))
    return found
