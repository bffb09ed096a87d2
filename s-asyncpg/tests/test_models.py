"""What the tables promise, on the real database. Each test's changes are rolled back."""

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from shop.db import (
    CheckViolation,
    Database,
    StaleRow,
    UniqueViolation,
)
from shop.models import (
    Post,
    PostStatus,
    Profile,
    Tag,
    User,
)
from shop.repositories import (
    PostRepository,
    UserRepository,
)


async def create_user(session: AsyncSession, email: str = "ada@example.com") -> User:
    return await UserRepository(session).create(email=email, name="Ada")


async def create_post(session: AsyncSession, author: User, title: str = "First") -> Post:
    posts = PostRepository(session)
    return await posts.create(author_id=author.id, title=title, body="...")


async def test_a_user_is_found_by_email(session: AsyncSession) -> None:
    user = await create_user(session)

    users = UserRepository(session)

    assert await users.find_by_email("ada@example.com") is user
    assert await users.find_by_email("bob@example.com") is None


async def test_an_email_is_taken_once(session: AsyncSession) -> None:
    await create_user(session)

    with pytest.raises(UniqueViolation) as caught:
        await create_user(session)

    assert caught.value.fields == ("email",)


async def test_the_email_of_a_deleted_user_is_free_again(session: AsyncSession) -> None:
    users = UserRepository(session)
    deleted = await create_user(session)
    await users.delete(deleted)

    user = await create_user(session)

    assert await users.find_by_email("ada@example.com") is user
    assert await users.with_deleted().count() == 2


async def test_a_user_comes_with_what_was_asked_for(session: AsyncSession) -> None:
    user = await create_user(session)
    session.add(Profile(user_id=user.id, preferences={"theme": "dark"}))
    post = await create_post(session, user)
    session.expunge_all()

    loaded = await UserRepository(session).get_one(
        user.id,
        options=(selectinload(User.profile), selectinload(User.posts)),
    )

    assert loaded.profile is not None
    assert loaded.profile.preferences == {"theme": "dark"}
    assert [each.id for each in loaded.posts] == [post.id]


async def test_what_was_not_asked_for_raises(session: AsyncSession) -> None:
    user = await create_user(session)
    session.expunge_all()
    loaded = await UserRepository(session).get_one(user.id)

    with pytest.raises(InvalidRequestError, match=r"User\.posts"):
        _ = loaded.posts


async def test_a_deleted_post_is_hidden_until_it_is_restored(session: AsyncSession) -> None:
    posts = PostRepository(session)
    post = await create_post(session, await create_user(session))

    await posts.delete(post)
    assert await posts.get(post.id) is None
    assert await posts.find() == []

    await posts.restore(post)
    assert await posts.get(post.id) is post


async def test_a_post_changed_by_someone_else_is_stale(database: Database) -> None:
    async with database.transaction() as session:
        post = await create_post(session, await create_user(session))
    async with database.transaction() as session:
        other = await PostRepository(session).get_one(post.id)
        await PostRepository(session).update(other, title="Second")

    with pytest.raises(StaleRow):
        async with database.transaction() as session:
            session.add(post)
            await PostRepository(session).update(post, title="Third")


async def test_a_user_takes_their_posts_and_profile_along(session: AsyncSession) -> None:
    user = await create_user(session)
    post = await create_post(session, user)
    session.add_all([Profile(user_id=user.id), Tag(name="sql", posts=[post])])
    await session.flush()
    session.expunge_all()

    # Deleted for good, where UserRepository.delete() hides.
    await session.delete(await UserRepository(session).get_one(user.id))
    await session.flush()

    assert await session.scalar(sa.select(sa.func.count()).select_from(Post)) == 0
    assert await session.scalar(sa.select(sa.func.count()).select_from(Profile)) == 0
    assert await session.scalar(sa.select(sa.func.count()).select_from(Tag)) == 1


async def test_readers_see_published_posts_with_author_and_tags(session: AsyncSession) -> None:
    ada = await create_user(session)
    post, draft = await create_post(session, ada), await create_post(session, ada, title="Draft")
    session.add(Tag(name="sql", posts=[post, draft]))
    post.status = PostStatus.PUBLISHED
    await session.flush()
    session.expunge_all()

    page = await PostRepository(session).published(tag="sql")

    assert [(each.title, each.is_published) for each in page.items] == [("First", True)]
    assert page.items[0].author.email == "ada@example.com"
    assert [tag.name for tag in page.items[0].tags] == ["sql"]
    assert (page.total, page.pages) == (1, 1)
    assert (await PostRepository(session).published(tag="orm")).total == 0


async def test_a_page_is_one_part_of_a_whole_order(session: AsyncSession) -> None:
    for name in ("carol", "ada", "bob"):
        await create_user(session, f"{name}@example.com")

    page = await UserRepository(session).page(number=2, size=2, sort=("email",))

    assert [user.email for user in page.items] == ["carol@example.com"]
    assert (page.total, page.pages) == (3, 2)


async def test_a_status_is_one_of_those_listed(session: AsyncSession) -> None:
    await create_post(session, await create_user(session))

    with pytest.raises(CheckViolation) as caught:
        await session.execute(sa.text("UPDATE posts SET status = 'lost'"))

    assert caught.value.constraint == "ck_posts_poststatus"
