"""Filters from outside: names that are declared, values that fit, criteria that the database takes."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from . import db
from .models import Author, Book, Colour, Marked, Person, Sample, Shelf, Size


class Level(IntEnum):
    LOW = -5
    HIGH = 5


class Rank(Enum):
    """Numbers that are no numbers in Python."""

    FIRST = -5
    LAST = 5


class Samples(db.Repository[Sample]):
    filterable = {
        "id": Sample.id,
        "code": Sample.code,
        "number": Sample.number,
        "small": Sample.small,
        "ratio": Sample.ratio,
        "flag": Sample.flag,
        "price": Sample.price,
        "text": Sample.text,
        "colour": Sample.colour,
        "document": Sample.document,
        "day": Sample.day,
        "moment": Sample.moment,
        "reference": Sample.reference,
        "length": sa.func.length(Sample.text, type_=sa.Integer()),
        "marked": sa.type_coerce(Sample.text, Marked()),
        "level": sa.type_coerce(Sample.small, db.IntegerEnum(Level)),
        "rounded": sa.type_coerce(Sample.price, sa.Numeric(6, 2)),
        "double": Sample.price * 2,
        "rank": sa.type_coerce(Sample.text, sa.Enum(Rank, native_enum=False)),
        "clock": sa.type_coerce(Sample.text, sa.Time()),
        "zoned": sa.type_coerce(Sample.text, sa.Time(timezone=True)),
        "word": sa.type_coerce(Sample.text, sa.Enum("ada", "eva", native_enum=False)),
    }


class People(db.Repository[Person]):
    filterable = {"wakes": Person.wakes, "sleeps": Person.sleeps}
    writable = {"name", "wakes", "sleeps", "password"}


class Shelves(db.Repository[Shelf]):
    filterable = {"size": Shelf.size}


KEY = UUID(int=7)
ROWS: list[dict[str, object]] = [
    {
        "code": "a",
        "number": 1,
        "small": -5,
        "ratio": 0.5,
        "flag": True,
        "price": Decimal("9.99"),
        "text": "100%_\\/ Ä",
        "colour": Colour.RED,
        "document": {"a": 1},
        "day": date(2026, 1, 31),
        "moment": datetime(2026, 1, 31, 23, 30, tzinfo=UTC),
        "reference": KEY,
    },
    {
        "code": "b",
        "number": 2**40,
        "small": 5,
        "ratio": -0.5,
        "flag": False,
        "price": Decimal("10"),
        "text": "1000 words, and more",
        "colour": Colour.GREEN,
        "day": date(2026, 2, 1),
        "moment": datetime(2026, 2, 1, tzinfo=UTC),
        "reference": uuid4(),
    },
    {"code": "c"},
]


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        ({}, "abc"),
        ({"code": "a"}, "a"),
        ({"code__ne": "a"}, "bc"),
        ({"code__in": "a,c"}, "ac"),
        ({"code__in": ["a", "b"]}, "ab"),
        ({"code__in": []}, ""),
        ({"number": "1"}, "a"),
        ({"number__gt": "1"}, "b"),
        ({"number__gte": 1}, "ab"),
        ({"number__lt": f"{2**40}"}, "a"),
        ({"number__lte": f"{2**40}", "number__isnull": "false"}, "ab"),
        ({"number__isnull": "true"}, "c"),
        ({"number__isnull": True, "code": "a"}, ""),
        ({"small__in": "-5,4"}, "a"),
        ({"ratio__lt": "0.25"}, "b"),
        ({"flag": "true"}, "a"),
        ({"flag__in": [False]}, "b"),
        ({"price__gte": "10"}, "b"),
        ({"price__lt": "9.99000001"}, "a"),
        ({"text__contains": "%_"}, "a"),
        ({"text__contains": "\\"}, "a"),
        ({"text__contains": "/"}, "a"),
        ({"text__startswith": "100%"}, "a"),
        ({"text__startswith": "100"}, "ab"),
        ({"colour": Colour.RED.value}, "a"),
        ({"colour__in": [Colour.GREEN, Colour.RED.value]}, "ab"),
        ({"document__isnull": "false"}, "a"),
        ({"day__lt": "2026-02-01"}, "a"),
        ({"moment__gte": "2026-02-01T01:00:00+01:00"}, "b"),
        ({"moment__lt": datetime(2026, 2, 1, tzinfo=UTC)}, "a"),
        ({"reference": str(KEY)}, "a"),
        ({"reference__in": [KEY]}, "a"),
        ({"length__gt": "10"}, "b"),
        ({"marked__isnull": "true"}, "c"),
        ({"word": "ada"}, ""),
        ({"level": "-5"}, "a"),
        ({"level__gte": "-5"}, "ab"),
        ({"rounded__lt": "9.994"}, "a"),
        ({"rounded": "9.994"}, ""),
        ({"double__gt": "19.98"}, "b"),
        ({"level__in": [Level.HIGH]}, "b"),
    ],
    ids=str,
)
async def test_rows_are_found_by_the_filters_of_their_columns(
    session: AsyncSession, given: Mapping[str, object], codes: str
) -> None:
    samples = Samples(session)
    await samples.create_many(ROWS)

    found = await samples.find(*samples.filters(given), order_by=Sample.code)

    assert "".join(row.code for row in found) == codes


@pytest.mark.parametrize(
    "name",
    [
        "secret",
        "code__regex",
        "code__lt",
        "flag__gt",
        "colour__contains",
        "number__contains",
        "document",
        "document__in",
        "marked",
        "Code",
        "code__",
        "__isnull",
        "metadata",
    ],
)
async def test_a_filter_that_no_column_offers_is_refused(session: AsyncSession, name: str) -> None:
    with pytest.raises(db.UnknownField, match="number__gte") as raised:
        Samples(session).filters({"code": "a", name: "1"})

    assert raised.value.fields == (name,)
    assert "price__lte" in raised.value.allowed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", "secret"),
        ("number__gte", "1.5"),
        ("number", f"{2**63}"),
        ("number", f"{-(2**63) - 1}"),
        ("small", f"{2**31}"),
        ("number", None),
        ("number__in", "1,secret"),
        ("number__in", list(range(101))),
        ("ratio", "nan"),
        ("ratio__lt", "-inf"),
        ("flag", "secret"),
        ("price", "NaN"),
        ("price__gt", "1e999999"),
        ("text", "secret" * 1000),
        ("text__contains", "a\0b"),
        ("text__startswith", 5),
        ("code", "secret" * 10),
        ("colour", "secret"),
        ("colour__in", "red,secret"),
        ("word", "secret"),
        ("level", "4"),
        ("rank", "4"),
        ("clock", "10:00+05:00"),
        ("zoned", "10:00"),
        ("day", "2026-02-30"),
        ("day__lt", "secret"),
        ("moment", "2026-02-01T00:00:00"),
        ("moment__gte", "secret"),
        ("reference", "secret"),
        ("document__isnull", "secret"),
        ("number__isnull", None),
    ],
)
async def test_a_value_that_does_not_fit_its_filter_is_an_invalid_value(
    session: AsyncSession, name: str, value: object
) -> None:
    with pytest.raises(db.InvalidValue) as raised:
        Samples(session).filters({"code__ne": "a", name: value})

    assert type(raised.value) is db.InvalidValue
    assert raised.value.fields == (name,)
    assert str(raised.value).startswith(f"{name}: ")
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None


async def test_a_repository_offers_no_filter_by_itself(session: AsyncSession) -> None:
    with pytest.raises(db.UnknownField, match="accepts no field"):
        db.Repository[Sample](session).filters({"code": "a"})


async def test_pages_of_filtered_rows_have_only_those(session: AsyncSession) -> None:
    samples = Samples(session)
    await samples.create_many(ROWS)
    where = samples.filters({"number__isnull": "false"})

    assert (await samples.page(*where, size=1)).total == 2
    first = await samples.cursor_page(*where, size=1)
    second = await samples.cursor_page(*where, size=1, cursor=first.next)
    assert {row.code for row in (*first.items, *second.items)} == {"a", "b"}
    assert second.next is None


async def test_a_member_of_an_enum_is_named_by_its_value(session: AsyncSession) -> None:
    shelves = Shelves(session)
    await shelves.insert_many({"size": size} for size in Size)

    found = await shelves.find(*shelves.filters({"size": "small"}))
    assert [row.size for row in found] == [Size.SMALL]
    with pytest.raises(db.InvalidValue):
        shelves.filters({"size": "secret"})


async def test_a_column_of_a_subclass_of_a_repository_is_its_own(session: AsyncSession) -> None:
    class Fewer(Samples):
        filterable = {"code": Sample.code}

    assert Fewer(session).filters({"code": "a"})
    with pytest.raises(db.UnknownField):
        Fewer(session).filters({"number": "1"})


async def test_a_member_of_an_enum_may_have_a_number_as_its_value(session: AsyncSession) -> None:
    samples = Samples(session)
    await samples.create_many({"code": rank.name, "text": rank.name} for rank in Rank)

    for given in ({"rank": "5"}, {"rank__in": "5"}, {"rank": 5}, {"rank": Rank.LAST}):
        assert [row.code for row in await samples.find(*samples.filters(given))] == ["LAST"]


async def test_a_filter_by_a_table_that_is_not_joined_is_refused(session: AsyncSession) -> None:
    class Books(db.Repository[Book]):
        filterable = {"author": Author.name, "title": Book.title}

    class Joined(Books):
        def statement(self) -> sa.Select[Book]:
            return super().statement().join(Book.author)

    author = await db.Repository[Author](session).create(email="ada", name="Ada")
    await db.Repository[Book](session).create(author_id=author.id, title="a")

    with pytest.raises(TypeError, match="does not join"):
        Books(session).filters({"title": "a", "author": "Eva"})
    joined = Joined(session)
    assert await joined.find(*joined.filters({"author": "Eva"})) == []
    assert len(await joined.find(*joined.filters({"author": "Ada", "title": "a"}))) == 1


async def test_two_columns_with_one_filter_are_refused(session: AsyncSession) -> None:
    class Twice(db.Repository[Sample]):
        filterable = {"number": Sample.number, "number__gte": Sample.small}

    with pytest.raises(TypeError, match="number__gte twice"):
        Twice(session).filters({"number": "1"})


async def test_times_and_their_differences_are_compared(session: AsyncSession) -> None:
    people = People(session)
    day, hour = timedelta(hours=8), time(7)
    await people.create_many(
        {"name": name, "wakes": hour, "sleeps": day + timedelta(hours=more), "password": ""}
        for name, more in (("ada", 0), ("eva", 1))
    )

    given = {"sleeps__gt": "PT8H30M", "wakes__lte": "07:00"}
    assert [row.name for row in await people.find(*people.filters(given))] == ["eva"]
