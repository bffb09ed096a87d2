"""The layer at work on this project's database: one short example of each promise.

The table is the tests' own, in a database that only these tests use. Read from top to bottom: the
examples are written as a service would write them.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import ClassVar
from uuid import uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from . import db, doctor, testing


# A service derives its models from db.Base. These have a base of their own, so that no name of
# theirs is taken from the project.
class SmokeBase(DeclarativeBase):
    metadata = sa.MetaData(naming_convention=db.NAMING_CONVENTION)
    type_annotation_map: ClassVar = db.Base.type_annotation_map


class Note(db.PrimaryKey, db.Timestamped, db.SoftDeletable, SmokeBase):
    __tablename__ = "smoke_notes"

    title: Mapped[str] = mapped_column(sa.String(100), unique=True)
    stars: Mapped[int] = mapped_column(default=0)


class NoteRepository(db.Repository[Note]):
    sortable = {"stars": Note.stars, "title": Note.title}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database_template(database_server: sa.URL) -> AsyncGenerator[str]:
    """Create the table in a database that each test gets a copy of."""
    name = f"template_{uuid4().hex}"
    async with testing.temporary_database(database_server, name=name) as settings:
        async with db.Database(settings) as database, database.engine.begin() as connection:
            await connection.run_sync(SmokeBase.metadata.create_all)
        yield name


async def titles(database: db.Database) -> list[str]:
    """Return what a new transaction sees."""
    async with database.transaction(read_only=True) as session:
        return [note.title for note in await NoteRepository(session).find(order_by=Note.title)]


# ------------------------------------------------------------------------------- transactions


async def test_a_transaction_commits_at_its_end(fresh_database: db.Database) -> None:
    async with fresh_database.transaction() as session:
        note = await NoteRepository(session).create(title="first")
    # The key and the timestamps are loaded: nothing has to be awaited after the commit.
    assert note.id
    assert note.created_at.tzinfo
    assert await titles(fresh_database) == ["first"]


async def test_an_exception_rolls_the_transaction_back(fresh_database: db.Database) -> None:
    with pytest.raises(ValueError, match="stop"):
        async with fresh_database.transaction() as session:
            await NoteRepository(session).create(title="first")
            raise ValueError("stop")
    assert await titles(fresh_database) == []


async def test_a_savepoint_rolls_back_its_own_part_alone(fresh_database: db.Database) -> None:
    async with fresh_database.transaction() as session:
        notes = NoteRepository(session)
        await notes.create(title="kept")
        with pytest.raises(ValueError, match="stop"):
            async with session.begin_nested():
                await notes.create(title="dropped")
                raise ValueError("stop")
        await notes.create(title="kept too")
    assert await titles(fresh_database) == ["kept", "kept too"]


async def test_callbacks_run_after_the_commit(fresh_database: db.Database) -> None:
    sent: list[list[str]] = []

    async def send() -> None:
        sent.append(await titles(fresh_database))

    async with fresh_database.transaction() as session:
        await NoteRepository(session).create(title="first")
        db.on_commit(session, send)
        assert sent == []
    # The callback saw the row, because the transaction was committed by then.
    assert sent == [["first"]]


async def test_callbacks_of_a_rolled_back_transaction_never_run(
    fresh_database: db.Database,
) -> None:
    sent: list[str] = []
    with pytest.raises(ValueError, match="stop"):
        async with fresh_database.transaction() as session:
            db.on_commit(session, lambda: sent.append("mail"))
            raise ValueError("stop")
    assert sent == []


async def test_run_repeats_the_unit_of_work_after_a_conflict(fresh_database: db.Database) -> None:
    attempts: list[int] = []

    async def work(session: AsyncSession) -> str:
        attempts.append(len(attempts) + 1)
        note = await NoteRepository(session).create(title=f"attempt {len(attempts)}")
        if len(attempts) == 1:
            raise db.SerializationFailure("simulated")
        return note.title

    assert await fresh_database.run(work) == "attempt 2"
    assert await titles(fresh_database) == ["attempt 2"]


async def test_a_lock_is_waited_for_no_longer_than_its_timeout(
    fresh_database: db.Database,
) -> None:
    async with fresh_database.transaction() as session:
        key = (await NoteRepository(session).create(title="first")).id
    impatient = fresh_database.settings.model_copy(update={"lock_timeout": 1})
    async with db.Database(impatient) as other, fresh_database.transaction() as session:
        await NoteRepository(session).get_one(key, for_update="wait")
        with pytest.raises(db.LockTimeout):
            async with asyncio.timeout(10), other.transaction() as waiting:
                await NoteRepository(waiting).get_one(key, for_update="wait")


# ------------------------------------------------------------------------------- rows


async def test_a_unique_violation_names_its_fields(session: AsyncSession) -> None:
    notes = NoteRepository(session)
    await notes.create(title="first")
    with pytest.raises(db.UniqueViolation) as caught:
        await notes.create(title="first")
    assert caught.value.fields == ("title",)


async def test_a_deleted_row_is_hidden_until_it_is_restored(session: AsyncSession) -> None:
    notes = NoteRepository(session)
    note = await notes.create(title="first")
    await notes.delete(note)
    assert await notes.get(note.id) is None
    assert await notes.find() == []
    assert await notes.with_deleted().count() == 1
    await notes.restore(note)
    assert await notes.find() == [note]


async def test_rows_from_a_generator_are_inserted_in_chunks(session: AsyncSession) -> None:
    notes = NoteRepository(session)
    inserted = await notes.insert_many({"title": f"note {number}"} for number in range(2_500))
    assert inserted == 2_500
    assert await notes.count() == 2_500
    # Defaults are applied as with session.add().
    assert await notes.count(Note.stars == 0, Note.created_at.is_not(None)) == 2_500


async def test_cursor_pages_show_every_row_once(session: AsyncSession) -> None:
    notes = NoteRepository(session)
    await notes.insert_many({"title": f"note {n}", "stars": n % 3} for n in range(10))
    shown: list[tuple[int, str]] = []
    cursor = None
    while True:
        page = await notes.cursor_page(sort=("-stars", "title"), size=4, cursor=cursor)
        shown += [(note.stars, note.title) for note in page.items]
        if page.next is None:
            break
        cursor = page.next
    expected = sorted((-(n % 3), f"note {n}") for n in range(10))
    assert shown == [(-stars, title) for stars, title in expected]


# ------------------------------------------------------------------------------- the project


async def test_the_migrations_lead_to_the_newest_revision(
    database_server: sa.URL,
    database_alembic: Config,
    prepare_database: Callable[[AsyncConnection], Awaitable[object]] | None,
) -> None:
    if not database_alembic.file_config.has_section("alembic"):
        pytest.skip("there is no alembic.ini: the fixture database_alembic can name another file")
    async with testing.temporary_database(database_server) as settings:
        await testing.migrate_to_head(settings, database_alembic, prepare_database)
        async with db.Database(settings) as database, database.engine.connect() as connection:
            check = await doctor.check_migrations(connection, database_alembic)
    # A project without any revision has a note.
    assert check.status != "failed", check


def test_the_packages_are_as_new_as_the_layer_needs() -> None:
    check = doctor.check_packages()
    assert check.status != "failed", check
