"""Each failure has one name, whichever driver tells of it, and the driver's own error behind it."""

import asyncio
import pickle
from datetime import datetime
from decimal import Decimal
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from . import db, dialect, driver
from .models import Author, Book, Sample

COUNT = sa.select(sa.func.count(Author.id))


async def test_a_violation_is_caught_by_its_name_and_as_sqlalchemys(session: AsyncSession) -> None:
    session.add(Author(email="ada@example.com"))
    await session.flush()
    for kind in (db.UniqueViolation, IntegrityError, db.ConstraintViolation, db.DataLayerError):
        with pytest.raises(kind):
            async with session.begin_nested():
                session.add(Author(email="ada@example.com"))
    assert await session.scalar(COUNT) == 1


async def test_an_error_has_the_drivers_as_its_cause_and_tells_no_value(
    session: AsyncSession,
) -> None:
    session.add(Author(email="ada@example.com"))
    await session.flush()
    with pytest.raises(db.UniqueViolation) as raised:
        session.add(Author(email="ada@example.com"))
        await session.flush()
    error = raised.value
    assert error.fields == ("email",)
    assert error.constraint == "uq_probe_authors_email"
    assert error.__cause__ is not None and error.orig is error.__cause__
    assert "ada@example.com" not in f"{error} {error!r}"


async def test_an_error_reaches_another_process_as_it_is(session: AsyncSession) -> None:
    session.add(Author(email="ada@example.com"))
    await session.flush()
    with pytest.raises(db.UniqueViolation) as raised:
        session.add(Author(email="ada@example.com"))
        await session.flush()
    missing, unknown = db.NotFound(Author, 1), db.UnknownField(Author, ["id"], ["email"])
    for error in (
        raised.value,
        missing,
        unknown,
        db.TransactionRolledBack(),
        db.Deadlock("once more"),
    ):
        there: object = pickle.loads(pickle.dumps(error))
        assert (type(there), str(there)) == (type(error), str(error))
        assert vars(there).keys() == vars(error).keys()
        assert getattr(there, "fields", None) == getattr(error, "fields", None)


async def test_a_constraint_that_is_deferred_until_the_commit(fresh_database: db.Database) -> None:
    if fresh_database.settings.url.drivername.startswith("mysql"):
        pytest.skip("MySQL defers no constraint")
    metadata = sa.MetaData(naming_convention=db.NAMING_CONVENTION)
    sa.Table("probe_parents", metadata, sa.Column("id", sa.Integer, primary_key=True))
    parent = sa.ForeignKey("probe_parents.id", deferrable=True, initially="DEFERRED")
    children = sa.Table("probe_children", metadata, sa.Column("parent_id", sa.Integer, parent))
    async with fresh_database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    called: list[str] = []
    with pytest.raises(db.ForeignKeyViolation):
        async with fresh_database.transaction() as session:
            await session.execute(children.insert(), {"parent_id": 1})
            db.on_commit(session, lambda: called.append("committed"))
    assert called == []
    assert fresh_database.pool_status().in_use == 0
    async with fresh_database.session() as session:
        assert (await session.execute(sa.select(children))).all() == []


@pytest.mark.skipif(dialect.RENDER_AS_BATCH, reason="in SQLite one writer waits for the other")
async def test_of_two_that_wait_for_each_other_one_is_replayed(fresh_database: db.Database) -> None:
    async with fresh_database.transaction() as session:
        session.add_all([Author(email="ada"), Author(email="bob")])
    both = asyncio.Barrier(2)
    attempts: list[str] = []

    async def rename(session: AsyncSession, first: str, second: str) -> None:
        attempts.append(first)
        for email in (first, second):
            await session.execute(sa.update(Author).where(Author.email == email).values(name=first))
            if len(attempts) == 2 and email == first:
                await both.wait()

    async with asyncio.timeout(30):
        await asyncio.gather(
            fresh_database.run(lambda session: rename(session, "ada", "bob")),
            fresh_database.run(lambda session: rename(session, "bob", "ada")),
        )
    assert len(attempts) == 3


async def test_a_table_that_changed_under_a_prepared_statement_is_read_anew(
    fresh_database: db.Database,
) -> None:
    async def read(session: AsyncSession) -> int:
        return len((await session.execute(sa.text("SELECT * FROM probe_authors"))).keys())

    # More often than it takes any driver to prepare a statement.
    before = [await fresh_database.run(read) for _ in range(10)]
    async with db.Database(fresh_database.settings) as other, other.engine.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE probe_authors ADD COLUMN age INTEGER"))
    after = [await fresh_database.run(read) for _ in range(3)]
    assert after == [before[0] + 1] * 3


async def test_a_pool_with_nothing_left_says_so(fresh_database: db.Database) -> None:
    small = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.05}
    settings = fresh_database.settings.model_copy(update=small)
    async with db.Database(settings) as database, database.session() as session:
        await session.connection()
        with pytest.raises(db.PoolExhausted, match="DATABASE_POOL_SIZE"):
            async with database.session() as another:
                await another.connection()


@pytest.mark.skipif(dialect.RENDER_AS_BATCH, reason="SQLite makes the file")
async def test_a_database_that_is_not_there_is_unavailable(fresh_database: db.Database) -> None:
    url = fresh_database.settings.url.set(database="missing")
    settings = fresh_database.settings.model_copy(update={"url": url})
    async with db.Database(settings) as database:
        with pytest.raises(db.Unavailable, match="DATABASE_URL"):
            async with database.transaction() as session:
                await session.connection()
        assert not (await database.ping()).ok


async def test_a_node_outside_of_its_cluster_is_unavailable(fresh_database: db.Database) -> None:
    if not db.settings.DRIVER.startswith("mysql"):
        pytest.skip("only Galera has such nodes")
    number = sa.text("SELECT connection_id()")
    async with fresh_database.session() as session:
        before = await session.scalar(number)
    with pytest.raises(db.Unavailable, match=r"cannot be used \(1047\): this node of the cluster"):
        async with fresh_database.transaction() as session:
            await session.execute(sa.text("SIGNAL SQLSTATE '08S01' SET MYSQL_ERRNO = 1047"))
    async with fresh_database.session() as session:
        assert await session.scalar(number) != before


async def test_a_commit_may_take_longer_than_a_statement(
    fresh_database: db.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not db.settings.DRIVER.startswith("mysql"):
        pytest.skip("only a cluster of MySQL or MariaDB takes so long")
    limits: list[float] = []

    def note(connection: object, seconds: float) -> None:
        limits.append(seconds)

    settings = fresh_database.settings.model_copy(update={"command_timeout": 3})
    async with db.Database(settings) as database:
        async with database.transaction() as session:
            await session.execute(sa.text("SELECT 1"))
        # On the same connection: the limit of a statement holds again.
        with pytest.raises(db.Unavailable):
            async with database.transaction() as session:
                await session.execute(sa.text("SELECT SLEEP(4)"))
        monkeypatch.setattr(driver, "limit", note)
        async with database.transaction() as session:
            await session.execute(sa.text("SELECT 1"))
    assert limits == [3, 20]


async def test_what_the_row_holds_is_no_field_of_a_check(session: AsyncSession) -> None:
    author = Author(email="ada")
    session.add(author)
    await session.flush()
    with pytest.raises(db.CheckViolation) as raised:
        session.add(Book(author_id=author.id, title="x (secret)=(1) y", pages=0))
        await session.flush()
    assert raised.value.fields == ()
    assert "secret" not in f"{raised.value} {raised.value!r}"


# SQLite does not tell which of the two rows an error is about.
UNTOLD = (None, ()) if dialect.RENDER_AS_BATCH else (True, ())


async def test_which_of_two_rows_a_foreign_key_is_about(session: AsyncSession) -> None:
    author = Author(email="ada", books=[Book(title="SQL")])
    session.add(author)
    await session.flush()
    authors, books = (Author.metadata.tables[f"probe_{x}"] for x in ("authors", "books"))
    missing = uuid4()
    for refused in (sa.delete(authors), sa.update(authors).values(id=missing)):
        with pytest.raises(db.ForeignKeyViolation) as parent:
            async with session.begin_nested():
                await session.execute(refused)
        assert (parent.value.referenced, parent.value.fields) in {(True, ()), UNTOLD}
    for dangling in (
        sa.insert(books).values(author_id=missing, title="SQL", version=1),
        sa.update(books).values(author_id=missing),
    ):
        with pytest.raises(db.ForeignKeyViolation) as child:
            async with session.begin_nested():
                await session.execute(dangling)
        assert (child.value.referenced, child.value.fields) in {(False, ("author_id",)), UNTOLD}


@pytest.mark.parametrize(
    "values",
    [
        {"price": Decimal(10) ** 11},
        {"price": Decimal("nan7")},
        {"moment": datetime(2024, 5, 6)},
        {"number": 10**30},
        {"colour": Decimal(7)},
        {"text": "secret\ud800"},
    ],
)
async def test_a_value_that_no_column_keeps_is_refused_and_not_repeated(
    fresh_database: db.Database, values: dict[str, object]
) -> None:
    async with fresh_database.transaction() as session:
        samples = Sample.metadata.tables["probe_samples"]
        session.add(Sample(code="a"))
        await session.flush()
        with pytest.raises(db.InvalidValue) as raised:
            async with session.begin_nested():
                await session.execute(sa.update(samples).values(values))
        shown = f"{raised.value} {raised.value!r}"
        assert not any(str(value) in shown for value in values.values())
        assert isinstance(raised.value, ValueError)


async def test_a_value_of_a_wrong_python_type_is_a_mistake_in_code(
    fresh_database: db.Database,
) -> None:
    async with fresh_database.transaction() as session:
        with pytest.raises(db.InvalidType) as raised:
            async with session.begin_nested():
                session.add(Sample(code="a", moment="secret"))
                await session.flush()
        assert "secret" not in f"{raised.value} {raised.value!r}"
        assert isinstance(raised.value, db.InvalidValue | TypeError)


async def test_a_value_that_never_left_undoes_nothing(fresh_database: db.Database) -> None:
    async with fresh_database.transaction() as session:
        session.add(Author(email="ada"))
        await session.flush()
        late = sa.select(Author).where(Author.created_at > datetime(2024, 5, 6))
        with pytest.raises(db.InvalidValue, match="has no time zone"):
            await session.execute(late)
    async with fresh_database.session() as session:
        assert await session.scalar(COUNT) == 1


async def test_a_text_that_is_too_long_is_an_invalid_value(session: AsyncSession) -> None:
    if dialect.RENDER_AS_BATCH:
        pytest.skip("SQLite keeps a text of any length")
    with pytest.raises(db.InvalidValue):
        await session.execute(sa.insert(Author).values(email="e" * 101))
