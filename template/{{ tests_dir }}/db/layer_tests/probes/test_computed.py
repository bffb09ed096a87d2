"""Rows that a repository returns can be read without an await, whatever the database computed."""

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from . import db, testing
from .models import Author, HeatMeter, Meter, Sample, WaterMeter

SHAPES: list[tuple[type[Meter], dict[str, Any], dict[str, Any]]] = [
    (Meter, {}, {}),
    (WaterMeter, {"leaks": 4}, {"losses": 40}),
    (HeatMeter, {"rooms": 5}, {"valves": 15}),
]


@pytest.mark.parametrize(("model", "values", "computed"), SHAPES)
async def test_each_column_of_a_row_can_be_read(
    session: AsyncSession,
    model: type[Meter],
    values: dict[str, Any],
    computed: dict[str, Any],
) -> None:
    meters = db.Repository[Meter](session)
    row = await meters.add(model(**values))
    assert (row.count, row.double, row.next, row.unit) == (1, 2, 2, "kWh")
    assert {name: getattr(row, name) for name in computed} == computed

    await meters.update(row, count=3)
    assert (row.count, row.double, row.next) == (3, 6, 4)
    assert row.read_at is not None

    await meters.update(row, count=Meter.count + 1)
    assert (row.count, row.double, row.next) == (4, 8, 5)


@pytest.mark.parametrize(("model", "values", "computed"), SHAPES)
async def test_a_row_beside_joined_subclasses_is_locked(
    session: AsyncSession,
    model: type[Meter],
    values: dict[str, Any],
    computed: dict[str, Any],
) -> None:
    row = await db.Repository[Meter](session).add(model(**values))
    for lock in ("wait", "nowait", "skip_locked"):
        found = await db.Repository[Meter](session).get_one(row.id, for_update=lock)
        assert found is row
        assert {name: getattr(found, name) for name in computed} == computed


async def test_many_rows_can_be_read(session: AsyncSession) -> None:
    rows = await db.Repository[HeatMeter](session).create_many({"rooms": n} for n in (1, 2))
    assert [(row.valves, row.double, row.next, row.unit) for row in rows] == [
        (3, 2, 2, "kWh"),
        (6, 2, 2, "kWh"),
    ]


async def test_nothing_is_read_where_nothing_was_computed(
    session: AsyncSession, query_log: testing.QueryLog
) -> None:
    authors = db.Repository[Author](session)
    has_returning = session.get_bind().dialect.insert_returning
    # MySQL has no RETURNING for an UPDATE: SQLAlchemy itself reads `updated_at` again.
    more = 0 if session.get_bind().dialect.update_returning else 1

    with query_log.expect(1 if has_returning else 2):
        author = await authors.create(email="ada@example.com")
    with query_log.expect(1 + more):
        await authors.update(author, name="Eve")
    assert author.updated_at >= author.created_at


async def test_one_statement_reads_what_was_computed(
    session: AsyncSession, query_log: testing.QueryLog
) -> None:
    meters = db.Repository[Meter](session)
    meter = await meters.add(Meter())
    with query_log.expect(2):
        await meters.update(meter, count=2)
    # A deferred column stays as it was.
    assert "story" in sa.inspect(meter).unloaded
    assert meter.double == 4


async def test_a_row_that_is_deleted_softly_and_restored_can_be_read(session: AsyncSession) -> None:
    meters = db.Repository[Meter](session)
    meter = await meters.add(Meter())
    await meters.delete(meter)
    assert (meter.double, meter.next, meter.read_at is None) == (2, 2, False)
    assert (await meters.restore(meter)).deleted_at is None
    assert (meter.double, meter.next, meter.read_at is None) == (2, 2, False)


async def test_a_computed_column_beside_timestamps_can_be_read(session: AsyncSession) -> None:
    samples = db.Repository[Sample](session)
    sample = await samples.create(code="a")
    assert (sample.copy, sample.served, sample.version) == ("a", 7, 1)
    await samples.update(sample, code=sa.func.upper("bc"))
    assert (sample.code, sample.copy, sample.version) == ("BC", "BC", 2)
