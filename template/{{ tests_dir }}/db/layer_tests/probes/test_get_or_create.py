"""get_or_create() and update_or_create(), while other requests do the same."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from . import db, dialect
from .models import Author, Book, Employee, Member

Values = Mapping[str, object]
ADA = {"email": "ada@example.com"}


async def test_only_a_new_row_takes_the_defaults(session: AsyncSession) -> None:
    authors = db.Repository[Author](session)

    first, is_new = await authors.get_or_create(ADA, {"name": "Ada"})
    again, is_again_new = await authors.get_or_create(ADA, {"name": "Eve"})

    assert (is_new, is_again_new) == (True, False)
    assert again is first
    assert (again.email, again.name) == ("ada@example.com", "Ada")


async def test_an_existing_row_is_updated(session: AsyncSession) -> None:
    authors = db.Repository[Author](session)

    first, is_new = await authors.update_or_create(ADA, {"name": "Ada"})
    again, is_again_new = await authors.update_or_create(ADA, {"name": "Eve"})
    same, _ = await authors.update_or_create(ADA)

    assert (is_new, is_again_new) == (True, False)
    assert first is again is same
    assert again.name == "Eve"


async def test_requests_at_the_same_time_get_one_row(fresh_database: db.Database) -> None:
    async def work(session: AsyncSession) -> tuple[object, bool]:
        row, is_new = await db.Repository[Author](session).get_or_create(ADA)
        return row.id, is_new

    for _ in range(5):
        results = await fresh_database.gather(*[work] * 8)
        assert len({key for key, _ in results}) == 1
        assert Counter(is_new for _, is_new in results) == {True: 1, False: 7}
        async with fresh_database.transaction() as session:
            await session.execute(sa.delete(Author))


async def test_updates_at_the_same_time_all_take_effect(fresh_database: db.Database) -> None:
    async with fresh_database.transaction() as session:
        author = await db.Repository[Author](session).create(**ADA)
    unique = {"author_id": author.id, "title": "Notes"}
    # MySQL gives each request whose INSERT fails a shared lock, which several cannot raise at once.
    attempts = 50 if _is_mysql(fresh_database) else 1

    for _ in range(5):
        for pages, new in (range(1, 9), 1), (range(11, 19), 0):
            works = [_update_or_create(unique, {"pages": n}) for n in pages]
            results = await asyncio.gather(*(fresh_database.run(x, attempts) for x in works))
            assert results.count(True) == new
        async with fresh_database.transaction() as session:
            (book,) = await db.Repository[Book](session).find()
            # One INSERT and 15 updates: none was lost, and none was refused as stale.
            assert book.version == 16
            await session.delete(book)


def _update_or_create(
    unique: Values, defaults: Values
) -> Callable[[AsyncSession], Awaitable[bool]]:
    async def work(session: AsyncSession) -> bool:
        _, is_new = await db.Repository[Book](session).update_or_create(unique, defaults)
        return is_new

    return work


@pytest.mark.skipif(dialect.RENDER_AS_BATCH, reason="in SQLite one writer waits for the other")
async def test_a_row_that_the_snapshot_lacks_asks_for_a_replay(fresh_database: db.Database) -> None:
    attempts = 0

    async def work(session: AsyncSession) -> bool:
        nonlocal attempts
        attempts += 1
        await session.scalar(sa.select(sa.func.count()).select_from(Author))
        if attempts == 1:
            async with fresh_database.transaction() as other:
                await db.Repository[Author](other).create(**ADA)
        _, is_new = await db.Repository[Author](session).get_or_create(ADA)
        return is_new

    assert not await fresh_database.run(work, isolation_level="REPEATABLE READ")
    # MySQL's locking reads do not use the snapshot.
    assert attempts == (1 if _is_mysql(fresh_database) else 2)


def _is_mysql(database: db.Database) -> bool:
    return database.engine.dialect.name in ("mysql", "mariadb")


async def test_a_soft_deleted_row_keeps_its_value(session: AsyncSession) -> None:
    authors = db.Repository[Author](session)
    author, _ = await authors.get_or_create(ADA)
    await authors.delete(author)

    with pytest.raises(db.UniqueViolation):
        await authors.get_or_create(ADA)
    assert await authors.with_deleted().get_or_create(ADA) == (author, False)


async def test_a_partial_index_leaves_soft_deleted_rows_out(session: AsyncSession) -> None:
    members = db.Repository[Member](session)
    unique = {"club": "chess", "email": "ada@example.com"}
    first, _ = await members.get_or_create(unique)
    await members.delete(first)

    second, is_new = await members.get_or_create(unique)

    assert is_new
    assert second.id != first.id


async def test_another_constraint_is_reported_as_such(session: AsyncSession) -> None:
    employees = db.Repository[Employee](session)
    await employees.create(email="ada@example.com", name="Ada")

    with pytest.raises(db.UniqueViolation) as caught:
        await employees.get_or_create({"name": "Eve"}, {"email": "ada@example.com"})
    # The row that is found by one of two unique values differs in the other.
    with pytest.raises(db.UniqueViolation):
        await employees.get_or_create({"email": "ada@example.com", "name": "Eve"})
    assert "email" in str(caught.value)
    # The session can still be used.
    assert await employees.count() == 1


async def test_names_are_checked_before_anything_is_read(session: AsyncSession) -> None:
    class Authors(db.Repository[Author]):
        writable = {"email"}

    authors = Authors(session)
    await authors.create(**ADA)
    with pytest.raises(db.NotWritable, match="name"):
        await authors.get_or_create(ADA, {"name": "Eve"})
    with pytest.raises(db.NotWritable, match="nonsense"):
        await authors.update_or_create({"nonsense": 1})
