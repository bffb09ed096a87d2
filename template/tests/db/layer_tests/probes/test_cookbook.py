"""A cookbook: how common work is written on this layer. Each recipe runs, and asserts what it says.

To be read and copied from. `session` stands for the session of your own unit of work.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode
from polyfactory.factories.sqlalchemy_factory import (
    SQLAlchemyFactory,
    SQLAlchemyPersistenceMethod,
)
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    RelationshipDirection,
    Session,
    contains_eager,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
    subqueryload,
)

from . import db, testing
from .models import Author, Book, ProbeBase


class Account(db.BigIntPrimaryKey, ProbeBase):
    """Money, in cents: a whole number is exact on every database."""

    __tablename__ = "cookbook_accounts"
    __table_args__ = (sa.CheckConstraint("balance >= 0", name="covered"),)

    owner: Mapped[str] = mapped_column(sa.String(50))
    balance: Mapped[int]
    # Not `metadata`: that name is SQLAlchemy's.
    details: Mapped[db.JSONObject] = mapped_column(default=dict)

    @hybrid_property
    def is_rich(self) -> bool:
        return self.balance >= 100_000

    @is_rich.inplace.expression
    @classmethod
    def _is_rich(cls) -> sa.ColumnElement[bool]:
        return cls.balance >= 100_000


class Job(db.BigIntPrimaryKey, ProbeBase):
    """Something to do, once."""

    __tablename__ = "cookbook_jobs"

    name: Mapped[str] = mapped_column(sa.String(50))
    done_at: Mapped[datetime | None]


class Review(db.BigIntPrimaryKey, ProbeBase):
    __tablename__ = "cookbook_reviews"

    book_id: Mapped[int] = mapped_column(sa.ForeignKey(Book.id), index=True)
    stars: Mapped[int]

    book: Mapped[Book] = relationship(lazy="raise")


async def shelf(session: AsyncSession) -> list[Author]:
    """Three authors with none, one and two books; the longest of 300 pages."""
    authors = [Author(email=f"{name}@example.com", name=name) for name in ("ada", "bea", "cy")]
    for number, pages in ((1, 100), (2, 200), (2, 300)):
        authors[number].books.append(Book(title=f"{pages} pages", pages=pages))
    session.add_all(authors)
    await session.flush()
    session.expunge_all()
    return authors


# ------------------------------------------------------------------------------- units of work


async def test_create_a_row_and_return_it(database: db.Database) -> None:
    async def open_account(owner: str) -> Account:
        async with database.transaction() as session:
            return await db.Repository[Account](session).create(owner=owner, balance=0)

    # What was loaded stays readable after the commit.
    account = await open_account("ada")
    assert account.id
    assert account.owner == "ada"


async def test_let_a_part_fail_and_go_on(session: AsyncSession) -> None:
    taken, free = "ada@example.com", "bea@example.com"
    session.add(Author(email=taken))
    await session.flush()
    for email in (taken, free):
        try:
            # A savepoint: what fails inside is undone alone. No commit here, the unit is not over.
            async with session.begin_nested():
                session.add(Author(email=email))
        except db.UniqueViolation as error:
            assert error.fields == ("email",)
    assert await db.Repository[Author](session).count() == 2


async def test_commit_a_long_load_in_parts(database: db.Database) -> None:
    names = [f"job {number}" for number in range(10)]
    async with database.session() as session:
        for start in range(0, len(names), 4):
            session.add_all([Job(name=name) for name in names[start : start + 4]])
            # What is committed stays, whatever becomes of the rest.
            await session.commit()
    async with database.session() as session:
        assert await db.Repository[Job](session).count() == 10


async def test_flush_many_objects_in_parts(session: AsyncSession) -> None:
    for start in range(0, 1000, 250):
        session.add_all([Job(name=f"job {n}") for n in range(start, start + 250)])
        await session.flush()
        # The session forgets what it has sent: memory stays flat.
        session.expunge_all()
    assert await db.Repository[Job](session).count() == 1000


async def move(session: AsyncSession, source: int, target: int, amount: int) -> None:
    """Move money between two accounts. Raises ValueError where there is not enough."""
    accounts = db.Repository[Account](session)
    # Everybody locks in the order of the keys, so nobody waits in a circle.
    for key in sorted((source, target)):
        await accounts.get_one(key, for_update="wait")
    payer, payee = await accounts.get_one(source), await accounts.get_one(target)
    if payer.balance < amount:
        raise ValueError(f"{payer.owner} has {payer.balance}, not {amount}")
    payer.balance -= amount
    payee.balance += amount
    await session.flush()


async def test_move_money_and_lose_none(fresh_database: db.Database) -> None:
    async with fresh_database.transaction() as session:
        session.add_all([Account(owner=owner, balance=1_000) for owner in ("ada", "bea", "cy")])
    async with fresh_database.session() as session:
        keys = [*await session.scalars(sa.select(Account.id).order_by(Account.id))]

    async def transfer(number: int) -> None:
        source, target = keys[number % 3], keys[(number + 1 + number % 2) % 3]
        async with fresh_database.transaction() as session:
            await move(session, source, target, amount=10 + number)

    await asyncio.gather(*(transfer(number) for number in range(30)))
    async with fresh_database.session() as session:
        assert await session.scalar(sa.select(sa.func.sum(Account.balance))) == 3_000
        with pytest.raises(ValueError, match="not 9000"):
            await move(session, keys[0], keys[1], amount=9_000)


async def test_move_money_by_two_guarded_updates(session: AsyncSession) -> None:
    session.add_all(
        [payer := Account(owner="a", balance=50), payee := Account(owner="b", balance=0)]
    )
    await session.flush()

    async def add(key: int, amount: int) -> bool:
        """Whether the account was there and could bear it: the condition is part of the UPDATE."""
        covered = Account.balance + amount >= 0
        statement = sa.update(Account).where(Account.id == key, covered)
        changed = await session.execute(statement.values(balance=Account.balance + amount))
        assert isinstance(changed, sa.CursorResult)
        return changed.rowcount == 1

    assert await add(payer.id, -30)
    assert await add(payee.id, 30)
    assert not await add(payer.id, -30)


async def test_take_a_job_that_nobody_else_has(fresh_database: db.Database) -> None:
    async with fresh_database.transaction() as session:
        session.add_all([Job(name=f"job {number}") for number in range(8)])
    taken: list[str] = []

    async def work() -> None:
        while True:
            async with fresh_database.transaction() as session:
                # A row that another worker holds is passed over, not waited for.
                job = await session.scalar(
                    sa.select(Job)
                    .where(Job.done_at.is_(None))
                    .order_by(Job.id)
                    .limit(1)
                    .with_for_update(skip_locked=True)
                )
                if job is None:
                    return
                taken.append(job.name)
                job.done_at = datetime.now(UTC)

    await asyncio.gather(*(work() for _ in range(3)))
    assert sorted(taken) == [f"job {number}" for number in range(8)]


async def test_return_values_rather_than_objects_that_need_a_session(session: AsyncSession) -> None:
    await shelf(session)
    rows = await session.execute(sa.select(Author.name, Author.email).order_by(Author.name))
    assert [row.name for row in rows] == ["ada", "bea", "cy"]


# ------------------------------------------------------------------------------- related rows


async def test_load_collections_in_one_more_query(
    session: AsyncSession, query_log: testing.QueryLog
) -> None:
    await shelf(session)
    with query_log.expect(2):
        authors = await db.Repository[Author](session).find(options=[selectinload(Author.books)])
        assert sorted(len(author.books) for author in authors) == [0, 1, 2]


async def test_load_the_one_on_the_other_side_by_a_join(
    session: AsyncSession, query_log: testing.QueryLog
) -> None:
    await shelf(session)
    with query_log.expect(1):
        books = await session.scalars(sa.select(Book).options(joinedload(Book.author)))
        assert sorted(book.author.name for book in books) == ["bea", "cy", "cy"]


async def test_join_a_collection_and_count_each_owner_once(
    session: AsyncSession, query_log: testing.QueryLog
) -> None:
    await shelf(session)
    with query_log.expect(1):
        rows = await session.scalars(sa.select(Author).options(joinedload(Author.books)))
        # The join repeats an author for each book: unique() is asked for, not guessed.
        assert len(rows.unique().all()) == 3


async def test_load_collections_of_a_complicated_query_by_a_subquery(
    session: AsyncSession, query_log: testing.QueryLog
) -> None:
    await shelf(session)
    with query_log.expect(2):
        authors = await session.scalars(sa.select(Author).options(subqueryload(Author.books)))
        assert sum(len(author.books) for author in authors) == 3


async def test_load_what_is_related_to_the_related(
    session: AsyncSession, query_log: testing.QueryLog
) -> None:
    await shelf(session)
    book = (await session.scalars(sa.select(Book).where(Book.pages == 100))).one()
    session.add(Review(book_id=book.id, stars=5))
    await session.flush()
    session.expunge_all()
    with query_log.expect(1):
        path = joinedload(Review.book).joinedload(Book.author)
        review = (await session.scalars(sa.select(Review).options(path))).one()
        assert review.book.author.name == "bea"


async def test_fill_a_collection_from_a_join_of_your_own(
    session: AsyncSession, query_log: testing.QueryLog
) -> None:
    await shelf(session)
    with query_log.expect(1):
        statement = sa.select(Author).join(Author.books).where(Book.pages >= 300)
        statement = statement.options(contains_eager(Author.books))
        author = (await session.scalars(statement)).unique().one()
        assert [book.pages for book in author.books] == [300]


async def test_load_a_relationship_of_a_row_in_hand(session: AsyncSession) -> None:
    await shelf(session)
    authors = db.Repository[Author](session)
    cy = await authors.find_one_or_none(Author.name == "cy")
    assert cy
    await authors.load(cy, "books")
    assert len(cy.books) == 2


async def test_await_an_attribute_that_is_not_loaded_yet(session: AsyncSession) -> None:
    author = Author(email="ada@example.com")
    session.add(author)
    await session.flush()
    session.expire(author, ["name"])
    assert await author.awaitable_attrs.name == "Ada"


# ------------------------------------------------------------------------------- questions


async def test_find_by_several_conditions(session: AsyncSession) -> None:
    await shelf(session)
    long, named = Book.pages > 250, Book.title.startswith("1", autoescape=True)
    titles = await session.scalars(sa.select(Book.title).where(sa.or_(long, named)))
    assert sorted(titles) == ["100 pages", "300 pages"]


async def test_search_for_what_someone_typed(session: AsyncSession) -> None:
    session.add_all([Job(name="100% sure"), Job(name="100 times")])
    await session.flush()
    # Without autoescape the % would match anything.
    found = await session.scalars(
        sa.select(Job.name).where(Job.name.contains("0%", autoescape=True))
    )
    assert found.all() == ["100% sure"]


async def test_group_and_filter_the_groups(session: AsyncSession) -> None:
    await shelf(session)
    pages = sa.func.sum(Book.pages).label("pages")
    statement = sa.select(Author.name, pages).join(Author.books).group_by(Author.name)
    rows = await session.execute(statement.having(pages > 100))
    assert [(name, int(total)) for name, total in rows] == [("cy", 500)]


async def test_count_what_belongs_to_each_none_included(session: AsyncSession) -> None:
    await shelf(session)
    books = sa.func.count(Book.id)
    statement = sa.select(Author.name, books).outerjoin(Author.books).group_by(Author.name)
    rows = await session.execute(statement.order_by(Author.name))
    assert [tuple(row) for row in rows] == [("ada", 0), ("bea", 1), ("cy", 2)]


async def test_compare_with_a_value_computed_from_all(session: AsyncSession) -> None:
    await shelf(session)
    average = sa.select(sa.func.avg(Book.pages)).scalar_subquery()
    assert (await session.scalars(sa.select(Book.pages).where(Book.pages > average))).all() == [300]


async def test_ask_for_those_that_are_in_another_question(session: AsyncSession) -> None:
    await shelf(session)
    owners = sa.select(Book.author_id).where(Book.pages > 150)
    names = await session.scalars(sa.select(Author.name).where(Author.id.in_(owners)))
    assert names.all() == ["cy"]


async def test_take_the_first_of_each_group(session: AsyncSession) -> None:
    await shelf(session)
    rank = sa.func.row_number().over(partition_by=Book.author_id, order_by=Book.pages.desc())
    ranked = sa.select(Book.pages, rank.label("rank")).subquery()
    # A window cannot be filtered where it is computed: only its subquery can.
    longest = await session.scalars(sa.select(ranked.c.pages).where(ranked.c.rank == 1))
    assert sorted(longest) == [100, 300]


async def test_sort_pages_by_a_column_of_another_table(session: AsyncSession) -> None:
    await shelf(session)
    # A column by itself would pair each book with every author.
    author = sa.select(Author.name).where(Author.id == Book.author_id).scalar_subquery()

    class Books(db.Repository[Book]):
        sortable = {"author": author, "title": Book.title}

    books = Books(session)
    first = await books.cursor_page(sort=("-author", "title"), size=2)
    second = await books.cursor_page(sort=("-author", "title"), size=2, cursor=first.next)
    titles = [book.title for book in (*first.items, *second.items)]
    assert titles == ["200 pages", "300 pages", "100 pages"]


async def test_ask_for_a_value_inside_a_document(session: AsyncSession) -> None:
    session.add_all(
        [
            Account(owner="ada", balance=1, details={"plan": "pro", "seats": 3}),
            Account(owner="bea", balance=1, details={"plan": "free"}),
        ]
    )
    await session.flush()
    plan = Account.details["plan"].as_string()
    assert (await session.scalars(sa.select(Account.owner).where(plan == "pro"))).all() == ["ada"]


async def test_use_one_property_in_python_and_in_sql(session: AsyncSession) -> None:
    session.add_all([Account(owner="ada", balance=100_000), Account(owner="bea", balance=5)])
    await session.flush()
    rich = (await session.scalars(sa.select(Account).where(Account.is_rich))).one()
    assert rich.is_rich
    assert rich.owner == "ada"


async def test_write_sql_by_hand(session: AsyncSession) -> None:
    insert = sa.text("INSERT INTO cookbook_jobs (name) VALUES (:name)")
    # Parameters, never string formatting: what a person typed is data.
    await session.execute(insert, [{"name": "it's"}, {"name": "done"}])
    rows = await session.execute(sa.text("SELECT name FROM cookbook_jobs ORDER BY name"))
    assert [row.name for row in rows] == ["done", "it's"]


# ------------------------------------------------------------------------------- many rows


async def test_change_many_rows_and_see_what_they_became(session: AsyncSession) -> None:
    if not session.get_bind().dialect.update_returning:
        pytest.skip("this database has no UPDATE ... RETURNING: read the rows again")
    await shelf(session)
    changed = await session.execute(
        sa.update(Book).where(Book.pages < 250).values(pages=Book.pages + 1).returning(Book.pages)
    )
    assert sorted(changed.scalars()) == [101, 201]


async def test_refer_to_no_row_that_is_softly_deleted(session: AsyncSession) -> None:
    class Books(db.Repository[Book]):
        async def create(self, **values: Any) -> Book:
            # The lock keeps others from deleting the author before this transaction ends. A row
            # that is deleted already is NotFound.
            authors = db.Repository[Author](self.session)
            await authors.get_one(values["author_id"], for_update="wait")
            return await super().create(**values)

    authors = db.Repository[Author](session)
    ada = await authors.create(email="ada@example.com")
    await Books(session).create(author_id=ada.id, title="SQL")
    await authors.delete(ada)
    # The foreign key itself holds: the row is there.
    await db.Repository[Book](session).create(author_id=ada.id, title="More SQL")
    with pytest.raises(db.NotFound):
        await Books(session).create(author_id=ada.id, title="Too much SQL")


async def test_delete_what_is_old(session: AsyncSession) -> None:
    now = datetime.now(UTC)
    session.add_all([Job(name=f"{days}", done_at=now - timedelta(days=days)) for days in (1, 40)])
    await session.flush()
    deleted = await session.execute(sa.delete(Job).where(Job.done_at < now - timedelta(days=30)))
    assert isinstance(deleted, sa.CursorResult)
    assert deleted.rowcount == 1


# ------------------------------------------------------------------------------- sessions


async def test_ask_one_thing_after_the_other_on_one_session(session: AsyncSession) -> None:
    # A session is one conversation: concurrent queries take a session each.
    await shelf(session)
    assert await db.Repository[Author](session).count() == 3
    assert await db.Repository[Book](session).count() == 3


async def test_ask_several_things_at_once(fresh_database: db.Database) -> None:
    async with fresh_database.transaction() as session:
        await shelf(session)

    async def authors(session: AsyncSession) -> int:
        return await db.Repository[Author](session).count()

    async def longest(session: AsyncSession) -> int | None:
        return await session.scalar(sa.select(sa.func.max(Book.pages)))

    assert await fresh_database.gather(authors, longest) == (3, 300)


async def test_call_code_that_knows_no_async(session: AsyncSession) -> None:
    def count(sync: Session) -> int:
        return len(sync.scalars(sa.select(Author)).all())

    await shelf(session)
    assert await session.run_sync(count) == 3


# ------------------------------------------------------------------------------- operations


async def test_see_what_the_layer_logs(
    fresh_database: db.Database, caplog: pytest.LogCaptureFixture
) -> None:
    # In a service, where the process begins: logging.basicConfig(level=logging.INFO)
    with caplog.at_level(logging.INFO):
        async with db.Database(fresh_database.settings):
            pass
    assert "database: " in caplog.text


class ExporterWithoutValues(SpanExporter):
    """An exporter that leaves out the texts and events of errors, in which drivers quote rows."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_without_text(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _without_text(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        links=span.links,
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
    )


async def test_trace_statements_without_their_values(fresh_database: db.Database) -> None:
    # In a service: ExporterWithoutValues(OTLPSpanExporter()), and a BatchSpanProcessor.
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ExporterWithoutValues(exported)))
    # The package is not typed. Otherwise: from ...sqlalchemy import SQLAlchemyInstrumentor
    package: Any = import_module("opentelemetry.instrumentation.sqlalchemy")
    instrumentor = package.SQLAlchemyInstrumentor()
    # Without skip_dep_check it refuses SQLAlchemy 2.1: it logs an error, and traces nothing. Leave
    # enable_commenter off: each statement would have a text of its own, which no cache knows.
    instrumentor.instrument(
        engine=fresh_database.engine.sync_engine, tracer_provider=provider, skip_dep_check=True
    )
    try:
        async with fresh_database.transaction() as session:
            await db.Repository[Author](session).create(email="ada@example.com")
        with pytest.raises(db.UniqueViolation):
            async with fresh_database.transaction() as session:
                await db.Repository[Author](session).create(email="ada@example.com")
    finally:
        instrumentor.uninstrument()
    spans = exported.get_finished_spans()
    inserts = [x for x in spans if "INSERT INTO" in str((x.attributes or {}).get("db.statement"))]
    assert [x.status.status_code for x in inserts] == [StatusCode.UNSET, StatusCode.ERROR]
    assert "ada@example.com" not in "".join(span.to_json() for span in spans)


async def test_measure_the_pool_for_prometheus(fresh_database: db.Database) -> None:
    if not fresh_database.settings.pool_size:
        pytest.skip("there is no pool to measure")
    # In a service leave the registry out, and mount prometheus_client.make_asgi_app(). Each process
    # has a pool of its own, so each is asked by itself.
    registry = CollectorRegistry()
    gauge = Gauge("database_connections", "Connections of the pool.", ["state"], registry=registry)
    gauge.labels("in_use").set_function(lambda: fresh_database.pool_status().in_use)
    gauge.labels("idle").set_function(lambda: fresh_database.pool_status().idle)
    gauge.labels("limit").set(fresh_database.pool_status().limit or 0)

    async with fresh_database.session() as session:
        await session.connection()
        assert 'database_connections{state="in_use"} 1.0' in generate_latest(registry).decode()
    measured = generate_latest(registry).decode()
    assert 'database_connections{state="in_use"} 0.0' in measured
    assert 'database_connections{state="idle"} 1.0' in measured


# ------------------------------------------------------------------------------- tests


M = TypeVar("M", bound=DeclarativeBase)


class RowFactory(SQLAlchemyFactory[M]):
    """Rows for tests: a test states what matters to it, and chance fills in what else is needed."""

    __is_base_factory__ = True
    # The test rolls back.
    __persistence_method__ = SQLAlchemyPersistenceMethod.FLUSH
    __set_foreign_keys__ = False
    __set_relationships__ = False

    @classmethod
    def should_column_be_set(cls, column: Any) -> bool:
        # The model and the database fill in the others.
        filled = (column.default, column.server_default, column.computed, column.identity)
        counted = column.table.autoincrement_column is column
        optional = column.nullable or counted or any(each is not None for each in filled)
        return not optional and super().should_column_be_set(column)

    @classmethod
    def get_provider_map(cls) -> dict[Any, Any]:
        cents = cls.__random__.randrange
        return {
            **super().get_provider_map(),
            datetime: lambda: datetime.now(UTC),
            Decimal: lambda: Decimal(cents(10_000)) / 100,
        }

    @classmethod
    async def create_async(cls, **values: Any) -> M:
        """Create a row, and before it the rows that it has to refer to."""
        for parent in sa.inspect(cls.__model__).relationships:
            columns = parent.local_columns
            stated = not values.keys().isdisjoint({parent.key, *(each.key for each in columns)})
            optional = any(column.nullable for column in columns)
            if parent.direction is RelationshipDirection.MANYTOONE and not stated and not optional:
                factory = RowFactory.create_factory(parent.mapper.class_)
                values[parent.key] = await factory.create_async()
        return await super().create_async(**values)


class BookFactory(RowFactory[Book]): ...


async def test_create_rows_of_which_a_test_states_only_what_matters(
    session: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a project of your own an autouse fixture does this.
    monkeypatch.setattr(RowFactory, "__async_session__", session)
    book = await BookFactory.create_async(pages=12)
    assert book.pages == 12
    assert isinstance(book.title, str)
    # The author was created too, or is the one that the test states.
    author = await session.get_one(Author, book.author_id)
    second = await BookFactory.create_async(author=author)
    assert second.author_id == author.id
    assert second.title != book.title
    assert await db.Repository[Author](session).count() == 1
