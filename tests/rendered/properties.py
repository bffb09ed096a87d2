"""Properties of any rows: cursors meet each once, and many are written as the ORM would."""

import string
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import ClassVar

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from . import db
from .models import Colour, Sample

# One database serves all examples: each of them undoes what it did.
bounded = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

Row = Mapping[str, object]


class Samples(db.Repository[Sample]):
    sortable: ClassVar = {
        "number": Sample.number,
        "price": Sample.price,
        "colour": Sample.colour,
        "moment": Sample.moment,
        "flag": Sample.flag,
    }


few_rows = st.lists(
    st.fixed_dictionaries(
        {
            "number": st.none() | st.integers(0, 2),
            "price": st.none() | st.integers(0, 2).map(Decimal),
            "colour": st.none() | st.sampled_from(Colour),
            "moment": st.none()
            | st.integers(1, 2).map(lambda day: datetime(2026, 1, day, tzinfo=UTC)),
            "flag": st.none() | st.booleans(),
        }
    ),
    min_size=1,
    max_size=14,
)
sorts = st.lists(st.sampled_from([*Samples.sortable]), max_size=3, unique=True).flatmap(
    lambda names: st.tuples(*(st.sampled_from([name, f"-{name}"]) for name in names))
)
sizes = st.integers(1, 6)


def in_order(rows: Sequence[Sample], sort: Sequence[str]) -> list[str]:
    """Python's own idea of the order: NULL after every value, the key to break ties."""
    rows = sorted(rows, key=lambda row: row.id, reverse=bool(sort) and sort[-1].startswith("-"))
    for name in reversed(sort):

        def place(row: Sample, name: str = name.removeprefix("-")) -> tuple[bool, object]:
            value = getattr(row, name)
            return value is None, 0 if value is None else value

        rows = sorted(rows, key=place, reverse=name.startswith("-"))
    return [row.code for row in rows]


async def fill(session: AsyncSession, rows: Sequence[Row]) -> Samples:
    samples = Samples(session)
    await samples.insert_many({"code": f"{index:03}", **row} for index, row in enumerate(rows))
    return samples


@bounded
@given(rows=few_rows, sort=sorts, size=sizes)
async def test_a_walk_there_and_back_meets_each_row_once(
    database: db.Database, rows: list[Row], sort: tuple[str, ...], size: int
) -> None:
    async with database.session() as session:
        samples = await fill(session, rows)
        order = in_order(await samples.find(), sort)

        page = await samples.cursor_page(size=size, sort=sort)
        there = [row.code for row in page.items]
        while page.next:
            page = await samples.cursor_page(size=size, sort=sort, cursor=page.next)
            there += [row.code for row in page.items]
        back = [row.code for row in reversed(page.items)]
        while page.previous:
            page = await samples.cursor_page(size=size, sort=sort, cursor=page.previous)
            back += [row.code for row in reversed(page.items)]

        assert there == order
        assert back == order[::-1]


@bounded
@given(rows=few_rows, new=few_rows, sort=sorts, size=sizes, data=st.data())
async def test_a_row_that_stays_is_met_once_while_others_come_and_go(
    database: db.Database,
    rows: list[Row],
    new: list[Row],
    sort: tuple[str, ...],
    size: int,
    data: st.DataObject,
) -> None:
    async with database.session() as session:
        samples = await fill(session, rows)
        gone: set[str] = set()
        coming = list(enumerate(new))
        page = await samples.cursor_page(size=size, sort=sort)
        met = [row.code for row in page.items]
        while page.next:
            index = data.draw(st.integers(0, len(rows) - 1))
            gone.add(f"{index:03}")
            await session.execute(sa.delete(Sample).where(Sample.code == f"{index:03}"))
            if coming:
                number, row = coming.pop()
                await samples.insert_many([{"code": f"new {number}", **row}])
            page = await samples.cursor_page(size=size, sort=sort, cursor=page.next)
            met += [row.code for row in page.items]

        stayed = [f"{index:03}" for index in range(len(rows)) if f"{index:03}" not in gone]
        assert len(met) == len(set(met))
        assert set(stayed) <= set(met)


# PostgreSQL keeps no NUL, and nothing keeps half of a pair.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
values = st.fixed_dictionaries(
    {},
    optional={
        "number": st.none() | st.integers(-(2**63), 2**63 - 1),
        "small": st.none() | st.integers(-(2**31), 2**31 - 1),
        "ratio": st.none() | st.floats(-1e300, 1e300, allow_subnormal=False),
        "flag": st.none() | st.booleans(),
        "price": st.none() | st.decimals(-99999999999, 99999999999, places=4),
        "text": st.none() | text,
        "blob": st.none() | st.binary(max_size=30),
        "colour": st.none() | st.sampled_from(Colour),
        "document": st.none() | st.dictionaries(text, json, max_size=3),
        "day": st.none() | st.dates(date(1, 1, 1)),
        "moment": st.none()
        | st.datetimes(datetime(1000, 1, 1), datetime(9000, 1, 1), timezones=st.timezones()),
        # MariaDB refuses a UUID whose version and variant no standard has.
        "reference": st.none() | st.uuids(version=4),
        "constant": st.none() | st.text(string.ascii_letters, max_size=20),
        "computed": st.none() | st.dictionaries(text, json, max_size=2),
        "served": st.none() | st.integers(0, 9),
    },
)
COLUMNS = [
    column.key
    for column in sa.inspect(Sample).column_attrs
    if column.key not in ("id", "created_at", "updated_at")
]


async def stored(session: AsyncSession) -> list[dict[str, object]]:
    session.expunge_all()
    rows = await Samples(session).find(order_by=Sample.code)
    nulls = await session.execute(
        sa.select(sa.type_coerce(Sample.document, sa.Text).is_(None)).order_by(Sample.code)
    )
    return [
        {name: getattr(row, name) for name in COLUMNS} | {"document is NULL": bool(null)}
        for row, null in zip(rows, nulls.scalars(), strict=True)
    ]


def named(rows: Sequence[Row]) -> list[Row]:
    return [{"code": f"{index:03}", **row} for index, row in enumerate(rows)]


@bounded
@given(rows=st.lists(values, max_size=8))
async def test_rows_inserted_together_are_as_the_orm_inserts_them(
    database: db.Database, rows: list[Row]
) -> None:
    async with database.session() as session:
        session.add_all([Sample(**row) for row in named(rows)])
        await session.flush()
        orm = await stored(session)
        await session.rollback()
    async with database.session() as session:
        await Samples(session).insert_many(named(rows))
        assert await stored(session) == orm


@bounded
@given(old=st.lists(values, max_size=5), new=st.lists(values, max_size=8))
async def test_rows_upserted_together_are_as_the_orm_leaves_them(
    database: db.Database, old: list[Row], new: list[Row]
) -> None:
    # What the database fills in where a row gives None is for an insert alone.
    new = [{name: x for name, x in row.items() if x is not None} for row in new]
    async with database.session() as session:
        samples = Samples(session)
        await samples.create_many(named(old))
        for row in named(new):
            found = await samples.find_one_or_none(Sample.code == row["code"])
            if found is None:
                await samples.create(**row)
            else:
                changed = {name: x for name, x in row.items() if name != "code"}
                for name, value in changed.items():
                    setattr(found, name, value)
                await session.flush()
        orm = await stored(session)
        await session.rollback()
    async with database.session() as session:
        samples = Samples(session)
        await samples.create_many(named(old))
        await samples.upsert_many(named(new), on=["code"])
        bulk = await stored(session)
    # The ORM does not count a change that changes nothing.
    for row in (*orm, *bulk):
        del row["version"], row["stamped"]
    assert bulk == orm


async def test_nul_is_refused_by_both_or_by_none(database: db.Database) -> None:
    async def insert(session: AsyncSession) -> None:
        await Samples(session).insert_many([{"code": "a", "text": "\0"}])

    async def add(session: AsyncSession) -> None:
        await Samples(session).create(code="a", text="\0")

    outcomes: list[object] = []
    for write in (add, insert):
        async with database.session() as session:
            try:
                await write(session)
                outcomes.append(None)
            except (DBAPIError, db.InvalidValue) as error:
                outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]
