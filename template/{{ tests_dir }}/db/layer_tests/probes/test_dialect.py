"""This database and its driver do these things as all the others do."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from . import db, testing
from .models import Author, Book, Member

# Whatever quoting, escaping or formatting could stumble over.
ODD_TEXT = """Ünï 🛒 'one' "two" \\ %s %(x)s :x {x} \n\t"""


@pytest_asyncio.fixture(loop_scope="session")
async def settings(
    database_server: sa.URL, database_template: str
) -> AsyncGenerator[db.DatabaseSettings]:
    """A database of the test's own, in which no lock is waited for longer than it must be."""
    async with testing.temporary_database(database_server, template=database_template) as settings:
        yield settings.model_copy(update={"lock_timeout": 0.3})


@pytest_asyncio.fixture(loop_scope="session")
async def own_database(settings: db.DatabaseSettings) -> AsyncGenerator[db.Database]:
    async with db.Database(settings) as database:
        yield database


# Values.


async def test_a_moment_comes_back_as_it_was_and_in_utc(session: AsyncSession) -> None:
    moment = datetime(2024, 2, 29, 23, 59, 59, 123456, timezone(timedelta(hours=5)))
    session.add(Member(email="ada", deleted_at=moment))
    await session.flush()
    # A table rather than its model: rows that are deleted show too.
    kept = await session.scalar(sa.select(Member.metadata.tables["probe_members"].c.deleted_at))
    assert kept == moment
    assert str(kept).endswith("+00:00")


async def test_the_databases_clock_is_in_utc(session: AsyncSession) -> None:
    member = Member(email="ada")
    session.add(member)
    await session.flush()
    assert abs(member.created_at - datetime.now(UTC)) < timedelta(minutes=1)


async def test_a_row_tells_when_it_was_changed_without_another_query(session: AsyncSession) -> None:
    member = Member(email="ada")
    session.add(member)
    await session.flush()
    created = member.updated_at
    member.email = "bob"
    await session.flush()
    # Where the flush did not bring it along, reading it raises MissingGreenlet.
    assert member.updated_at >= created == member.created_at


async def test_text_comes_back_as_it_was(session: AsyncSession) -> None:
    session.add(Member(email=ODD_TEXT, notes={ODD_TEXT: [ODD_TEXT, 1.5, None, True]}))
    await session.flush()
    session.expunge_all()
    member = (await session.scalars(sa.select(Member).where(Member.email == ODD_TEXT))).one()
    assert member.email == ODD_TEXT
    assert member.notes == {ODD_TEXT: [ODD_TEXT, 1.5, None, True]}


async def test_a_key_comes_back_as_it_was(session: AsyncSession) -> None:
    author = Author(email="ada", id=uuid4())
    session.add(author)
    await session.flush()
    # More than 32 bits hold.
    session.add(Book(author_id=author.id, title="SQL", id=2**62))
    await session.flush()
    keys = (
        await session.execute(sa.select(Author.id, Book.author_id, Book.id).join(Book.author))
    ).one()
    assert keys == (author.id, author.id, 2**62)


# Constraints.


async def test_a_partial_index_is_unique_among_its_rows_alone(session: AsyncSession) -> None:
    gone = {"email": "ada", "deleted_at": datetime.now(UTC)}
    session.add_all([Member(**gone), Member(**gone), Member(email="ada")])
    session.add(Member(email="ada", club="tennis"))
    await session.flush()
    session.add(Member(email="ada"))
    with pytest.raises(db.UniqueViolation) as caught:
        await session.flush()
    assert caught.value.constraint == "ix_probe_members_club_email"
    assert caught.value.fields == ("club", "email")


async def test_an_error_names_the_constraint_and_its_fields_but_no_value(
    session: AsyncSession,
) -> None:
    authors = Author.metadata.tables["probe_authors"]
    # A server may repeat the value between quotes.
    ada, bob = Author(email="'ada'"), Author(email="bob")
    session.add_all([ada, bob])
    await session.flush()
    for change, name, fields in (
        ({"email": "'ada'"}, "uq_probe_authors_email", ("email",)),
        ({"id": ada.id}, "pk_probe_authors", ("id",)),
    ):
        with pytest.raises(db.UniqueViolation) as caught:
            async with session.begin_nested():
                await session.execute(
                    sa.update(authors).values(change).where(authors.c.id == bob.id)
                )
        assert (caught.value.constraint, caught.value.fields) == (name, fields)
        assert "ada" not in str(caught.value)
        assert str(ada.id) not in str(caught.value)


async def test_a_check_and_a_missing_value_are_told_apart(session: AsyncSession) -> None:
    author = Author(email="ada")
    session.add(author)
    await session.flush()
    with pytest.raises(db.CheckViolation) as check:
        async with session.begin_nested():
            session.add(Book(author_id=author.id, title="SQL", pages=0))
    assert check.value.constraint == "ck_probe_books_some_pages"
    with pytest.raises(db.NotNullViolation) as missing:
        async with session.begin_nested():
            await session.execute(sa.insert(Author).values(id=uuid4(), email=None, name="Bob"))
    assert missing.value.fields == ("email",)


async def test_a_row_that_is_referred_to_cannot_go(session: AsyncSession) -> None:
    author = Author(email="ada", books=[Book(title="SQL")])
    session.add(author)
    await session.flush()
    with pytest.raises(db.ForeignKeyViolation):
        await session.execute(sa.text("DELETE FROM probe_authors"))


# Transactions and locks.


async def test_an_unknown_isolation_level_is_refused(own_database: db.Database) -> None:
    async with own_database.transaction(isolation_level="SERIALIZABLE") as session:
        await session.scalar(sa.select(Author.id))
    with pytest.raises(ValueError, match="isolation level"):
        async with own_database.transaction(isolation_level="CHAOS") as session:
            await session.scalar(sa.select(Author.id))


async def test_a_transaction_for_reading_sees_one_moment_and_cannot_write(
    own_database: db.Database,
) -> None:
    authors = sa.select(sa.func.count(Author.id))
    with pytest.raises(db.ReadOnly):
        async with own_database.transaction(read_only=True) as reader:
            assert await reader.scalar(authors) == 0
            async with own_database.transaction() as writer:
                writer.add(Author(email="ada"))
            assert await reader.scalar(authors) == 0
            reader.add(Author(email="bob"))
            await reader.flush()
    # The connection that comes back from the pool may write again.
    async with own_database.transaction() as writer:
        writer.add(Author(email="bob"))
    async with own_database.transaction(read_only=True) as reader:
        assert await reader.scalar(authors) == 2


async def test_a_lock_is_waited_for_as_long_as_the_settings_say(own_database: db.Database) -> None:
    async with own_database.transaction() as session:
        author = await db.Repository[Author](session).create(email="ada")
    async with own_database.transaction() as holder:
        await db.Repository[Author](holder).get_one(author.id, for_update="wait")
        for how in ("wait", "nowait"):
            with pytest.raises(db.LockTimeout):
                async with own_database.transaction() as other:
                    await db.Repository[Author](other).get_one(author.id, for_update=how)


# Databases for tests.


async def test_a_copy_of_a_database_holds_its_rows_its_constraints_and_its_views(
    settings: db.DatabaseSettings, database_server: sa.URL
) -> None:
    async with db.Database(settings) as original, original.transaction() as session:
        session.add(Author(email="ada", books=[Book(title="SQL")]))
        session.add(Member(email=ODD_TEXT))
        await session.execute(sa.text("CREATE VIEW titles AS SELECT title FROM probe_books"))
    # SQLite's databases are files, of which the name has no suffix.
    name = str(settings.url.database).rpartition("/")[2].removesuffix(".db")
    async with (
        testing.temporary_database(database_server, template=name) as settings,
        db.Database(settings) as copy,
        copy.session() as session,
    ):
        assert await session.scalar(sa.select(Member.email)) == ODD_TEXT
        assert await session.scalar(sa.text("SELECT title FROM titles")) == "SQL"
        with pytest.raises(db.ForeignKeyViolation):
            await session.execute(sa.text("DELETE FROM probe_authors"))


@pytest.mark.parametrize("words", ["sslmode=disable", "ssl=true"])
async def test_the_server_of_the_tests_is_reached_as_any_other(
    database_server: sa.URL, words: str
) -> None:
    server = database_server.update_query_string(words)
    async with (
        testing.temporary_database(server) as settings,
        db.Database(settings) as database,
        database.reader() as session,
    ):
        assert await session.scalar(sa.select(1)) == 1
