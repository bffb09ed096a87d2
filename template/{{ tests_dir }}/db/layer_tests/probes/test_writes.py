"""Every type of column comes out of every way to write as it does of `session.add`."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.mutable import MutableList
from sqlalchemy.orm import Mapped
from sqlalchemy.types import NullType, PickleType

from . import db, dialect
from .models import ADDRESS, AsPath, Colour, Marked, ProbeBase, Size
from .test_types import Level

ODD_TEXT = """Ünï 🛒 'one' "two" \\ %s %(x)s :x {x} \n\t"""
LARGE = 2**62 + 1
DOCUMENT: dict[str, object] = {"name": ODD_TEXT, "list": [1, 2.5, None, True, {"deep": []}], "": {}}
NUMBERS = sa.JSON().with_variant(postgresql.ARRAY(sa.Integer), "postgresql")
TEXTS = sa.JSON().with_variant(postgresql.ARRAY(sa.Text), "postgresql")
KEY = UUID("0190a5c8-0000-7000-8000-00000000abcd")
EAST = timezone(timedelta(hours=5, minutes=30))
ROUNDED = db.ExactDecimal(12, 2, rounding=ROUND_HALF_EVEN)

# Each type, and values of it.
TYPES: dict[str, tuple[Any, Sequence[object]]] = {
    "integer": (sa.Integer(), [0, -1, 2**31 - 1]),
    "small": (sa.SmallInteger(), [0, -32768]),
    "big": (sa.BigInteger(), [0, LARGE, -LARGE]),
    "double": (sa.Double(), [0.1, -1e300, 5.0]),
    "single": (sa.Float(24), [0.5, -2.0]),
    "numeric": (sa.Numeric(12, 2), [Decimal("1.10"), Decimal(-5)]),
    "exact": (db.ExactDecimal(12, 2), [Decimal("1.10"), Decimal("-0.010"), 5]),
    "rounded": (ROUNDED, [Decimal("1.005"), Decimal("1.015"), 7]),
    "largest": (
        db.ExactDecimal(dialect.DECIMAL_DIGITS, 2),
        [Decimal("9" * (dialect.DECIMAL_DIGITS - 2) + ".99")],
    ),
    "boolean": (sa.Boolean(), [True, False]),
    "string": (sa.String(80), ["", "a", ODD_TEXT]),
    "text": (sa.Text(), ["", ODD_TEXT, "x" * 10_000]),
    "unicode": (sa.Unicode(80), [ODD_TEXT]),
    "fixed": (sa.CHAR(3), ["abc"]),
    "binary": (sa.LargeBinary(), [b"", b"\0\xff\\x'\n"]),
    "date": (sa.Date(), [date(2024, 2, 29), date(1066, 10, 14)]),
    "time": (sa.Time(), [time(0), time(23, 59, 59)]),
    "naive": (sa.DateTime(), [datetime(2024, 2, 29, 1, 2, 3)]),
    "moment": (
        db.UTCDateTime(),
        [datetime(2024, 2, 29, 1, 2, 3, 456_789, EAST), datetime(1969, 7, 20, tzinfo=UTC)],
    ),
    "interval": (sa.Interval(), [timedelta(days=400, hours=1), timedelta(0)]),
    "uuid": (sa.Uuid(), [KEY]),
    "uuid_text": (sa.Uuid(as_uuid=False), [str(KEY)]),
    "json": (sa.JSON(), [DOCUMENT, [1, "two"], "text", 5, False]),
    "json_or_null": (sa.JSON(none_as_null=True), [DOCUMENT, []]),
    "object": (db.Base.type_annotation_map[db.JSONObject], [DOCUMENT, {}]),
    "tracked_list": (MutableList.as_mutable(sa.JSON()), [[1, {"a": 2}], []]),
    "dialects_json": (dialect.JSON, [DOCUMENT, [None]]),
    "text_enum": (sa.Enum(Colour, native_enum=False), [Colour.GREEN]),
    "enum_of_names": (sa.Enum(Size), [Size.SMALL, Size.LARGE]),
    "integer_enum": (db.IntegerEnum(Level), [Level.LOW, 10]),
    "pickle": (PickleType(), [{"a": (1, {2})}, 0]),
    "path": (AsPath(), [PurePosixPath("a/b"), PurePosixPath("/")]),
    "expression": (Marked(), ["secret", ""]),
    "address": (ADDRESS, ["08:00:2b:01:02:03"]),
    "numbers": (NUMBERS, [[1, 2, 3], []]),
    "texts": (TEXTS, [["a", ODD_TEXT], [""]]),
}


# A table that has a column of one of these takes no COPY on PostgreSQL.
UNCOPIED = {"enum_of_names", "expression", "address"}


def table(name: str, types: Collection[str]) -> sa.Table:
    return sa.Table(
        name,
        ProbeBase.metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("note", sa.String(10)),
        *(sa.Column(name, TYPES[name][0]) for name in types),
    )


class Specimen(ProbeBase):
    """A column of each type that COPY takes."""

    __table__ = table("probe_specimens", [name for name in TYPES if name not in UNCOPIED])

    id: Mapped[int]


class Rarity(ProbeBase):
    """A column of each other type."""

    __table__ = table("probe_rarities", sorted(UNCOPIED))

    id: Mapped[int]


# With this many PostgreSQL's drivers use COPY.
MANY = 1000

Rows = db.Repository[Any]
Write = Callable[[Rows, list[dict[str, Any]]], Awaitable[object]]


def repository(session: AsyncSession, name: str) -> Rows:
    """Return the repository of the model that has a column of this name."""
    if name in UNCOPIED:
        return db.Repository[Rarity](session)
    return db.Repository[Specimen](session)


async def add(rows: Rows, values: list[dict[str, Any]]) -> None:
    rows.session.add_all([rows.model(**each) for each in values])
    await rows.session.flush()


async def create(rows: Rows, values: list[dict[str, Any]]) -> None:
    await rows.create_many(values)


async def insert(rows: Rows, values: list[dict[str, Any]]) -> None:
    await rows.insert_many(values)


async def upsert(rows: Rows, values: list[dict[str, Any]]) -> None:
    # One half is inserted, and the other is changed.
    await rows.insert_many([{"id": each["id"]} for each in values[::2]])
    await rows.upsert_many(values, on=["id"])


async def update(rows: Rows, values: list[dict[str, Any]]) -> None:
    await rows.insert_many([{"id": each["id"]} for each in values])
    await rows.update_rows(values)


WAYS: dict[str, Write] = {
    "session.add": add,
    "create": create,
    "insert_many": insert,
    "upsert_many": upsert,
    "update_rows": update,
}
BULK = {"insert_many", "upsert_many", "update_rows"}


async def written(
    session: AsyncSession, way: str, values: list[dict[str, Any]], name: str
) -> list[tuple[object, ...]]:
    """Return what is read after a write, what the database has, and whether that is NULL."""
    async with session.begin_nested() as savepoint:
        written_to = repository(session, name)
        await WAYS[way](written_to, values)
        session.expunge_all()
        column: Any = getattr(written_to.model, name)
        raw = sa.type_coerce(column, NullType()).label("raw")
        # JSON has a null of its own.
        is_null = column.is_(sa.null()).label("is_null")
        statement = sa.select(column, raw, is_null).order_by(written_to.model.id)
        rows = await session.execute(statement)
        found = [tuple[object, ...](row) for row in rows]
        await savepoint.rollback()
    return found


@pytest.mark.parametrize("name", TYPES)
async def test_a_value_is_written_as_session_add_writes_it(
    session: AsyncSession, name: str
) -> None:
    values = [*TYPES[name][1], None]
    few = [{"id": key, "note": "a", name: value} for key, value in enumerate(values)]
    count = MANY if session.get_bind().dialect.name == "postgresql" else len(values)
    many = [{**few[key % len(few)], "id": key} for key in range(count)]
    expected = await written(session, "session.add", few, name)
    assert len(expected) == len(values)
    wrong: dict[str, object] = {}
    for way in WAYS:
        for rows in (few, many) if way in BULK else (few,):
            found = await written(session, way, rows, name)
            due = [expected[key % len(few)] for key in range(len(rows))]
            if found != due:
                first = next(pair for pair in zip(found, due, strict=True) if pair[0] != pair[1])
                wrong[f"{way} of {len(rows)}"] = first
    assert wrong == {}


@pytest.mark.parametrize("name", TYPES)
async def test_a_row_in_memory_has_what_the_database_has(session: AsyncSession, name: str) -> None:
    rows = repository(session, name)
    for value in TYPES[name][1]:
        await session.execute(sa.delete(rows.model))
        session.expunge_all()
        created = await rows.create(id=1, **{name: value})
        updated = await rows.update(await rows.create(id=2), **{name: value})
        in_memory = [getattr(row, name) for row in (created, updated)]
        session.expunge_all()
        assert in_memory == [getattr(row, name) for row in await rows.find()]


def test_many_types_and_ways_are_compared() -> None:
    assert len(TYPES) >= 25
    assert len(WAYS) == 5
    assert {*TYPES} < {*Specimen.__table__.c.keys(), *Rarity.__table__.c.keys()}
