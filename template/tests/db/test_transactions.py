"""What a transaction promises."""

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import InvalidRequestError

from . import db
from .models import Author


async def test_commits_at_its_end(database: db.Database) -> None:
    async with database.transaction() as session:
        session.add(Author(email="ada@example.com"))
    async with database.session() as session:
        assert await session.scalar(sa.select(Author.name)) == "Ada"


async def test_rolls_back_on_any_exception(database: db.Database) -> None:
    for error in (ValueError, asyncio.CancelledError):
        with pytest.raises(error):
            async with database.transaction() as session:
                session.add(Author(email="ada@example.com"))
                await session.flush()
                raise error
    async with database.session() as session:
        assert await session.scalar(sa.select(sa.func.count(Author.id))) == 0


async def test_a_session_commits_nothing_by_itself(database: db.Database) -> None:
    async with database.session() as session:
        session.add(Author(email="ada@example.com"))
        await session.flush()
    async with database.session() as session:
        assert await session.scalar(sa.select(sa.func.count(Author.id))) == 0


async def test_a_session_that_was_closed_cannot_be_used_again(database: db.Database) -> None:
    async with database.session() as session:
        pass
    with pytest.raises(InvalidRequestError, match="permanently closed"):
        await session.scalar(sa.select(Author.id))
