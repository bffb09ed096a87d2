"""Pages far into a large table: by cursor, by OFFSET, by a comparison of rows."""

from collections.abc import Mapping

import sqlalchemy as sa
from advanced_alchemy.filters import LimitOffset
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from fastcrud import FastCRUD
from pydantic import BaseModel

from .ground import Ground
from .races import (
    ALCHEMY,
    FASTCRUD,
    FIRST,
    HAND,
    LAYER,
    MIXED,
    NULLABLE,
    ONE_COLUMN,
    Race,
    Work,
    race,
)
from .tables import Entry

OFFSET = "this layer, page(), by OFFSET"
SIZE = 50
ORDERS: Mapping[str, tuple[tuple[str, ...], tuple[sa.SQLColumnExpression[object], ...]]] = {
    ONE_COLUMN: (("day",), (Entry.day, Entry.id)),
    MIXED: (("-day", "title"), (Entry.day.desc(), Entry.title, Entry.id)),
    NULLABLE: (("score",), (Entry.score.is_(None), Entry.score, Entry.id)),
}


class AlchemyEntries(SQLAlchemyAsyncRepository[Entry]):
    model_type = Entry


crud_entries: FastCRUD[Entry, BaseModel, BaseModel, BaseModel, BaseModel, BaseModel]
crud_entries = FastCRUD(Entry)


async def races(ground: Ground) -> list[Race]:
    """Pages by cursor in each kind of order."""
    await _fill(ground)
    return [await _pages(ground, order) for order in ORDERS]


async def _fill(ground: Ground) -> None:
    """Many entries, made by the server where it can."""
    number = ground.scale.many
    numbers = {
        "postgresql": f"SELECT n FROM generate_series(1, {number}) AS numbers (n)",
        "sqlite": "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers"
        f" WHERE n < {number}) SELECT n FROM numbers",
        "mysql": f"SELECT seq AS n FROM seq_1_to_{number}",
    }[ground.dialect]
    title = "concat('Title ', n % 977)" if ground.dialect == "mysql" else "'Title ' || n % 977"
    insert = (
        f"INSERT INTO entries (id, day, title, score) SELECT n, floor(n / 20), {title},"
        f" CASE WHEN n % 4 = 0 THEN n * 31 % 1000 END FROM ({numbers}) AS made"
    )
    async with ground.engine.begin() as connection:
        await connection.execute(sa.text(insert))
    await ground.analyze("entries")


async def _pages(ground: Ground, order: str) -> Race:
    sort, columns = ORDERS[order]
    entries, number = ground.layer.entries, ground.scale.many // SIZE // 2
    before = number * SIZE - SIZE
    # The last row of the page before, and the next one.
    async with ground.sessions() as session:
        ordered = sa.select(Entry).order_by(*columns)
        last, after = await session.scalars(ordered.offset(before - 1).limit(2))
    async with ground.database.session() as session:
        found = Entry.id.in_([last.id, after.id])
        cursor = (await entries(session).cursor_page(found, size=1, sort=sort)).next
    assert cursor

    async def first() -> None:
        async with ground.database.session() as session:
            await entries(session).cursor_page(size=SIZE, sort=sort)

    async def layer() -> None:
        async with ground.database.session() as session:
            page = await entries(session).cursor_page(size=SIZE, cursor=cursor, sort=sort)
            assert page.items[0].id == after.id

    contestants: dict[str, Work] = {FIRST: first, LAYER: layer}
    if order == ONE_COLUMN:
        contestants |= _others(ground, last, number)
    return await race(
        f"cursor_page, {order}",
        ground.where,
        f"page {number:,} of {ground.scale.many:,} rows, {SIZE} to a page",
        contestants,
        rounds=max(1, ground.scale.rounds // 10),
        seconds=ground.scale.seconds,
        each=2,
        closely=[FIRST, LAYER, HAND],
    )


def _others(ground: Ground, last: Entry, number: int) -> Mapping[str, Work]:
    by_day = sa.select(Entry).order_by(Entry.day, Entry.id).limit(SIZE)

    async def hand() -> None:
        async with ground.sessions() as session:
            place = sa.tuple_(Entry.day, Entry.id) > sa.tuple_(last.day, last.id)
            (await session.scalars(by_day.where(place))).all()

    async def offset() -> None:
        async with ground.database.session() as session:
            await ground.layer.entries(session).page(number=number, size=SIZE, sort=("day",))

    async def alchemy() -> None:
        async with ground.sessions() as session:
            place = LimitOffset(SIZE, (number - 1) * SIZE)
            await AlchemyEntries(session=session).list_and_count(
                place, order_by=[("day", False), ("id", False)]
            )

    async def fastcrud() -> None:
        # Its cursor has one column, and skips rows where that has ties: so, by its key.
        async with ground.sessions() as session:
            await crud_entries.get_multi_by_cursor(session, cursor=last.id, limit=SIZE)

    return {HAND: hand, OFFSET: offset, ALCHEMY: alchemy, FASTCRUD: fastcrud}
