"""The promises of a repository about one row, and about a few."""

from datetime import time, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import InvalidRequestError, MultipleResultsFound
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload, selectinload

from . import db, testing
from .models import Author, Book, Leaflet, Placement, Student


class Authors(db.Repository[Author]):
    sortable = {"email": Author.email, "name": Author.name}


class Books(db.Repository[Book]):
    writable = {"author_id", "title"}


async def add_authors(session: AsyncSession, *names: str) -> list[Author]:
    authors = Authors(session)
    return [await authors.create(email=f"{name}@example.com", name=name) for name in names]


async def test_the_model_comes_from_the_type_argument(session: AsyncSession) -> None:
    assert Authors(session).model is Author
    assert db.Repository[Book](session).model is Book
    unnamed: db.Repository[Author] = db.Repository(session)
    with pytest.raises(TypeError, match="this repository has no model"):
        _ = unnamed.model


async def test_a_row_is_found_by_its_key(session: AsyncSession) -> None:
    (ada,) = await add_authors(session, "ada")
    session.expunge_all()
    authors = Authors(session)

    found = await authors.get(ada.id)
    # A type checker must know these without being told.
    email: str = found.email if found else ""

    assert email == "ada@example.com"
    assert await authors.get(uuid4()) is None
    with pytest.raises(db.NotFound):
        await authors.get_one(uuid4())


async def test_a_row_that_the_session_holds_is_not_asked_for(
    session: AsyncSession, query_log: testing.QueryLog
) -> None:
    (ada,) = await add_authors(session, "ada")
    with query_log.expect(0):
        assert await Authors(session).get(ada.id) is ada


async def test_what_options_ask_of_a_row_in_hand_is_loaded(session: AsyncSession) -> None:
    (ada,) = await add_authors(session, "ada")
    await db.Repository[Book](session).create(author_id=ada.id, title="First")
    assert await Authors(session).get(ada.id, options=[selectinload(Author.books)]) is ada
    assert [book.title for book in ada.books] == ["First"]


async def test_rows_of_several_keys_keep_the_order_of_the_keys(session: AsyncSession) -> None:
    ada, bob, eve = await add_authors(session, "ada", "bob", "eve")

    found = await Authors(session).get_many([eve.id, uuid4(), ada.id, bob.id, ada.id])

    assert found == [eve, ada, bob, ada]
    assert await Authors(session).get_many([]) == []


async def test_a_key_may_have_several_columns(session: AsyncSession) -> None:
    placements = db.Repository[Placement](session)
    await placements.add(Placement(shelf="a", place=1, price=Decimal("1.50")))
    second = await placements.add(Placement(shelf="a", place=2, price=Decimal("2.50")))
    session.expunge_all()

    found = await placements.get_one(("a", 2))
    many = await placements.get_many([("a", 2), ("b", 1), ("a", 1)])
    page = await placements.cursor_page(size=1)

    assert found.price == second.price
    assert [row.place for row in many] == [2, 1]
    assert [row.place for row in page.items] == [1]
    third = await placements.create(shelf="a", place=3, price=Decimal(1))
    with pytest.raises(db.NotWritable):
        await placements.update(third, place=4)


async def test_a_locked_row_is_read_anew(session: AsyncSession) -> None:
    (ada,) = await add_authors(session, "ada")
    await session.execute(
        sa.update(Author).values(name="Ada"), execution_options={"synchronize_session": False}
    )
    assert ada.name == "ada"

    assert await Authors(session).get(ada.id, for_update="wait") is ada
    assert ada.name == "Ada"


async def test_a_row_is_locked_without_what_is_joined_to_it(session: AsyncSession) -> None:
    (ada,) = await add_authors(session, "ada")
    joined = [joinedload(Author.books)]

    assert await Authors(session).get(ada.id, options=joined, for_update="wait") is ada
    assert ada.books == []
    session.add(Student(name="eve", wakes=time(7), sleeps=timedelta(), password="", grade=1))
    await session.flush()
    assert await db.Repository[Student](session).get("eve", for_update="wait")


async def test_rows_are_found_by_criteria_in_an_order(session: AsyncSession) -> None:
    await add_authors(session, "ada", "bob", "eve")
    authors = Authors(session)

    found = await authors.find(Author.name != "bob", order_by=Author.name.desc(), limit=1)

    assert [author.name for author in found] == ["eve"]
    assert await authors.find_one_or_none(Author.name == "zoe") is None
    with pytest.raises(MultipleResultsFound):
        await authors.find_one_or_none(Author.name != "bob")


async def test_rows_are_sorted_by_all_that_the_functions_for_it_give(session: AsyncSession) -> None:
    await add_authors(session, "ada", "bob")
    authors = Authors(session)

    # A composite of several columns gives a list.
    down = sa.OrderByList([Author.name.desc(), Author.id.desc()])
    for order in (sa.desc(Author.name), [sa.desc(Author.name), sa.asc(Author.id)], down):
        assert [x.name for x in await authors.find(order_by=order)] == ["bob", "ada"]


async def test_counting_asks_for_neither_order_nor_columns(session: AsyncSession) -> None:
    await add_authors(session, "ada", "bob")

    class Sorted(Authors):
        def statement(self) -> sa.Select[Author]:
            return super().statement().order_by(Author.email)

    assert await Sorted(session).count(Author.name == "ada") == 1
    assert await Sorted(session).exists(Author.name == "bob")
    assert not await Sorted(session).exists(Author.name == "eve")


async def test_one_override_filters_every_read(session: AsyncSession) -> None:
    ada, bob = await add_authors(session, "ada", "bob")

    class Bobs(Authors):
        def statement(self) -> sa.Select[Author]:
            return super().statement().where(Author.name == "bob")

    bobs = Bobs(session)
    assert await bobs.get(ada.id) is None
    assert await bobs.get_many([ada.id, bob.id]) == [bob]
    assert await bobs.find() == [bob]
    assert await bobs.find_one_or_none() is bob
    assert await bobs.count() == 1
    assert (await bobs.page()).items == [bob]
    assert (await bobs.cursor_page()).items == [bob]
    assert [batch async for batch in bobs.batches()] == [[bob]]
    async with bobs.stream() as rows:
        assert [row async for row in rows] == [bob]


async def test_what_cannot_be_written_is_refused(session: AsyncSession) -> None:
    (ada,) = await add_authors(session, "ada")
    authors, books = Authors(session), Books(session)

    for name in ("id", "created_at", "updated_at", "deleted_at", "metadata", "nonsense"):
        with pytest.raises(db.NotWritable, match=name):
            await authors.update(ada, **{name: None})
    with pytest.raises(db.NotWritable, match="author_id, title here, not 'pages'"):
        await books.create(author_id=ada.id, title="First", pages=3)
    book = await books.create(author_id=ada.id, title="First")
    with pytest.raises(db.NotWritable, match="version"):
        await db.Repository[Book](session).update(book, version=7)


async def test_a_key_of_another_shape_is_no_row_that_is_missing(session: AsyncSession) -> None:
    with pytest.raises(InvalidRequestError, match="Incorrect number of values"):
        await db.Repository[Placement](session).get("a")
    (ada,) = await add_authors(session, "ada")
    with pytest.raises((TypeError, db.InvalidValue)):
        await Authors(session).get_many([str(ada.id)])


async def test_a_relationship_is_loaded_when_it_is_asked_for(session: AsyncSession) -> None:
    (ada,) = await add_authors(session, "ada")
    await session.commit()
    with pytest.raises(InvalidRequestError, match="books"):
        _ = ada.books
    await db.Repository[Book](session).create(author_id=ada.id, title="First")

    await Authors(session).load(ada, "books")

    assert [book.title for book in ada.books] == ["First"]


async def test_what_was_not_written_yet_is_loaded_too(session: AsyncSession) -> None:
    leaflets = db.Repository[Leaflet](session)
    (ada,) = await add_authors(session, "ada")
    book = await db.Repository[Book](session).create(author_id=ada.id, title="First")
    leaflet = await leaflets.create(pages=1.0)
    await leaflets.load(leaflet, "book")

    leaflet.book = book
    await leaflets.load(leaflet, "book")

    assert leaflet.book is book


async def test_nothing_is_loaded_for_a_row_that_is_not_seen(session: AsyncSession) -> None:
    authors = Authors(session)
    (ada,) = await add_authors(session, "ada")
    await authors.delete(ada)
    with pytest.raises(db.NotFound):
        await authors.load(ada, "books")
    assert (await authors.with_deleted().load(ada, "books")).books == []


async def test_what_is_no_relationship_is_not_loaded(session: AsyncSession) -> None:
    (ada,) = await add_authors(session, "ada")
    for name in ("name", "nonsense"):
        with pytest.raises(ValueError, match=f"no relationship {name}: it has books"):
            await Authors(session).load(ada, "books", name)
    assert ada.name == "ada"


async def test_a_row_of_another_session_is_refused(database: db.Database) -> None:
    async with database.transaction() as session:
        author = await db.Repository[Author](session).create(email="ada@example.com")
    async with database.transaction() as session:
        authors = db.Repository[Author](session)
        new = Author(email="new@example.com")
        for change in (
            authors.update(author, name="B"),
            authors.delete(author),
            authors.delete(new),
        ):
            with pytest.raises(ValueError, match="not in this session"):
                await change
        # merge() brings it over.
        author = await session.merge(author)
        assert (await authors.update(author, name="B")).name == "B"
