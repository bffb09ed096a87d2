"""Many rows of a wide table: 16 columns with JSONB, arrays, NULLs and a key of two columns."""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from . import hand
from .ground import Ground
from .races import CORE, HAND, LAYER, STANDARD, WIDE, Race, race
from .tables import TIMESTAMP, Row, rows, uuid7

# One row fewer than the layer needs to choose COPY.
SMALL = 999


class Base(DeclarativeBase):
    pass


class Event(Base):
    __tablename__ = "events"

    tenant: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    token: Mapped[UUID] = mapped_column(default=uuid7)
    kind: Mapped[str] = mapped_column(sa.String(30))
    title: Mapped[str] = mapped_column(sa.Text)
    comment: Mapped[str | None] = mapped_column(sa.Text)
    amount: Mapped[Decimal] = mapped_column(sa.Numeric(12, 2))
    tax: Mapped[Decimal | None] = mapped_column(sa.Numeric(12, 4))
    weight: Mapped[float | None] = mapped_column(sa.Double)
    is_open: Mapped[bool]
    day: Mapped[date]
    happened_at: Mapped[datetime] = mapped_column(TIMESTAMP)
    closed_at: Mapped[datetime | None] = mapped_column(TIMESTAMP)
    data: Mapped[dict[str, object]] = mapped_column(JSONB)
    labels: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    scores: Mapped[list[int] | None] = mapped_column(ARRAY(sa.Integer))


COLUMNS = tuple(column.name for column in Event.__table__.columns)
TYPES = (
    *("int8", "int8", "uuid", "text", "text", "text", "numeric", "numeric", "float8"),
    *("bool", "date", "timestamptz", "timestamptz", "jsonb", "text[]", "int4[]"),
)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


async def races(ground: Ground) -> list[Race]:
    """Insert into the wide table by COPY, and into a narrow one by the standard path."""
    if ground.dialect != "postgresql":
        return []
    async with ground.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    return [await _wide(ground), await _standard(ground)]


async def _wide(ground: Ground) -> Race:
    number = ground.scale.rows

    async def layer() -> None:
        async with ground.database.transaction() as session:
            await ground.layer.repository(Event)(session).insert_many(_events(number))

    async def core() -> None:
        async with ground.sessions.begin() as session:
            await session.execute(sa.insert(Event), list(_events(number)))

    async def empty() -> None:
        async with ground.engine.begin() as connection:
            await connection.execute(sa.text("TRUNCATE events"))

    return await race(
        WIDE,
        ground.where,
        f"{number:,} rows of 16 columns from a generator of dicts",
        {LAYER: layer, HAND: lambda: _copy(ground, _events(number)), CORE: core},
        rounds=ground.scale.bulk_rounds,
        seconds=ground.scale.seconds,
        before=empty,
        closely=[LAYER, HAND],
    )


async def _standard(ground: Ground) -> Race:
    number, by_hand = ground.scale.rows, hand.writer(ground)

    async def layer() -> None:
        async with ground.database.transaction() as session:
            users, new = ground.layer.users(session), rows(number)
            while some := list(islice(new, SMALL)):
                await users.insert_many(some)

    return await race(
        STANDARD,
        ground.where,
        f"{number:,} rows, {SMALL} at a time, which are too few for COPY",
        {LAYER: layer, HAND: lambda: by_hand.insert(rows(number))},
        rounds=ground.scale.bulk_rounds,
        seconds=ground.scale.seconds,
        before=ground.empty,
        closely=[LAYER, HAND],
    )


def _events(number: int) -> Iterator[Row]:
    """Events, of which every value that may be missing is missing in its own rhythm."""
    for index in range(number):
        moment = BEGIN + timedelta(seconds=index)
        yield {
            "tenant": index % 7,
            "number": index,
            "kind": "invoice",
            "title": f"Invoice {index}",
            "comment": None if index % 2 else "paid late",
            "amount": Decimal(index) / 100,
            "tax": None if index % 3 else Decimal(index) / 10000,
            "weight": None if index % 5 else index / 3,
            "is_open": index % 10 == 0,
            "day": moment.date(),
            "happened_at": moment,
            "closed_at": None if index % 4 else moment,
            "data": {"source": "import", "line": index},
            "labels": ["new", "checked"],
            "scores": None if index % 6 else [index, index + 1],
        }


def _tuples(
    rows: Iterable[Row], encode: Callable[[object], object]
) -> Iterator[tuple[object, ...]]:
    for row in rows:
        yield tuple(
            uuid7() if name == "token" else encode(row[name]) if name == "data" else row[name]
            for name in COLUMNS
        )


async def _copy(ground: Ground, events: Iterable[Row]) -> None:
    """Copy rows as somebody who knows the driver would."""
    if ground.layer.driver == "asyncpg":
        async with hand.ByAsyncpg(ground).transaction() as raw:
            records = _tuples(events, json.dumps)
            await raw.copy_records_to_table("events", records=records, columns=COLUMNS)
        return
    columns = ", ".join(COLUMNS)
    async with hand.ByPsycopg(ground).cursor() as cursor:
        copying = f"COPY events ({columns}) FROM STDIN (FORMAT BINARY)".encode()
        async with cursor.copy(copying) as copy:
            copy.set_types(TYPES)
            for values in _tuples(events, hand.as_json):
                await copy.write_row(values)
