"""One row, or fifty: each time in a session of its own, as in a request."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Protocol
from uuid import UUID

import sqlalchemy as sa
from advanced_alchemy.filters import LimitOffset
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from fastcrud import FastCRUD
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession as SQLModelSession

from .ground import Ground, plain_engine
from .races import ALCHEMY, DRIVER, FASTCRUD, HAND, LAYER, READER, SQLMODEL, Race, Work, race
from .tables import AlchemyUser, User, UserCreate, Users, UserUpdate, rows, uuid7

ROWS = 10_000
# So many operations are measured at once.
EACH = 10


class AlchemyUsers(SQLAlchemyAsyncRepository[AlchemyUser]):
    model_type = AlchemyUser


crud_users: FastCRUD[User, UserCreate, UserUpdate, UserUpdate, UserUpdate, UserCreate]
crud_users = FastCRUD(User)


class RawConnection(Protocol):
    """What is used of a connection of asyncpg."""

    async def fetchrow(self, query: str, *values: object) -> object: ...
    async def fetch(self, query: str, *values: object) -> Sequence[object]: ...
    async def execute(self, query: str, *values: object) -> str: ...


@asynccontextmanager
async def raw_connection(ground: Ground) -> AsyncGenerator[RawConnection]:
    """A connection of asyncpg, held."""
    async with ground.engine.connect() as connection:
        raw: RawConnection | None = (await connection.get_raw_connection()).driver_connection
        assert raw
        yield raw


async def races(ground: Ground) -> list[Race]:
    """Get, find, create and update, and reading in a reader()."""
    number = min(ROWS, ground.scale.rows)
    await ground.empty()
    async with ground.sessions.begin() as session:
        await session.execute(sa.insert(User), list(rows(number)))
        keys = list(await session.scalars(sa.select(User.id)))
    async with raw_connection(ground) as raw:
        subjects: list[tuple[str, str, Mapping[str, Work]]] = [
            ("get", "one row by its key", _get(ground, keys)),
            ("find", f"50 of {number:,} rows, filtered and sorted", _find(ground)),
            ("create", "one row, committed", _create(ground)),
            ("update", "one row, read, changed, committed", _update(ground, keys)),
        ]
        if ground.layer.driver == "asyncpg":
            alone = _alone(raw, keys)
            subjects = [(name, note, {**by, DRIVER: alone[name]}) for name, note, by in subjects]
        return [
            await race(
                name,
                ground.where,
                note,
                contestants,
                rounds=ground.scale.rounds,
                seconds=ground.scale.seconds,
                each=EACH,
                closely=[LAYER, HAND, READER],
            )
            for name, note, contestants in subjects
        ] + [await _ping(ground, keys)]


def _get(ground: Ground, keys: Sequence[UUID]) -> Mapping[str, Work]:
    database, users = ground.database, ground.layer.users
    sessions, engine = ground.sessions, ground.engine
    choice = Random(1)

    async def layer() -> None:
        async with database.session() as session:
            assert await users(session).get(choice.choice(keys))

    async def reader() -> None:
        async with database.reader() as session:
            assert await users(session).get(choice.choice(keys))

    async def hand() -> None:
        async with sessions() as session:
            assert await session.get(User, choice.choice(keys))

    async def alchemy() -> None:
        async with sessions() as session:
            await AlchemyUsers(session=session).get(choice.choice(keys))

    async def fastcrud() -> None:
        async with sessions() as session:
            assert await crud_users.get(session, id=choice.choice(keys))

    async def sqlmodel() -> None:
        async with SQLModelSession(engine) as session:
            assert await session.get(Users, choice.choice(keys))

    return {
        LAYER: layer,
        READER: reader,
        HAND: hand,
        ALCHEMY: alchemy,
        FASTCRUD: fastcrud,
        SQLMODEL: sqlmodel,
    }


def _find(ground: Ground) -> Mapping[str, Work]:
    database, users = ground.database, ground.layer.users
    sessions, engine = ground.sessions, ground.engine

    async def layer() -> None:
        async with database.session() as session:
            await users(session).find(User.active, order_by=User.email, limit=50)

    async def reader() -> None:
        async with database.reader() as session:
            await users(session).find(User.active, order_by=User.email, limit=50)

    async def hand() -> None:
        async with sessions() as session:
            found = sa.select(User).where(User.active).order_by(User.email).limit(50)
            (await session.scalars(found)).all()

    async def alchemy() -> None:
        async with sessions() as session:
            some = LimitOffset(50, 0)
            await AlchemyUsers(session=session).list(
                some, User.active.is_(True), order_by=("email", False)
            )

    async def fastcrud() -> None:
        async with sessions() as session:
            await crud_users.get_multi(
                session, limit=50, sort_columns="email", return_total_count=False, active=True
            )

    async def sqlmodel() -> None:
        async with SQLModelSession(engine) as session:
            found = select(Users).where(Users.active).order_by(col(Users.email)).limit(50)
            (await session.exec(found)).all()

    return {
        LAYER: layer,
        READER: reader,
        HAND: hand,
        ALCHEMY: alchemy,
        FASTCRUD: fastcrud,
        SQLMODEL: sqlmodel,
    }


def _create(ground: Ground) -> Mapping[str, Work]:
    database, users = ground.database, ground.layer.users
    sessions, engine = ground.sessions, ground.engine
    emails = (f"created{number}@example.com" for number in count())

    async def layer() -> None:
        async with database.transaction() as session:
            await users(session).create(email=next(emails), name="Ada", active=True)

    async def hand() -> None:
        async with sessions.begin() as session:
            session.add(User(email=next(emails), name="Ada", active=True))
            await session.flush()

    async def alchemy() -> None:
        async with sessions() as session:
            user = AlchemyUser(email=next(emails), name="Ada", active=True)
            await AlchemyUsers(session=session).add(user, auto_commit=True)

    async def fastcrud() -> None:
        async with sessions() as session:
            user = UserCreate(id=uuid7(), email=next(emails), name="Ada", active=True)
            await crud_users.create(session, user)

    async def sqlmodel() -> None:
        async with SQLModelSession(engine) as session:
            user = Users(email=next(emails), name="Ada", active=True)
            session.add(user)
            await session.commit()
            await session.refresh(user)

    return {LAYER: layer, HAND: hand, ALCHEMY: alchemy, FASTCRUD: fastcrud, SQLMODEL: sqlmodel}


def _update(ground: Ground, keys: Sequence[UUID]) -> Mapping[str, Work]:
    database, users = ground.database, ground.layer.users
    sessions, engine = ground.sessions, ground.engine
    choice = Random(1)
    names = (f"Name {number}" for number in count())

    async def layer() -> None:
        async with database.transaction() as session:
            user = await users(session).get_one(choice.choice(keys))
            await users(session).update(user, name=next(names))

    async def hand() -> None:
        async with sessions.begin() as session:
            user = await session.get_one(User, choice.choice(keys))
            user.name = next(names)
            await session.flush()

    async def alchemy() -> None:
        async with sessions() as session:
            user = AlchemyUser(id=choice.choice(keys), name=next(names))
            await AlchemyUsers(session=session).update(user, auto_commit=True)

    async def fastcrud() -> None:
        async with sessions() as session:
            name = UserUpdate(name=next(names))
            await crud_users.update(session, name, id=choice.choice(keys))

    async def sqlmodel() -> None:
        async with SQLModelSession(engine) as session:
            user = await session.get_one(Users, choice.choice(keys))
            user.name = next(names)
            session.add(user)
            await session.commit()
            await session.refresh(user)

    return {LAYER: layer, HAND: hand, ALCHEMY: alchemy, FASTCRUD: fastcrud, SQLMODEL: sqlmodel}


def _alone(raw: RawConnection, keys: Sequence[UUID]) -> Mapping[str, Work]:
    """The same by asyncpg alone, on a connection that is held, each statement by itself."""
    choice = Random(1)
    emails = (f"alone{number}@example.com" for number in count())

    async def get() -> None:
        assert await raw.fetchrow("SELECT * FROM users WHERE id = $1", choice.choice(keys))

    async def find() -> None:
        await raw.fetch("SELECT * FROM users WHERE active ORDER BY email LIMIT 50")

    async def create() -> None:
        insert = "INSERT INTO users (id, email, name, active) VALUES ($1, $2, $3, $4)"
        await raw.execute(insert, uuid7(), next(emails), "Ada", True)

    async def update() -> None:
        key = choice.choice(keys)
        await raw.fetchrow("SELECT * FROM users WHERE id = $1", key)
        changed = "UPDATE users SET name = $2, updated_at = now() WHERE id = $1"
        await raw.execute(changed, key, "Ada")

    return {"get": get, "find": find, "create": create, "update": update}


async def _ping(ground: Ground, keys: Sequence[UUID]) -> Race:
    """A get on engines that first ask whether the connection is alive: the layer's own way."""
    engine = plain_engine(ground.engine.url, pool_pre_ping=True)
    choice = Random(1)
    try:
        async with ground.layer.database(ground.engine.url, pool_pre_ping=True) as database:

            async def layer() -> None:
                async with database.session() as session:
                    assert await ground.layer.users(session).get(choice.choice(keys))

            async def hand() -> None:
                async with ground.sessions(bind=engine) as session:
                    assert await session.get(User, choice.choice(keys))

            return await race(
                "get, the connection asked first",
                ground.where,
                "one row by its key, with pool_pre_ping=True",
                {LAYER: layer, HAND: hand},
                rounds=ground.scale.rounds,
                seconds=ground.scale.seconds,
                each=EACH,
            )
    finally:
        await engine.dispose()
