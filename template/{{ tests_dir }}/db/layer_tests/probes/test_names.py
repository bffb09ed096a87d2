"""Columns may be called as the layer calls its own parameters."""

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from . import db
from .models import ProbeBase

NAMES = ("row", "keys", "key", "model", "place", "values", "session", "unique", "on", "param_1")


class Named(db.BigIntPrimaryKey, ProbeBase):
    __tablename__ = "probe_named"

    row: Mapped[str] = mapped_column(sa.String(5), default="", unique=True)
    keys: Mapped[str] = mapped_column(sa.String(5), default="")
    key: Mapped[str] = mapped_column(sa.String(5), default="")
    model: Mapped[str] = mapped_column(sa.String(5), default="")
    place: Mapped[str] = mapped_column(sa.String(5), default="")
    values: Mapped[str] = mapped_column(sa.String(5), default="")
    session: Mapped[str] = mapped_column(sa.String(5), default="")
    unique: Mapped[str] = mapped_column(sa.String(5), default="")
    on: Mapped[str] = mapped_column(sa.String(5), default="")
    param_1: Mapped[str] = mapped_column(sa.String(5), default="")


@pytest.mark.parametrize("name", NAMES)
async def test_every_method_takes_a_column_of_any_name(session: AsyncSession, name: str) -> None:
    class NamedRows(db.Repository[Named]):
        sortable = {name: getattr(Named, name)}

    rows = NamedRows(session)
    column = getattr(Named, name)

    row = await rows.create(**{"row": "a", name: "a"})
    await rows.update(row, **{name: "b"})
    assert await rows.find(column == "b") == [row]
    assert await rows.update_many([row.id], **{name: "c"}) == 1
    assert getattr(row, name) == "c"
    assert await rows.update_rows([{"id": row.id, name: "d"}]) == 1
    assert getattr(row, name) == "d"

    assert await rows.insert_many([{"row": "b", name: "e"}]) == 1
    assert await rows.upsert_many([{"row": "c", name: "f"}], on=("row",)) == 1
    assert await rows.count() == 3
    assert (await rows.get_or_create({name: "f"}))[1] is False
    assert (await rows.update_or_create({name: "g"}, {"row": "g"}))[1] is True

    first = await rows.cursor_page(column != "g", size=2, sort=(name,))
    second = await rows.cursor_page(column != "g", size=2, sort=(name,), cursor=first.next)
    shown = [getattr(row, name) for row in [*first.items, *second.items]]
    assert shown == ["d", "e", "f"]
    assert (await rows.page(sort=(f"-{name}",))).total == 4


class SelfBase(db.Base):
    __abstract__ = True
    metadata = sa.MetaData()


class ProbeSelf(db.BigIntPrimaryKey, SelfBase):
    __tablename__ = "probe_self"

    self: Mapped[str] = mapped_column(sa.String(5))


async def test_a_column_may_be_called_self(fresh_database: db.Database) -> None:
    async with fresh_database.engine.begin() as connection:
        await connection.run_sync(SelfBase.metadata.create_all)
    async with fresh_database.transaction() as session:
        rows = db.Repository[ProbeSelf](session)
        row = await rows.create(self="a")
        await rows.update(row, self="b")
        assert await rows.get_or_create({"self": "b"}) == (row, False)
        assert await rows.update_many([row.id], self="c") == 1
        assert row.self == "c"
        assert [x.self for x in await rows.create_many([{"self": "d"}])] == ["d"]
