"""A deleted row is hidden, but where somebody asks for it."""

from collections.abc import Callable
from uuid import UUID

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    Load,
    Mapped,
    Session,
    aliased,
    contains_eager,
    defaultload,
    defer,
    joinedload,
    lazyload,
    relationship,
    selectinload,
    subqueryload,
)

from . import db
from .models import Author, Book, Placement, ProbeBase

# How a relationship is loaded.
Loading = Callable[..., Load]


class Publisher(ProbeBase):
    """An author, with relationships that are loaded by joins."""

    __table__ = Author.__table__

    books: Mapped[list["Volume"]] = relationship(
        lazy="joined", cascade="all, delete-orphan", overlaps="author, books"
    )
    only_book: Mapped["Volume | None"] = relationship(lazy="joined", viewonly=True)


class Volume(db.SoftDeletable, ProbeBase):
    """A book, with its author, whose books are loaded too."""

    __table__ = Book.__table__

    publisher: Mapped[Publisher] = relationship(lazy="joined", viewonly=True)


@pytest_asyncio.fixture(loop_scope="session")
async def ada(session: AsyncSession) -> UUID:
    """An author of two books, one of which is deleted."""
    author = await db.Repository[Author](session).create(email="ada@example.com")
    books = db.Repository[Book](session)
    await books.create(author_id=author.id, title="kept")
    await books.delete(await books.create(author_id=author.id, title="deleted"))
    session.expunge_all()
    return author.id


async def titles(session: AsyncSession, statement: sa.Select[Book]) -> list[str]:
    return [book.title for book in await session.scalars(statement)]


async def test_reads_leave_it_out(session: AsyncSession, ada: UUID) -> None:
    books = db.Repository[Book](session)
    other = aliased(Book)

    assert await titles(session, sa.select(Book)) == ["kept"]
    assert await titles(session, sa.select(other)) == ["kept"]
    assert await session.scalar(sa.select(sa.func.count(Book.id))) == 1
    assert await session.scalar(sa.select(sa.func.count()).select_from(Book)) == 1
    assert [book.title for book in await books.find()] == ["kept"]
    assert await books.count() == 1
    assert not await books.exists(Book.title == "deleted")
    assert (await books.page()).total == 1
    assert len((await books.cursor_page()).items) == 1
    assert [len(batch) async for batch in books.batches()] == [1]
    async with books.stream() as rows:
        assert [book.title async for book in rows] == ["kept"]


async def test_a_row_in_hand_is_not_found_by_its_key(session: AsyncSession, ada: UUID) -> None:
    books = db.Repository[Book](session)
    (kept,) = await books.find()

    await books.delete(kept)

    assert kept.is_deleted
    assert await books.get(kept.id) is None
    assert await session.get(Book, kept.id) is None
    assert await books.get_many([kept.id]) == []
    assert await books.with_deleted().get(kept.id) is kept


async def test_questions_about_other_rows_leave_it_out(session: AsyncSession, ada: UUID) -> None:
    authors = db.Repository[Author](session)

    assert await authors.exists(Author.books.any(Book.title == "kept"))
    assert not await authors.exists(Author.books.any(Book.title == "deleted"))
    exists = sa.exists().where(Book.author_id == Author.id, Book.title == "deleted")
    assert await authors.find(exists) == []
    joined = sa.select(Book.title).select_from(Author).join(Author.books)
    assert (await session.scalars(joined)).all() == ["kept"]


@pytest.mark.parametrize("load", [selectinload, subqueryload, joinedload])
async def test_collections_leave_it_out(session: AsyncSession, ada: UUID, load: Loading) -> None:
    authors = db.Repository[Author](session)
    author = await authors.get_one(ada, options=[load(Author.books)])
    assert [book.title for book in author.books] == ["kept"]

    session.expunge_all()
    (book,) = await db.Repository[Book](session).find(
        options=[load(Book.author), defaultload(Book.author).options(load(Author.books))]
    )
    assert [each.title for each in book.author.books] == ["kept"]

    session.expunge_all()
    option = load(Author.books.and_(Book.title != "kept"))
    author = await authors.get_one(ada, options=[option])
    assert author.books == []


@pytest.mark.parametrize("load", [selectinload, subqueryload, joinedload])
async def test_collections_show_it_to_those_who_ask(
    session: AsyncSession, ada: UUID, load: Loading
) -> None:
    authors = db.Repository[Author](session).with_deleted()
    author = await authors.get_one(ada, options=[load(Author.books)])
    assert sorted(book.title for book in author.books) == ["deleted", "kept"]


async def test_a_collection_that_is_refreshed_leaves_it_out(
    session: AsyncSession, ada: UUID
) -> None:
    authors = db.Repository[Author](session)
    author = await authors.get_one(ada)

    await authors.load(author, "books")
    assert [book.title for book in author.books] == ["kept"]

    session.expire(author)
    await session.refresh(author, ["books"])
    assert [book.title for book in author.books] == ["kept"]


@pytest.mark.parametrize("load", [selectinload, subqueryload, joinedload])
async def test_a_row_that_is_refreshed_with_its_collection_leaves_it_out(
    session: AsyncSession, ada: UUID, load: Loading
) -> None:
    author = await db.Repository[Author](session).get_one(ada, options=[load(Author.books)])
    session.expire(author)
    await session.refresh(author)
    assert [book.title for book in await author.awaitable_attrs.books] == ["kept"]


@pytest.mark.parametrize("load", [selectinload, subqueryload, joinedload, lazyload])
async def test_a_many_to_one_shows_it(session: AsyncSession, ada: UUID, load: Loading) -> None:
    authors = db.Repository[Author](session)
    await authors.delete(await authors.get_one(ada))
    session.expunge_all()

    (book,) = await db.Repository[Book](session).find(options=[load(Book.author)])

    assert (await book.awaitable_attrs.author).is_deleted


async def test_relationships_that_are_mapped_as_joined_leave_it_out(
    session: AsyncSession, ada: UUID
) -> None:
    publishers = db.Repository[Publisher](session)
    for publisher in (*await publishers.find(), *await publishers.get_many([ada])):
        assert publisher.only_book
        assert [x.is_deleted for x in (*publisher.books, publisher.only_book)] == [False, False]

    session.expunge_all()
    publisher = await publishers.get_one(ada)
    session.expire(publisher)
    await session.refresh(publisher)
    assert len(publisher.books) == 1
    for options in ([], [joinedload(Publisher.books)], [selectinload(Publisher.books)]):
        session.expunge_all()
        (publisher,) = await publishers.find(options=options)
        assert len(publisher.books) == 1
    session.expunge_all()
    (volume,) = await db.Repository[Volume](session).find()
    # SQLAlchemy loads no class twice by itself on one path.
    assert len(await volume.publisher.awaitable_attrs.books) == 1

    session.expunge_all()
    without = [lazyload(Publisher.only_book)]
    (publisher,) = await publishers.with_deleted().find(options=without)
    assert sorted(book.is_deleted for book in publisher.books) == [False, True]


async def test_a_row_that_leaves_its_collection_is_not_removed(
    session: AsyncSession, ada: UUID
) -> None:
    (publisher,) = await db.Repository[Publisher](session).find()
    (book,) = publisher.books
    publisher.books.remove(book)
    with pytest.raises(TypeError, match="remove the row of a Volume"):
        await session.flush()


async def test_a_row_that_is_removed_on_purpose_is_removed(
    session: AsyncSession, ada: UUID
) -> None:
    (publisher,) = await db.Repository[Publisher](session).find()
    await session.delete(publisher.books[0])
    await session.flush()
    assert await db.Repository[Book](session).with_deleted().count() == 1


async def test_it_is_merged(session: AsyncSession, ada: UUID) -> None:
    books = db.Repository[Book](session)
    deleted = await books.with_deleted().find_one_or_none(Book.title == "deleted")
    assert deleted
    # Both while the session holds the row and while it does not.
    for title in ("one", "two"):
        await session.merge(Book(id=deleted.id, author_id=ada, title=title))
        await session.flush()
        session.expunge_all()
        await session.merge_all([Book(id=deleted.id, author_id=ada, title=f"{title} again")])
        await session.flush()
    assert await books.with_deleted().count() == 2
    # A new row is merged as ever, and the row itself is hidden as ever.
    await session.merge(Book(author_id=ada, title="new"))
    assert await session.get(Book, deleted.id) is None
    assert await books.count() == 2


async def test_a_key_finds_it_for_those_who_ask(session: AsyncSession, ada: UUID) -> None:
    books = db.Repository[Book](session).with_deleted()
    deleted = await books.find_one_or_none(Book.title == "deleted")
    assert deleted
    shown = {"include_deleted": True}
    assert await session.get(Book, deleted.id, execution_options=shown) is deleted
    key = deleted.id
    session.expunge_all()
    assert await session.get(Book, key, execution_options=shown)


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.LegacyAPIWarning")
async def test_a_legacy_query_leaves_it_out(session: AsyncSession, ada: UUID) -> None:
    books = db.Repository[Book](session).with_deleted()
    deleted = await books.find_one_or_none(Book.title == "deleted")
    assert deleted

    def ask(sync: Session) -> None:
        query = sync.query(Book)
        assert [book.title for book in query.all()] == ["kept"]
        assert query.count() == 1
        assert query.get(deleted.id) is None
        assert query.execution_options(include_deleted=True).get(deleted.id) is deleted
        assert query.update({"pages": 7}) == 1
        assert query.delete() == 1

    await session.run_sync(ask)
    assert await books.count() == 1


async def test_a_many_to_one_that_is_refreshed_shows_it(session: AsyncSession, ada: UUID) -> None:
    authors, books = db.Repository[Author](session), db.Repository[Book](session)
    await authors.delete(await authors.get_one(ada))
    session.expunge_all()
    (book,) = await books.find()

    await books.load(book, "author")
    assert book.author.is_deleted

    session.expire(book)
    await session.refresh(book, ["author"])
    assert book.author.is_deleted


# The criterion relies on these of SQLAlchemy: see docs/private-api.md in the template's repository.


async def test_a_statement_is_compiled_once_with_the_criterion_and_once_without(
    session: AsyncSession, ada: UUID
) -> None:
    cache: dict[object, object] = {}
    for include_deleted in (False, True, False, True):
        options = {"include_deleted": include_deleted, "compiled_cache": cache}
        rows = await session.scalars(sa.select(Book), execution_options=options)
        assert len(rows.all()) == 1 + include_deleted
    assert len(cache) == 2


async def test_an_option_of_joinedload_is_not_changed_by_its_use(
    session: AsyncSession, ada: UUID
) -> None:
    authors, option = db.Repository[Author](session), joinedload(Author.books)
    for repository, count in ((authors, 1), (authors.with_deleted(), 2), (authors, 1)):
        session.expunge_all()
        author = await repository.get_one(ada, options=[option])
        assert len(author.books) == count


async def test_a_joined_collection_of_an_alias_leaves_it_out(
    session: AsyncSession, ada: UUID
) -> None:
    other = aliased(Author)
    statement = sa.select(other).options(joinedload(other.books))
    (author,) = (await session.scalars(statement)).unique()
    assert [book.title for book in author.books] == ["kept"]


async def test_a_collection_that_a_join_fills_leaves_it_out(
    session: AsyncSession, ada: UUID
) -> None:
    statement = sa.select(Author).join(Author.books).options(contains_eager(Author.books))
    (author,) = (await session.scalars(statement)).unique()
    assert [book.title for book in author.books] == ["kept"]


async def test_subqueries_and_unions_leave_it_out(session: AsyncSession, ada: UUID) -> None:
    below = sa.select(Book).subquery()
    assert await session.scalar(sa.select(sa.func.count()).select_from(below)) == 1
    assert await titles(session, sa.select(aliased(Book, below))) == ["kept"]
    both = sa.union_all(sa.select(Book), sa.select(Book))
    rows = (await session.scalars(sa.select(Book).from_statement(both))).all()
    assert [book.title for book in rows] == ["kept", "kept"]


async def test_a_row_that_the_session_holds_can_be_refreshed(
    session: AsyncSession, ada: UUID
) -> None:
    books = db.Repository[Book](session).with_deleted()
    (book,) = await books.find(Book.title == "deleted", options=[defer(Book.pages)])

    assert await book.awaitable_attrs.pages == 1
    session.expire(book)
    assert await book.awaitable_attrs.title == "deleted"
    await session.refresh(book)
    assert book.is_deleted


async def test_everything_joined_is_refused(session: AsyncSession, ada: UUID) -> None:
    with pytest.raises(TypeError, match="name the relationships"):
        await db.Repository[Author](session).find(options=[joinedload("*")])


async def test_changes_of_many_rows_leave_it_out(session: AsyncSession, ada: UUID) -> None:
    books = db.Repository[Book](session).with_deleted()
    await session.execute(sa.update(Book).values(pages=9))
    assert {book.title: book.pages for book in await books.find()} == {"kept": 9, "deleted": 1}

    await session.execute(sa.delete(Book))
    assert [book.title for book in await books.find()] == ["deleted"]


async def test_it_is_deleted_once(session: AsyncSession, ada: UUID) -> None:
    books = db.Repository[Book](session)
    deleted = await books.with_deleted().find_one_or_none(Book.title == "deleted")
    assert deleted
    deleted_at, version = deleted.deleted_at, deleted.version

    await books.delete(deleted)
    assert await books.with_deleted().delete_many([deleted.id]) == 0

    assert (deleted.deleted_at, deleted.version) == (deleted_at, version)
    # Nor is it an obstacle that a savepoint undid what was in hand.
    there = await books.find_one_or_none(Book.title == "kept")
    assert there
    async with session.begin_nested() as savepoint:
        await books.update(there, pages=2)
        await savepoint.rollback()
    await books.delete(there)
    assert there.is_deleted


async def test_it_can_be_brought_back(session: AsyncSession, ada: UUID) -> None:
    books = db.Repository[Book](session)
    deleted = await books.with_deleted().find_one_or_none(Book.title == "deleted")
    assert deleted

    await books.restore(deleted)

    assert await books.get(deleted.id) is deleted
    assert await books.count() == 2
    with pytest.raises(TypeError, match="not SoftDeletable"):
        await db.Repository[Placement](session).restore(Placement())
