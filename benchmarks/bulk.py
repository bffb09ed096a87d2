"""Many rows at once: inserted, inserted or updated, changed and deleted, in one transaction."""

from collections.abc import Iterator
from uuid import UUID

import sqlalchemy as sa
from sqlmodel.ext.asyncio.session import AsyncSession as SQLModelSession

from . import hand
from .ground import Ground
from .races import ALCHEMY, CORE, FASTCRUD, HAND, LAYER, SQLMODEL, Race, race
from .single import AlchemyUsers, crud_users
from .tables import AlchemyUser, Row, User, UserCreate, Users, rows, uuid7


async def races(ground: Ground) -> list[Race]:
    """Insert and upsert; by key update and delete."""
    return [
        await _insert(ground),
        await _upsert(ground),
        await _update(ground),
        await _delete(ground),
    ]


async def _insert(ground: Ground) -> Race:
    number, by_hand = ground.scale.rows, hand.writer(ground)

    async def layer() -> None:
        async with ground.database.transaction() as session:
            await ground.layer.users(session).insert_many(rows(number))

    async def core() -> None:
        async with ground.sessions.begin() as session:
            await session.execute(sa.insert(User), list(rows(number)))

    async def alchemy() -> None:
        async with ground.sessions() as session:
            users = [AlchemyUser(**row) for row in rows(number)]
            await AlchemyUsers(session=session).add_many(users, auto_commit=True)

    async def fastcrud() -> None:
        async with ground.sessions() as session:
            users = [UserCreate.model_validate({"id": uuid7(), **row}) for row in rows(number)]
            await crud_users.upsert_multi(session, [*users], commit=True)

    async def sqlmodel() -> None:
        async with SQLModelSession(ground.engine) as session:
            session.add_all([Users.model_validate(row) for row in rows(number)])
            await session.commit()

    return await race(
        "insert_many",
        ground.where,
        f"{number:,} rows from a generator of dicts",
        {
            LAYER: layer,
            HAND: lambda: by_hand.insert(rows(number)),
            CORE: core,
            ALCHEMY: alchemy,
            FASTCRUD: fastcrud,
            SQLMODEL: sqlmodel,
        },
        rounds=ground.scale.bulk_rounds,
        seconds=ground.scale.seconds,
        before=ground.empty,
        closely=[LAYER, HAND],
    )


async def _upsert(ground: Ground) -> Race:
    number, by_hand = ground.scale.rows, hand.writer(ground)

    async def half_of_them() -> None:
        await ground.empty()
        async with ground.sessions.begin() as session:
            await session.execute(sa.insert(User), list(rows(number // 2)))

    async def layer() -> None:
        async with ground.database.transaction() as session:
            await ground.layer.users(session).upsert_many(_changed(number), on=("email",))

    async def alchemy() -> None:
        async with ground.sessions() as session:
            users = [AlchemyUser(**row) for row in _changed(number)]
            await AlchemyUsers(session=session).upsert_many(
                users, match_fields=["email"], auto_commit=True
            )

    return await race(
        "upsert_many",
        ground.where,
        f"{number:,} rows, half of them there",
        {LAYER: layer, HAND: lambda: by_hand.upsert(_changed(number)), ALCHEMY: alchemy},
        rounds=ground.scale.bulk_rounds,
        seconds=ground.scale.seconds,
        before=half_of_them,
        closely=[LAYER, HAND],
    )


async def _update(ground: Ground) -> Race:
    number, keys, by_hand = ground.scale.keys, list[UUID](), hand.writer(ground)
    await _fill(ground, keys)

    def changes() -> Iterator[Row]:
        for index, key in enumerate(keys[:number]):
            yield {"id": key, "name": f"Name {index}"}

    async def layer() -> None:
        async with ground.database.transaction() as session:
            await ground.layer.users(session).update_rows(changes())

    async def orm() -> None:
        async with ground.sessions.begin() as session:
            await session.execute(sa.update(User), list(changes()))

    async def alchemy() -> None:
        async with ground.sessions() as session:
            users = [AlchemyUser(**row) for row in changes()]
            await AlchemyUsers(session=session).update_many(users, auto_commit=True)

    return await race(
        "update_rows",
        ground.where,
        f"{number:,} keys, each with a value of its own",
        {
            LAYER: layer,
            HAND: lambda: by_hand.update(changes()),
            "execute(update(User), rows)": orm,
            ALCHEMY: alchemy,
        },
        rounds=ground.scale.bulk_rounds,
        seconds=ground.scale.seconds,
        closely=[LAYER, HAND],
    )


async def _delete(ground: Ground) -> Race:
    number, keys, by_hand = ground.scale.keys, list[UUID](), hand.writer(ground)

    async def refill() -> None:
        await _fill(ground, keys)

    async def layer() -> None:
        async with ground.database.transaction() as session:
            await ground.layer.users(session).delete_many(keys[:number])

    async def alchemy() -> None:
        async with ground.sessions() as session:
            await AlchemyUsers(session=session).delete_many([*keys[:number]], auto_commit=True)

    return await race(
        "delete_many",
        ground.where,
        f"{number:,} keys",
        {LAYER: layer, HAND: lambda: by_hand.delete(keys[:number]), ALCHEMY: alchemy},
        rounds=ground.scale.bulk_rounds,
        seconds=ground.scale.seconds,
        before=refill,
        closely=[LAYER, HAND],
    )


async def _fill(ground: Ground, keys: list[UUID]) -> None:
    """Twice as many users as there are keys to change."""
    await ground.empty()
    async with ground.sessions.begin() as session:
        await session.execute(sa.insert(User), list(rows(2 * ground.scale.keys)))
        keys[:] = await session.scalars(sa.select(User.id).order_by(User.email))
    # Else how a statement is planned would depend on when the server last looked at the table.
    await ground.analyze("users")


def _changed(number: int) -> Iterator[Row]:
    return rows(number, name="Grace Hopper")
