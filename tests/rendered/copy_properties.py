"""COPY and INSERT write the same rows, whatever they give: else `insert_many` must not copy."""

import string
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from time import sleep
from typing import Any, ClassVar, Protocol
from unittest import mock
from uuid import UUID

import pytest
import pytest_asyncio
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from . import db
from .models import Marked

driver, copy = db.engine.driver, db.repository.copy

Row = Mapping[str, object]
# The result of a write: the rows as the database shows them, or the type of the error.
Outcome = list[str] | type[Exception]

bounded = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    # To shrink an example that fails would take minutes.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Base(DeclarativeBase):
    metadata = sa.MetaData(naming_convention=db.NAMING_CONVENTION)
    type_annotation_map: ClassVar = db.Base.type_annotation_map


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Parameters(Protocol):
    """What SQLAlchemy hands to a default that asks for it."""

    def get_current_parameters(self) -> Mapping[str, object]: ...


class OrNothing(TypeDecorator[str]):
    """A text that writes None in its own way."""

    impl = sa.String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str:
        return "nothing" if value is None else value


def of_row(context: Parameters | None) -> str:
    # Without a context it must not be called, although it could be.
    return f"of {context and context.get_current_parameters().get('place')}"


class Values:
    """A column of each type, and one for each kind of default."""

    place: Mapped[int] = mapped_column(unique=True)

    small: Mapped[int | None] = mapped_column(sa.SmallInteger)
    middle: Mapped[int | None] = mapped_column(sa.Integer)
    large: Mapped[int | None] = mapped_column(sa.BigInteger)
    ratio: Mapped[float | None] = mapped_column(sa.Double)
    price: Mapped[Decimal | None] = mapped_column(sa.Numeric(12, 2))
    exact: Mapped[Decimal | None] = mapped_column(db.ExactDecimal(12, 2))
    flag: Mapped[bool | None]
    words: Mapped[str | None] = mapped_column(sa.Text)
    limited: Mapped[str | None] = mapped_column(sa.String(5))
    colour: Mapped[Colour | None]
    blob: Mapped[bytes | None]
    document: Mapped[Any | None] = mapped_column(sa.JSON)
    binary: Mapped[Any | None] = mapped_column(postgresql.JSONB)
    labels: Mapped[list[str] | None] = mapped_column(postgresql.ARRAY(sa.Text))
    scores: Mapped[list[int] | None] = mapped_column(postgresql.ARRAY(sa.Integer))
    reference: Mapped[UUID | None]
    day: Mapped[date | None]
    hour: Mapped[time | None]
    moment: Mapped[datetime | None]
    aware: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))
    naive: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=False))
    took: Mapped[timedelta | None]
    or_nothing: Mapped[str | None] = mapped_column(OrNothing)
    renamed: Mapped[str | None] = mapped_column("re named %", sa.String(20), key="other")

    by_server: Mapped[str | None] = mapped_column(sa.String(20), server_default="server")
    document_by_server: Mapped[Any | None] = mapped_column(postgresql.JSONB, server_default="{}")
    needed: Mapped[str] = mapped_column(sa.String(20), server_default="needed")
    scalar: Mapped[str | None] = mapped_column(sa.String(20), default="scalar")
    called: Mapped[str | None] = mapped_column(sa.String(20), default=lambda: "called")
    made: Mapped[Any | None] = mapped_column(postgresql.JSONB, default=dict)
    of_row: Mapped[str | None] = mapped_column(sa.String(20), default=of_row)
    by_sql: Mapped[str | None] = mapped_column(sa.String(20), default=sa.func.lower("SQL"))


class Counted(db.BigIntPrimaryKey, Values, Base):
    __tablename__ = "copy_counted"


class Versioned(db.UUIDPrimaryKey, db.Versioned, Values, Base):
    __tablename__ = "copy_versioned"


class Paired(Values, Base):
    __tablename__ = "copy_paired"

    left: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    right: Mapped[str] = mapped_column(sa.String(20), primary_key=True)


class Natural(Values, Base):
    __tablename__ = "copy_natural"

    code: Mapped[str] = mapped_column(sa.String(20), primary_key=True)


class Plain:
    """The rows that the tables below must hold, whatever else the database does."""

    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    words: Mapped[str | None] = mapped_column(sa.String(20))


class Ruled(Plain, Base):
    """INSERT also writes a log."""

    __tablename__ = "copy_ruled"


class Triggered(Plain, Base):
    """Each statement also writes a log."""

    __tablename__ = "copy_triggered"


class Guarded(Plain, Base):
    """Rows without words may not be written."""

    __tablename__ = "copy_guarded"


class Viewed(Plain, Base):
    """A view of another table."""

    __tablename__ = "copy_viewed"


class Identified(Plain, Base):
    """A column that only the database fills."""

    __tablename__ = "copy_identified"

    number: Mapped[int | None] = mapped_column(sa.Integer)


class Generated(Plain, Base):
    """A column that the database computes, which the model does not know."""

    __tablename__ = "copy_generated"

    computed: Mapped[str | None] = mapped_column(sa.String(20))


class Otherwise(Plain, Base):
    """A column of another type in the database."""

    __tablename__ = "copy_otherwise"

    number: Mapped[int | None] = mapped_column(sa.Integer)


class Native(Plain, Base):
    """A type of the database's own."""

    __tablename__ = "copy_native"

    address: Mapped[str | None] = mapped_column(postgresql.MACADDR)


class Short(Plain, Base):
    """A number that psycopg would cut."""

    __tablename__ = "copy_short"

    number: Mapped[float | None] = mapped_column(sa.REAL)


def slow() -> str:
    sleep(0.0005)
    return "slow"


class Slow(Plain, Base):
    """A default that takes its time."""

    __tablename__ = "copy_slow"

    late: Mapped[str] = mapped_column(sa.String(20), default=slow)


class Checked(Plain, Base):
    """A check that takes the server long."""

    __tablename__ = "copy_checked"
    __table_args__ = (
        sa.CheckConstraint("octet_length(repeat(md5(place::text), 10000)) > 0", name="slow"),
    )


class Wrapped(Plain, Base):
    """A value with an expression of SQL round it."""

    __tablename__ = "copy_wrapped"

    secret: Mapped[str | None] = mapped_column(Marked)


class Shared(Plain, Base):
    """A table of several classes."""

    __tablename__ = "copy_shared"
    __mapper_args__: ClassVar = {"polymorphic_on": "kind", "polymorphic_identity": "shared"}

    kind: Mapped[str] = mapped_column(sa.String(20))


class Half(Plain, Base):
    """One of two tables, without a column that names the class."""

    __tablename__ = "copy_half"


class Whole(Half):
    __tablename__ = "copy_whole"

    place: Mapped[int] = mapped_column(sa.ForeignKey(Half.place), primary_key=True)
    more: Mapped[str | None] = mapped_column(sa.String(20))


class Foreign(Plain, Base):
    """A table that lies elsewhere."""

    __tablename__ = "copy_foreign"


class Special(Shared):
    __mapper_args__: ClassVar = {"polymorphic_identity": "special"}


class Joined(Shared):
    """A class in two tables."""

    __tablename__ = "copy_joined"
    __mapper_args__: ClassVar = {"polymorphic_identity": "joined"}

    place: Mapped[int] = mapped_column(sa.ForeignKey(Shared.place), primary_key=True)
    more: Mapped[str | None] = mapped_column(sa.String(20))


# The statements that set up these tables, and the values of their rows.
KEPT: Mapping[type[Any], tuple[Sequence[str], Row]] = {
    Ruled: (
        [
            "CREATE RULE also AS ON INSERT TO copy_ruled DO ALSO"
            " INSERT INTO copy_log VALUES (NEW.words)"
        ],
        {},
    ),
    Triggered: (
        [
            "CREATE FUNCTION write_log() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN INSERT INTO copy_log VALUES ('statement'); RETURN NULL; END $$",
            "CREATE TRIGGER log AFTER INSERT ON copy_triggered EXECUTE FUNCTION write_log()",
        ],
        {},
    ),
    Guarded: (
        [
            "ALTER TABLE copy_guarded ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY readers ON copy_guarded FOR SELECT USING (true)",
            "CREATE POLICY writers ON copy_guarded FOR INSERT WITH CHECK (words <> '')",
            # Row security does not bind the owner.
            "CREATE ROLE copy_user",
            "GRANT ALL ON copy_guarded TO copy_user",
            "GRANT ALL ON copy_log TO copy_user",
            "SET ROLE copy_user",
        ],
        {},
    ),
    Viewed: (
        [
            "ALTER TABLE copy_viewed RENAME TO copy_behind",
            "CREATE VIEW copy_viewed AS SELECT * FROM copy_behind",
        ],
        {},
    ),
    Foreign: (
        [
            "DROP TABLE copy_foreign",
            "CREATE FOREIGN DATA WRAPPER elsewhere",
            "CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere",
            "CREATE FOREIGN TABLE copy_foreign (place bigint, words varchar) SERVER elsewhere",
        ],
        {},
    ),
    Identified: (
        [
            "UPDATE copy_identified SET number = 0",
            "ALTER TABLE copy_identified ALTER number SET NOT NULL",
            "ALTER TABLE copy_identified ALTER number ADD GENERATED ALWAYS AS IDENTITY",
        ],
        {"number": 5},
    ),
    Generated: (
        [
            "ALTER TABLE copy_generated DROP computed",
            "ALTER TABLE copy_generated ADD computed varchar GENERATED ALWAYS AS (words) STORED",
        ],
        {"computed": "x"},
    ),
    Otherwise: (["ALTER TABLE copy_otherwise ALTER number TYPE varchar"], {"number": 5}),
    Native: ([], {"address": "08:00:2b:01:02:03"}),
    Wrapped: ([], {"secret": "x"}),
    Special: ([], {}),
    Joined: ([], {"more": "x"}),
    Whole: ([], {"more": "x"}),
}

# Rules and triggers write to this table.
LOG = sa.table("copy_log", sa.column("entry"))

MODELS: list[type[Any]] = [Counted, Versioned, Paired, Natural]

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=4,
)
zones = st.sampled_from([UTC]) | st.timezones()
moments = st.datetimes(datetime(1000, 1, 1), datetime(9000, 1, 1), timezones=zones)
names = st.text(string.ascii_letters, max_size=9)
USUAL: Mapping[str, st.SearchStrategy[object]] = {
    "small": st.integers(-(2**15), 2**15 - 1),
    "middle": st.integers(-(2**31), 2**31 - 1),
    "large": st.integers(-(2**63), 2**63 - 1),
    "ratio": st.floats(allow_nan=False) | st.integers(0, 9),
    "price": st.decimals(-9999999, 9999999, places=4) | st.integers(0, 9),
    "exact": st.decimals(-9999999, 9999999, places=2),
    "flag": st.booleans(),
    "words": text,
    "limited": st.text(string.ascii_letters, max_size=5),
    "colour": st.sampled_from(Colour),
    "blob": st.binary(max_size=9),
    "document": json,
    "binary": json,
    "labels": st.lists(st.none() | text, max_size=3),
    "scores": st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=3),
    "reference": st.uuids(),
    "day": st.dates(date(1, 1, 1)),
    "hour": st.times(),
    "moment": moments,
    "aware": moments,
    "naive": st.datetimes(datetime(1000, 1, 1)),
    "took": st.timedeltas(timedelta(-9999), timedelta(9999)),
    "or_nothing": names,
    "renamed": names,
}
DEFAULTED: Mapping[str, st.SearchStrategy[object]] = {
    "by_server": names,
    "document_by_server": json,
    "needed": names,
    "scalar": names,
    "called": names,
    "made": json,
}
# These cannot be copied unless every row gives them.
ASKING: Mapping[str, st.SearchStrategy[object]] = {"of_row": names, "by_sql": names}
# Values that do not fit, or that a server may convert.
UNUSUAL: Mapping[str, st.SearchStrategy[object]] = {
    "small": st.sampled_from([2**15, -(2**15) - 1, "5", 1.0, True]),
    "middle": st.sampled_from([2**31, -(2**31) - 1, "5", 2.5, True]),
    "large": st.sampled_from([2**63, "5"]),
    "ratio": st.sampled_from(["0.5", Decimal("0.5"), True]),
    "price": st.sampled_from([0.1, "0.1", Decimal(10) ** 30, True]),
    "flag": st.sampled_from([1, "yes"]),
    "words": st.sampled_from([5, "\0"]),
    "limited": st.sampled_from(["too long a text", 5]),
    "blob": st.sampled_from(["text", bytearray(b"text")]),
    "labels": st.sampled_from([[5], [["a"], ["b"]], "ab"]),
    "scores": st.sampled_from([[2**31], [[1], [2]], ["5"], [1.0]]),
    "reference": st.sampled_from(["0" * 32, "no"]),
    "day": st.sampled_from(["2026-01-02", datetime(2026, 1, 2, 23, tzinfo=UTC)]),
    "hour": st.sampled_from(["12:00", time(12, tzinfo=UTC)]),
    "aware": st.sampled_from([datetime(2026, 1, 2), "2026-01-02", date(2026, 1, 2)]),
    "naive": st.sampled_from([datetime(2026, 1, 2, tzinfo=UTC), date(2026, 1, 2)]),
    "took": st.sampled_from(["1 day", 5]),
}


def rows_of(
    values: Mapping[str, st.SearchStrategy[object]],
    always: Mapping[str, st.SearchStrategy[object]],
) -> st.SearchStrategy[list[dict[str, object]]]:
    """Return lists of rows that give some of the values, or None for them."""
    optional = {name: st.none() | strategy for name, strategy in values.items()}
    return st.lists(st.fixed_dictionaries({**always}, optional=optional), min_size=1, max_size=6)


def numbered(rows: Sequence[Row]) -> list[Row]:
    """Add the keys of all the models that do not make their own."""
    return [{"place": place, **row} for place, row in enumerate(rows)]


def keyed(model: type[Any], rows: Sequence[Row]) -> list[Row]:
    own = {Paired: ("left", "right"), Natural: ("code",)}.get(model, ())
    keys = [{"left": x % 2, "right": f"{x}", "code": f"{x}"} for x in range(len(rows))]
    return [
        {**row, **{name: key[name] for name in own}}
        for key, row in zip(keys, numbered(rows), strict=True)
    ]


@contextmanager
def by_copy(*, least: int = 1) -> Iterator[mock.MagicMock]:
    """Copy so few rows, and note it."""
    with (
        mock.patch.object(copy, "MINIMUM_ROWS", least),
        mock.patch.object(driver, "copy_rows", wraps=driver.copy_rows) as copied,
    ):
        yield copied


@pytest_asyncio.fixture(loop_scope="session")
async def tables(fresh_database: db.Database) -> AsyncGenerator[db.Database]:
    async with fresh_database.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield fresh_database


async def stored(session: AsyncSession, model: type[Any]) -> list[str]:
    """Return the rows as the database shows them, without keys that are made."""
    found = list[str]()
    for table in (*sa.inspect(model).tables, *([LOG] if model in KEPT else [])):
        # A text that no driver reads in its own way.
        row = sa.cast(sa.func.row(*(x for x in table.c if x.name != "id")), sa.Text)
        found += await session.scalars(sa.select(row).order_by(row))
    return found


async def insert(session: AsyncSession, model: type[Any], rows: Sequence[Row]) -> Outcome:
    """Insert rows, and return what it comes to; nothing of it stays."""
    block = await session.begin_nested()
    try:
        assert await db.Repository[model](session).insert_many(rows) == len(rows)
        return await stored(session, model)
    except (sa.exc.SQLAlchemyError, db.DataLayerError) as error:
        return type(error)
    finally:
        await block.rollback()


async def both(
    session: AsyncSession, model: type[Any], rows: Sequence[Row]
) -> tuple[Outcome, bool]:
    """Insert rows in both ways, which must not differ; return that, and whether it copied."""
    with by_copy() as copied:
        outcome = await insert(session, model, rows)
    with by_copy(least=10**9) as standard:
        inserted = await insert(session, model, rows)
        if inserted != outcome:
            # Two wrong rows have an error each, and either may come first.
            alone = [await insert(session, model, [row]) for row in rows]
            assert {type} == {type(inserted), type(outcome)}, (inserted, outcome)
            assert inserted in alone
            assert outcome in alone
    assert not standard.called
    return outcome, copied.called


@pytest.mark.parametrize("model", MODELS)
@bounded
@given(rows=rows_of({**USUAL, **DEFAULTED}, ASKING))
async def test_rows_that_are_copied_are_as_inserted(
    tables: db.Database, model: type[Any], rows: list[Row]
) -> None:
    async with tables.session() as session:
        outcome, copied = await both(session, model, keyed(model, rows))
    assert isinstance(outcome, list)
    assert copied


@pytest.mark.parametrize("model", KEPT)
@settings(bounded, max_examples=5)
@given(rows=rows_of({"words": names}, {}))
async def test_tables_that_do_more_are_as_inserted(
    tables: db.Database, model: type[Any], rows: list[Row]
) -> None:
    statements, given = KEPT[model]
    async with tables.session() as session:
        for statement in ["CREATE TABLE copy_log (entry varchar)", *statements]:
            await session.execute(sa.text(statement))
        _, copied = await both(session, model, [{**given, **row} for row in numbered(rows)])
    assert not copied


@bounded
@given(rows=rows_of({"number": st.floats(width=32) | st.floats()}, {}))
async def test_short_floats_are_as_inserted(tables: db.Database, rows: list[Row]) -> None:
    async with tables.session() as session:
        await both(session, Short, numbered(rows))


@bounded
@given(rows=rows_of({**USUAL, **DEFAULTED, **ASKING}, {}))
async def test_defaults_that_ask_for_sql_or_the_row_are_as_inserted(
    tables: db.Database, rows: list[Row]
) -> None:
    async with tables.session() as session:
        outcome, _ = await both(session, Counted, keyed(Counted, rows))
    assert isinstance(outcome, list)


@pytest.mark.parametrize("name", UNUSUAL)
@settings(bounded, max_examples=12)
@given(data=st.data())
async def test_values_of_other_types_are_as_inserted(
    tables: db.Database, name: str, data: st.DataObject
) -> None:
    rows = data.draw(rows_of({name: UNUSUAL[name] | USUAL[name]}, ASKING))
    async with tables.session() as session:
        await both(session, Counted, keyed(Counted, rows))


async def test_slow_defaults_are_no_slow_statement(tables: db.Database) -> None:
    limits = {"statement_timeout": 0.8, "command_timeout": 2}
    own = db.Database(tables.settings.model_copy(update=limits))
    rows = numbered([{}] * 3_000)
    with by_copy() as copied, mock.patch.object(copy, "COPY_SECONDS", 0.1):
        async with own, own.transaction() as session:
            assert await db.Repository[Slow](session).insert_many(rows) == 3_000
    assert copied.call_count > 1


async def test_a_server_that_checks_for_long_gets_fewer_rows(tables: db.Database) -> None:
    reported = list[int]()
    async with tables.transaction() as session:
        checked = db.Repository[Checked](session)
        await checked.insert_many(numbered([{}] * 18_000), progress=reported.append)
    first, second, *_ = reported
    assert second - first < first / 2


async def test_other_connections_keep_their_prepared_statements(tables: db.Database) -> None:
    one, prepared = (
        sa.select(Natural.words).where(Natural.code == "0"),
        sa.text("""
        SELECT statement, prepare_time FROM pg_prepared_statements
        WHERE statement LIKE 'SELECT copy_natural.words %'
    """),
    )
    async with tables.session() as other:
        # psycopg prepares a statement that it meets for the sixth time.
        for _ in range(6):
            await other.execute(one)
        before = (await other.execute(prepared)).all()
        async with tables.transaction() as session:
            rows = keyed(Natural, [{"words": "new", "of_row": "x", "by_sql": "x"}])
            with by_copy() as copied:
                await db.Repository[Natural](session).upsert_many(rows, on=["code"])
            assert copied.called
        await other.execute(one)
        assert (await other.execute(prepared)).all() == before
        assert len(before) == 1
