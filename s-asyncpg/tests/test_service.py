"""What the service does, called as a worker or a command would call it."""

import asyncio

import pytest
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from shop import service
from shop.db import (
    Database,
    NotFound,
    StaleRow,
    UniqueViolation,
)
from shop.schemas import (
    PostCreate,
    PostResponse,
    PostUpdate,
    UserCreate,
    UserResponse,
    UserUpdate,
)

ADA = UserCreate(email="Ada@Example.com", name=" Ada ")


async def create_post(session: AsyncSession, *tags: str) -> PostResponse:
    user = await service.create_user(session, ADA)
    new = PostCreate(title="First", body="...", tags=list(tags))
    return await service.create_post(session, user.id, new)


async def test_a_user_is_created_changed_listed_and_deleted(session: AsyncSession) -> None:
    created = await service.create_user(session, ADA)
    assert (created.email, created.name) == ("ada@example.com", "Ada")

    changed = await service.update_user(session, created.id, UserUpdate(name="Ada Lovelace"))
    assert (changed.email, changed.name) == ("ada@example.com", "Ada Lovelace")
    assert (await service.list_users(session)).items == [changed]

    await service.delete_user(session, created.id)
    assert (await service.list_users(session)).items == []
    with pytest.raises(NotFound):
        await service.get_user(session, created.id)


async def test_what_is_returned_outlives_the_session(database: Database) -> None:
    async with database.transaction() as session:
        user = await service.create_user(session, ADA)
    async with database.transaction(read_only=True) as session:
        assert await service.get_user(session, user.id) == user


async def test_a_deleted_user_comes_back_unless_the_address_is_taken(session: AsyncSession) -> None:
    user = await service.create_user(session, ADA)
    await service.delete_user(session, user.id)
    assert isinstance(await service.restore_user(session, user.id), UserResponse)

    await service.delete_user(session, user.id)
    await service.create_user(session, ADA)
    with pytest.raises(UniqueViolation):
        await service.restore_user(session, user.id)


async def test_a_change_is_based_on_a_version(session: AsyncSession) -> None:
    post = await create_post(session)
    change = PostUpdate(version=post.version, title="Second")

    assert (await service.update_post(session, post.id, change)).version == post.version + 1
    with pytest.raises(StaleRow):
        await service.update_post(session, post.id, change)


async def test_tags_are_made_once(session: AsyncSession) -> None:
    created = await create_post(session, "sql", "orm")
    post = await service.set_tags(session, created.id, ["sql", "async"])

    # Whoever read the post before has read other tags.
    assert post.version == created.version + 1
    assert [tag.name for tag in post.tags] == ["async", "sql"]
    assert [tag.name for tag in await service.list_tags(session)] == ["async", "orm", "sql"]


async def test_two_who_need_the_same_new_tag_both_get_it(fresh_database: Database) -> None:
    async with fresh_database.transaction() as session:
        user = await service.create_user(session, ADA)
    new = PostCreate(title="First", body="...", tags=["orm", "sql"])

    async def work(session: AsyncSession) -> list[str]:
        return [tag.name for tag in (await service.create_post(session, user.id, new)).tags]

    # MariaDB has some of them begin anew.
    units = (fresh_database.run(work, attempts=10) for _ in range(5))
    for tags in await asyncio.gather(*units):
        assert tags == ["orm", "sql"]
    async with fresh_database.transaction(read_only=True) as session:
        assert [tag.name for tag in await service.list_tags(session)] == ["orm", "sql"]


@pytest.mark.parametrize("email", ["ada", "@", "a b@c", "a\x00@b"])
def test_an_address_that_cannot_be_one_is_refused(email: str) -> None:
    with pytest.raises(ValidationError, match="email"):
        UserCreate(email=email, name="Ada")
