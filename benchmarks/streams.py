"""A table read from end to end."""

import sqlalchemy as sa

from .ground import Ground
from .races import HAND, LAYER, ROW_BY_ROW, Race, race
from .tables import User, rows

SOME = sa.select(User).execution_options(yield_per=1000)


async def races(ground: Ground) -> list[Race]:
    """Entities, one after the other."""
    number = max(2 * ground.scale.rows, 1)
    await ground.empty()
    async with ground.database.transaction() as session:
        await ground.layer.users(session).insert_many(rows(number))

    async def layer() -> None:
        count = 0
        async with (
            ground.database.transaction() as session,
            ground.layer.users(session).stream() as users,
        ):
            async for _ in users:
                count += 1
        assert count == number

    async def hand() -> None:
        async with ground.sessions.begin() as session:
            result = await session.stream_scalars(SOME)
            count = 0
            async for users in result.partitions():
                for _ in users:
                    count += 1
        assert count == number

    async def row_by_row() -> None:
        async with ground.sessions.begin() as session:
            count = 0
            async for _ in await session.stream_scalars(SOME):
                count += 1
        assert count == number

    return [
        await race(
            "stream",
            ground.where,
            f"{number:,} rows as entities",
            {LAYER: layer, HAND: hand, ROW_BY_ROW: row_by_row},
            rounds=ground.scale.bulk_rounds,
            seconds=ground.scale.seconds,
            closely=[LAYER, HAND],
        )
    ]
