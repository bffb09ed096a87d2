"""The layer's types: what expressions with them give, and which values their columns take."""

import operator
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal
from enum import IntEnum
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, attributes, mapped_column

from . import db, dialect
from .models import ProbeBase


class Level(IntEnum):
    LOW = 1
    MIDDLE = 5
    HIGH = 10


class Ledger(db.BigIntPrimaryKey, ProbeBase):
    """Numbers, times and a document, of the layer's types."""

    __tablename__ = "probe_ledgers"

    balance: Mapped[Decimal] = mapped_column(db.ExactDecimal(12, 2), default=Decimal(0))
    rate: Mapped[Decimal] = mapped_column(db.ExactDecimal(8, 6), default=Decimal("0.019999"))
    count: Mapped[int] = mapped_column(default=3)
    halves: Mapped[Decimal | None] = mapped_column(db.ExactDecimal(12, 2, rounding=ROUND_HALF_EVEN))
    large: Mapped[Decimal | None] = mapped_column(db.ExactDecimal(dialect.DECIMAL_DIGITS, 2))
    opened: Mapped[datetime] = mapped_column(default=datetime(2024, 1, 1, tzinfo=UTC))
    closed: Mapped[datetime] = mapped_column(default=datetime(2024, 2, 29, 12, 30, tzinfo=UTC))
    term: Mapped[timedelta] = mapped_column(default=timedelta(days=30, hours=1))
    level: Mapped[Level] = mapped_column(db.IntegerEnum(Level), default=Level.MIDDLE)
    document: Mapped[db.JSONObject] = mapped_column(default=dict)


BALANCES = [Decimal("1000.01"), Decimal("-7.55"), Decimal("5.00"), Decimal("0.30")]
RATE, HALF = Decimal("0.019999"), Decimal("0.5")
# Operands of a decimal, and what Python computes with in their place.
NUMBERS: dict[str, tuple[Any, Decimal]] = {
    "four digits": (Decimal("1.0375"), Decimal("1.0375")),
    "three digits": (Decimal("0.003"), Decimal("0.003")),
    "negative": (Decimal("-2.5"), Decimal("-2.5")),
    "the same": (Decimal("1000.01"), Decimal("1000.01")),
    "no digits": (Decimal(2), Decimal(2)),
    "large": (Decimal("3e8"), Decimal("3e8")),
    "int": (2, Decimal(2)),
    "float": (0.1, Decimal("0.1")),
    "column": (Ledger.rate, RATE),
    "int column": (Ledger.count, Decimal(3)),
    "expression": (Ledger.rate + HALF, RATE + HALF),
    "literal": (sa.literal(Decimal("10.006")), Decimal("10.006")),
    "parameter": (sa.bindparam("operand", type_=sa.Numeric()), Decimal("10.006")),
}
PARAMETERS = {"operand": NUMBERS["parameter"][1]}
# The operators that are right with any left operand, but for the last digit of SQLite's floats. It
# has % and / of integers, so these take a decimal column on the left.
ANY_LEFT = {"add", "sub", "mul"}
ARITHMETIC = ["add", "sub", "mul", "truediv", "mod", "floordiv"]
COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]
Operator = Callable[[Any, Any], Any]
# A database has its own number of digits for a quotient; MySQL has the fewest, four more.
ENOUGH = Decimal("0.0001")


@pytest_asyncio.fixture(loop_scope="session")
async def ledgers(session: AsyncSession) -> AsyncGenerator[AsyncSession]:
    session.add_all([Ledger(balance=balance) for balance in BALANCES])
    await session.flush()
    session.expunge_all()
    yield session


async def values(session: AsyncSession, expression: Any) -> list[Any]:
    statement = sa.select(expression).select_from(Ledger).order_by(Ledger.id)
    return [row[0] for row in await session.execute(statement, PARAMETERS)]


async def matching(session: AsyncSession, criterion: sa.ColumnElement[bool]) -> list[Decimal]:
    statement = sa.select(Ledger.balance).where(criterion).order_by(Ledger.id)
    return list(await session.scalars(statement, PARAMETERS))


def is_near(found: object, expected: Decimal) -> bool:
    enough = ENOUGH * max(Decimal(1), abs(expected))
    return isinstance(found, Decimal) and abs(found - expected) <= enough


@pytest.mark.parametrize("name_of_operator", ARITHMETIC)
async def test_arithmetic_with_decimals_is_that_of_python(
    ledgers: AsyncSession, name_of_operator: str
) -> None:
    compute: Operator = getattr(operator, name_of_operator)
    wrong = list[object]()
    for name, (operand, number) in NUMBERS.items():
        foreign = name in {"int column", "literal", "parameter"}
        any_left = name != "parameter" and (name_of_operator in ANY_LEFT or not foreign)
        for swapped in [False, True] if any_left else [False]:
            expected = [compute(*((number, x) if swapped else (x, number))) for x in BALANCES]
            pair = (operand, Ledger.balance) if swapped else (Ledger.balance, operand)
            found = await values(ledgers, compute(*pair))
            if name_of_operator == "truediv":
                right = all(map(is_near, found, expected))
            else:
                right = found == expected and all(isinstance(x, Decimal) for x in found)
                # The database itself has the number that was selected.
                some = Decimal(str(expected[0]))
                same = await matching(ledgers, compute(*pair) == some)
                equal = [b for b, x in zip(BALANCES, expected, strict=True) if x == some]
                right = right and (same == equal or (swapped and foreign))
            if not right:
                wrong.append((name, swapped, found, expected))
    assert wrong == []


@pytest.mark.parametrize("name_of_operator", COMPARISONS)
async def test_comparisons_with_decimals_are_those_of_python(
    ledgers: AsyncSession, name_of_operator: str
) -> None:
    compare: Operator = getattr(operator, name_of_operator)
    numbers = {**NUMBERS, "nearly": (Decimal("1000.014"), Decimal("1000.014"))}
    wrong = [
        (name, found, expected)
        for name, (operand, number) in numbers.items()
        if (found := await matching(ledgers, compare(Ledger.balance, operand)))
        != (expected := [x for x in BALANCES if compare(x, number)])
    ]
    assert wrong == []


async def test_other_operators_of_decimals_are_those_of_python(ledgers: AsyncSession) -> None:
    balance = Ledger.balance
    near, five = Decimal("1000.005"), Decimal("5.00")
    assert await values(ledgers, -balance) == [-x for x in BALANCES]
    assert await values(ledgers, balance**2) == [x**2 for x in BALANCES]
    assert await matching(ledgers, balance.between(5, near)) == [five]
    assert await matching(ledgers, balance.between(5, Decimal("1000.015"))) == [BALANCES[0], five]
    assert await matching(ledgers, balance.in_([near, 5, 0.3])) == [five, Decimal("0.30")]
    assert await matching(ledgers, balance.not_in([near, 5])) == [x for x in BALANCES if x != 5]
    assert await matching(ledgers, balance.is_distinct_from(near)) == BALANCES
    assert await matching(ledgers, balance + balance + balance == Decimal("0.9")) == [BALANCES[3]]
    assert await values(ledgers, sa.cast(balance * Decimal("1.0375"), db.ExactDecimal(12, 1)))
    assert await ledgers.scalar(sa.select(sa.func.sum(balance))) == sum(BALANCES)


async def test_what_is_no_number_is_no_operand(ledgers: AsyncSession) -> None:
    for operand in (Decimal("NaN"), float("inf"), "5", datetime.now(UTC)):
        with pytest.raises(db.InvalidValue, match="the operand of a decimal"):
            await matching(ledgers, Ledger.balance > operand)


async def test_what_the_database_computes_it_rounds(ledgers: AsyncSession) -> None:
    await ledgers.execute(sa.update(Ledger).values(balance=Ledger.balance * Decimal("1.0375")))
    balances = list(await ledgers.scalars(sa.select(Ledger.balance).order_by(Ledger.id)))
    assert balances == [Decimal(x) for x in ("1037.51", "-7.83", "5.19", "0.31")]


# Times.

SPANS = {
    "a day": timedelta(days=1),
    "a microsecond": timedelta(microseconds=1),
    "negative": timedelta(days=-400, seconds=3, microseconds=7),
    "years": timedelta(days=20_000),
}
OPENED = datetime(2024, 2, 28, 23, 59, 59, 999_999, UTC)
CLOSED = datetime(2024, 3, 1, 0, 0, 0, 1, UTC)
EARLY = datetime(1969, 7, 20, 20, 17, 40, 5, UTC)
ELSEWHERE = datetime(2024, 2, 28, tzinfo=timezone(timedelta(hours=5)))
TERM = timedelta(days=30, hours=1)
MOMENTS: dict[str, tuple[Any, datetime]] = {
    "before 1970": (EARLY, EARLY),
    "elsewhere": (ELSEWHERE, ELSEWHERE),
    "column": (Ledger.closed, CLOSED),
    "expression": (Ledger.closed - timedelta(hours=3), CLOSED - timedelta(hours=3)),
}


@pytest_asyncio.fixture(loop_scope="session")
async def opened(session: AsyncSession) -> AsyncGenerator[AsyncSession]:
    session.add(Ledger(opened=OPENED, closed=CLOSED, term=TERM))
    await session.flush()
    session.expunge_all()
    yield session


async def test_arithmetic_with_times_is_that_of_python(opened: AsyncSession) -> None:
    wrong = list[object]()
    pairs: dict[object, tuple[Any, Any]] = {}
    moment: Any
    column: Any = Ledger.opened
    for name, span in {**SPANS, "column": TERM}.items():
        operand: Any = Ledger.term if name == "column" else span
        pairs["+", name] = Ledger.opened + operand, OPENED + span
        pairs["-", name] = Ledger.opened - operand, OPENED - span
        if name != "column":
            pairs["reversed +", name] = span + column, OPENED + span
        pairs["thrice", name] = Ledger.opened + operand - operand + span, OPENED + span
        longer = Ledger.closed - Ledger.opened + operand
        pairs["of a difference", name] = longer, CLOSED - OPENED + span
    for name, (operand, moment) in MOMENTS.items():
        pairs["difference", name] = Ledger.opened - operand, OPENED - moment
        pairs["reversed difference", name] = operand - Ledger.opened, moment - OPENED
        pairs["there and back", name] = operand + (Ledger.opened - operand), OPENED
    for pair, (expression, expected) in pairs.items():
        if (found := await values(opened, expression)) != [expected]:
            wrong.append((pair, found, expected))
        # The database itself has the value that was selected.
        if len(await matching(opened, expression == expected)) != 1:
            wrong.append((pair, "is not itself"))
        if len(await matching(opened, expression > expected - timedelta(microseconds=1))) != 1:
            wrong.append((pair, "is not greater than a smaller one"))
    assert wrong == []


@pytest.mark.parametrize("name_of_operator", COMPARISONS)
async def test_comparisons_with_times_are_those_of_python(
    opened: AsyncSession, name_of_operator: str
) -> None:
    compare: Operator = getattr(operator, name_of_operator)
    same = OPENED.astimezone(ZoneInfo("Asia/Kolkata"))
    wrong = [
        name
        for name, (operand, moment) in {**MOMENTS, "same": (same, same)}.items()
        if bool(await matching(opened, compare(Ledger.opened, operand))) != compare(OPENED, moment)
    ]
    assert wrong == []


async def test_other_operators_of_times_are_those_of_python(opened: AsyncSession) -> None:
    hour = timedelta(hours=1)
    for criterion in (
        Ledger.opened.between(OPENED - hour, OPENED + hour),
        Ledger.opened.between(Ledger.closed - timedelta(days=2), Ledger.closed),
        Ledger.opened.in_([CLOSED, OPENED]),
        Ledger.opened.is_distinct_from(CLOSED),
        Ledger.opened == sa.bindparam("moment", OPENED),
        Ledger.closed - Ledger.opened < timedelta(days=2),
        Ledger.opened - sa.bindparam("moment", CLOSED) < timedelta(0),
    ):
        assert len(await matching(opened, criterion)) == 1, criterion
    assert await values(opened, sa.extract("year", Ledger.opened)) == [2024]
    with pytest.raises(db.InvalidValue, match="no time zone"):
        await matching(opened, Ledger.opened > OPENED.replace(tzinfo=None))


async def test_a_time_in_a_zone_has_none(opened: AsyncSession) -> None:
    bind = opened.get_bind()
    if bind.dialect.name != "postgresql":
        pytest.skip("AT TIME ZONE is PostgreSQL's")
    local = Ledger.opened.op("AT TIME ZONE")("Asia/Kolkata")
    expected = OPENED.astimezone(ZoneInfo("Asia/Kolkata")).replace(tzinfo=None)
    assert await values(opened, local) == [expected]
    assert await values(opened, local - timedelta(hours=1)) == [expected - timedelta(hours=1)]
    assert len(await matching(opened, local == expected)) == 1
    assert await values(opened, local.op("AT TIME ZONE")("Asia/Kolkata")) == [OPENED]


# Money.

REFUSED = {
    "more digits than the scale": (Decimal("1.005"), "or 2 after the point"),
    "more digits than the precision": (Decimal("12345678901"), "more than 12 digits"),
    "not a number": (Decimal("NaN"), "not NaN"),
    "infinite": (Decimal("-Infinity"), "not NaN"),
    "huge": (Decimal("1e999999"), "more than 12 digits"),
    "tiny": (Decimal("1e-999999"), "or 2 after the point"),
    "float": (0.5, "a float is not exact"),
    "text": ("0.50", "not NaN"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_decimal_that_does_not_fit_is_refused(ledgers: AsyncSession, name: str) -> None:
    value, words = REFUSED[name]
    rows = db.Repository[Ledger](ledgers)
    row = (await rows.find())[0]
    balance, key = row.balance, row.id
    for write in (
        lambda: rows.create(balance=value),
        lambda: rows.update(row, balance=value),
        lambda: rows.insert_many([{"balance": value}]),
        lambda: rows.upsert_many([{"id": key, "balance": value}], on=["id"]),
        lambda: rows.update_rows([{"id": key, "balance": value}]),
        lambda: rows.update_many([key], balance=value),
        lambda: ledgers.execute(sa.update(Ledger).values(balance=value)),
        lambda: ledgers.execute(sa.insert(Ledger).values(balance=value)),
    ):
        with pytest.raises(db.InvalidValue, match=words):
            await write()
    assert row.balance == balance
    assert await rows.count() == len(BALANCES)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "5.00"),
        (Decimal("1.5000"), "1.50"),
        (Decimal("-0.10"), "-0.10"),
        (Decimal("1e3"), "1000.00"),
    ],
)
async def test_a_row_has_the_decimal_that_its_object_has(
    session: AsyncSession, value: Any, shown: str
) -> None:
    rows = db.Repository[Ledger](session)
    created = await rows.create(balance=value, large=value)
    updated = await rows.update(await rows.create(balance=1), balance=value)
    assert [str(created.balance), str(updated.balance)] == [shown, shown]
    session.expunge_all()
    assert [str(row.balance) for row in await rows.find()] == [shown, shown]


async def test_a_column_rounds_where_it_says_so(session: AsyncSession) -> None:
    rows = db.Repository[Ledger](session)
    half, even = Decimal("1.005"), Decimal("1.00")
    created = await rows.create(halves=half)
    updated = await rows.update(await rows.create(), halves=half)
    assert [created.halves, updated.halves] == [even, even]
    await rows.insert_many([{"halves": half}])
    await rows.update_many([updated.id], halves=Decimal("1.015"))
    session.expunge_all()
    found = [row.halves for row in await rows.find(order_by=Ledger.id)]
    assert found == [even, Decimal("1.02"), even]


async def test_a_decimal_has_all_digits_of_the_database(session: AsyncSession) -> None:
    most = dialect.DECIMAL_DIGITS
    value = Decimal("9" * (most - 2) + ".99")
    rows = db.Repository[Ledger](session)
    await rows.create(large=value)
    await rows.insert_many([{"large": value}])
    session.expunge_all()
    assert [row.large for row in await rows.find()] == [value, value]
    with pytest.raises(ValueError, match=rf"precision <= {most}"):
        db.ExactDecimal(most + 1, 2)


# Documents.


async def test_a_change_at_the_top_of_a_document_is_noticed(session: AsyncSession) -> None:
    row = Ledger(document={"a": 1, "nested": {"b": 1}})
    session.add(row)
    await session.flush()
    row.document.update(a=2)
    await session.flush()
    await session.refresh(row)
    assert row.document == {"a": 2, "nested": {"b": 1}}
    row.document["c"] = 3
    del row.document["a"]
    await session.flush()
    await session.refresh(row)
    assert row.document == {"c": 3, "nested": {"b": 1}}


async def test_a_change_within_a_document_is_noticed_when_it_is_said(session: AsyncSession) -> None:
    row = Ledger(document={"nested": {"b": 1}})
    session.add(row)
    await session.flush()
    nested: Any = row.document["nested"]
    nested["b"] = 2
    assert not session.is_modified(row)
    attributes.flag_modified(row, "document")
    await session.flush()
    await session.refresh(row)
    assert row.document == {"nested": {"b": 2}}
    row.document["nested"] = {"b": 3}
    await session.flush()
    await session.refresh(row)
    assert row.document == {"nested": {"b": 3}}


# Enums.


async def test_an_enum_of_numbers_sorts_and_compares_as_them(session: AsyncSession) -> None:
    session.add_all([Ledger(level=level) for level in (Level.HIGH, Level.LOW, Level.MIDDLE)])
    await session.flush()
    session.expunge_all()
    levels = sa.select(Ledger.level).order_by(Ledger.level)
    found = list(await session.scalars(levels))
    assert found == sorted(Level)
    assert all(isinstance(level, Level) for level in found)
    for criterion, count in (
        (Ledger.level > Level.LOW, 2),
        (Ledger.level >= 2, 2),
        (Ledger.level < 7, 2),
        (Ledger.level == Level.HIGH, 1),
        (Ledger.level.in_([Level.LOW, Level.HIGH]), 2),
        (Ledger.level.between(Level.LOW, 6), 2),
        (Ledger.level + 1 == 6, 1),
    ):
        assert len(list(await session.scalars(levels.where(criterion)))) == count, criterion
    sums = list(await session.scalars(sa.select(Ledger.level + 2).order_by(Ledger.level)))
    assert sums == [3, 7, 12]
    stored = await session.scalar(sa.select(sa.type_coerce(sa.func.max(Ledger.level), sa.Integer)))
    assert stored == 10
    with pytest.raises(db.InvalidValue):
        await session.execute(sa.update(Ledger).values(level=7))


async def test_the_base_class_takes_an_enum_of_numbers_for_one() -> None:
    class Base(db.Base):
        __abstract__ = True
        metadata = sa.MetaData()

    class Task(db.BigIntPrimaryKey, Base):
        __tablename__ = "probe_tasks"
        level: Mapped[Level]
        former: Mapped[Level | None]

    for column in (Task.__table__.c.level, Task.__table__.c.former):
        assert isinstance(column.type, db.IntegerEnum)
        assert column.type.enum is Level
