"""Every method of a repository, on twelve ways to map a class."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import new_class
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, MappedAsDataclass, mapped_column, registry, relationship

from . import db, dialect
from .models import ProbeBase

Values = Mapping[str, Any]

# MySQL's drivers cannot create a table with a % in a name.
PERCENT = "%" if dialect.TRANSACTIONAL_DDL else "#"
# SQLite and MySQL know no schema inside a database.
SCHEMA = "probe schema" if dialect.TRANSACTIONAL_DDL and not dialect.RENDER_AS_BATCH else None


@event.listens_for(ProbeBase.metadata, "before_create")
def create_schema(metadata: sa.MetaData, connection: sa.Connection, **options: object) -> None:
    if SCHEMA:
        connection.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))


class Plain(ProbeBase):
    __tablename__ = "shape_plain"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(sa.String(20), unique=True)
    note: Mapped[str | None] = mapped_column(sa.String(20))


class Composite(ProbeBase):
    __tablename__ = "shape_composite"

    shelf: Mapped[str] = mapped_column(sa.String(20), primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(sa.String(20), unique=True)
    note: Mapped[str | None] = mapped_column(sa.String(20))


class Parent(ProbeBase):
    __tablename__ = "shape_parents"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "parent"}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(sa.String(20))
    code: Mapped[str] = mapped_column(sa.String(20), unique=True)


class Joined(Parent):
    __tablename__ = "shape_joined"
    __mapper_args__ = {"polymorphic_identity": "joined"}

    id: Mapped[int] = mapped_column(sa.ForeignKey(Parent.id), primary_key=True)
    note: Mapped[str | None] = mapped_column(sa.String(20))


class Single(Parent):
    __mapper_args__ = {"polymorphic_identity": "single"}

    note: Mapped[str | None] = mapped_column(sa.String(20))


class Concrete(Plain):
    __tablename__ = "shape_concrete"
    __mapper_args__ = {"concrete": True}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(sa.String(20), unique=True)
    note: Mapped[str | None] = mapped_column(sa.String(20))


class Polymorphic(ProbeBase):
    __tablename__ = "shape_polymorphic"
    __mapper_args__ = {
        "polymorphic_on": "kind",
        "polymorphic_identity": "one",
        "with_polymorphic": "*",
    }

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(sa.String(20))
    code: Mapped[str] = mapped_column(sa.String(20), unique=True)
    note: Mapped[str | None] = mapped_column(sa.String(20))


class Other(Polymorphic):
    __tablename__ = "shape_other"
    __mapper_args__ = {"polymorphic_identity": "other"}

    id: Mapped[int] = mapped_column(sa.ForeignKey(Polymorphic.id), primary_key=True)
    more: Mapped[str | None] = mapped_column(sa.String(20))


class Dataclass(MappedAsDataclass, ProbeBase):
    __tablename__ = "shape_dataclass"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(sa.String(20), unique=True)
    note: Mapped[str | None] = mapped_column(sa.String(20), default=None)


class Node(ProbeBase):
    __tablename__ = "shape_nodes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(sa.String(20), unique=True)
    note: Mapped[str | None] = mapped_column(sa.String(20))
    parent_id: Mapped[int | None] = mapped_column(sa.ForeignKey("shape_nodes.id"), index=True)

    children: Mapped[list["Node"]] = relationship(lazy="raise")


class Imperative:
    """A class that knows nothing of its table."""

    id: int
    code: str
    note: str | None

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)


registry(metadata=ProbeBase.metadata).map_imperatively(
    Imperative,
    sa.Table(
        "shape_imperative",
        ProbeBase.metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("code", sa.String(20), unique=True, nullable=False),
        sa.Column("note", sa.String(20)),
    ),
)


class InSchema(ProbeBase):
    __tablename__ = "shape_in_schema"
    __table_args__ = {"schema": SCHEMA}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(sa.String(20), unique=True)
    note: Mapped[str | None] = mapped_column(sa.String(20))


class Quoted(ProbeBase):
    __tablename__ = f"shape Quoted {PERCENT}"

    id: Mapped[int] = mapped_column("Order Id", primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column("select", sa.String(20), unique=True)
    note: Mapped[str | None] = mapped_column(f"5{PERCENT} note", sa.String(20))


class Generated(db.Timestamped, db.Versioned, ProbeBase):
    __tablename__ = "shape_generated"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(sa.String(20), unique=True)
    note: Mapped[str | None] = mapped_column(sa.String(20))
    twice: Mapped[int] = mapped_column(sa.Computed("id * 2", persisted=True))


SHAPES: list[type[Any]] = [
    Plain,
    Composite,
    Joined,
    Single,
    Concrete,
    Polymorphic,
    Dataclass,
    Node,
    Imperative,
    InSchema,
    Quoted,
    Generated,
]


@dataclass
class Case:
    """A repository of one shape, and what its rows are."""

    model: type[Any]
    repository: db.Repository[Any]

    def values(self, number: int, note: str | None = None) -> dict[str, Any]:
        """Return the values of a new row, where `number` is its key."""
        own = {"shelf": "a"} if self.model is Composite else {}
        return {**own, "id": number, "code": f"code {number}", "note": note}

    def key(self, number: int) -> object:
        return ("a", number) if self.model is Composite else number

    async def fill(self, count: int = 3) -> list[Any]:
        rows = [self.model(**self.values(n)) for n in range(1, count + 1)]
        self.repository.session.add_all(rows)
        await self.repository.session.flush()
        return rows

    async def stored(self) -> list[tuple[int, str, str | None]]:
        """Return what SQLAlchemy alone reads, past all that the session holds."""
        model = self.model
        statement = sa.select(model.id, model.code, model.note).order_by(model.id)
        return [tuple(row) for row in await self.repository.session.execute(statement)]


async def create(case: Case) -> None:
    row = await case.repository.create(**case.values(1, "new"))
    assert (row.id, row.code, row.note) == (1, "code 1", "new")
    assert await case.stored() == [(1, "code 1", "new")]


async def add(case: Case) -> None:
    row = await case.repository.add(case.model(**case.values(1, "new")))
    assert row.note == "new"
    assert await case.stored() == [(1, "code 1", "new")]


async def get(case: Case) -> None:
    rows = await case.fill()
    assert await case.repository.get(case.key(2)) is rows[1]
    case.repository.session.expunge_all()
    assert (await case.repository.get_one(case.key(2), for_update="wait")).code == "code 2"
    with pytest.raises(db.NotFound):
        await case.repository.get_one(case.key(9))


async def get_many(case: Case) -> None:
    rows = await case.fill()
    keys = [case.key(n) for n in (3, 9, 1)]
    assert await case.repository.get_many(keys) == [rows[2], rows[0]]


async def find(case: Case) -> None:
    rows = await case.fill()
    model = case.model
    assert await case.repository.find(model.id > 1, order_by=model.id.desc()) == rows[:0:-1]
    assert await case.repository.find_one_or_none(model.code == "code 2") is rows[1]
    assert await case.repository.count(model.id > 1) == 2
    assert await case.repository.exists(model.id == 3)


async def update(case: Case) -> None:
    rows = await case.fill(2)
    await case.repository.update(rows[0], note="changed")
    assert await case.stored() == [(1, "code 1", "changed"), (2, "code 2", None)]


async def delete(case: Case) -> None:
    rows = await case.fill(2)
    await case.repository.delete(rows[0])
    assert await case.stored() == [(2, "code 2", None)]


async def create_many(case: Case) -> None:
    rows = await case.repository.create_many(case.values(n) for n in (1, 2))
    assert [row.id for row in rows] == [1, 2]
    assert await case.stored() == [(1, "code 1", None), (2, "code 2", None)]


async def insert_many(case: Case) -> None:
    given = [case.values(1), {**case.values(2), "note": "new"}]
    del given[0]["note"]
    assert await case.repository.insert_many(given) == 2
    assert await case.stored() == [(1, "code 1", None), (2, "code 2", "new")]
    # Enough rows for COPY, where there is one.
    assert await case.repository.insert_many(case.values(n) for n in range(3, 1503)) == 1500
    assert len(await case.stored()) == 1502
    assert await case.repository.count() == 1502


async def upsert_many(case: Case) -> None:
    await case.fill(1)
    given = [case.values(1, "changed"), case.values(2, "new")]
    assert await case.repository.upsert_many(given, on=("code",)) == 2
    assert await case.stored() == [(1, "code 1", "changed"), (2, "code 2", "new")]


async def update_rows(case: Case) -> None:
    rows = await case.fill(3)
    given = [case.values(1, "one"), case.values(3, "three")]
    for values in given:
        del values["code"]
    assert await case.repository.update_rows(given) == 2
    assert [note for _, _, note in await case.stored()] == ["one", None, "three"]
    assert [row.note for row in rows] == ["one", None, "three"]


async def update_many(case: Case) -> None:
    rows = await case.fill(3)
    assert await case.repository.update_many([case.key(1), case.key(3)], note="both") == 2
    assert [note for _, _, note in await case.stored()] == ["both", None, "both"]
    assert [row.note for row in rows] == ["both", None, "both"]


async def delete_many(case: Case) -> None:
    rows = await case.fill(3)
    assert await case.repository.delete_many([case.key(1), case.key(3), case.key(9)]) == 2
    assert await case.stored() == [(2, "code 2", None)]
    assert await case.repository.find() == rows[1:2]


async def page(case: Case) -> None:
    rows = await case.fill(5)
    first = await case.repository.page(number=2, size=2)
    assert (first.items, first.total) == (rows[2:4], 5)
    chosen = sa.select(case.model).where(case.model.id > 1).distinct()
    assert (await case.repository.page(statement=chosen)).items == rows[1:]


async def cursor_page(case: Case) -> None:
    rows = await case.fill(5)
    found: list[Any] = []
    cursor: str | None = None
    while True:
        part = await case.repository.cursor_page(size=2, cursor=cursor, sort=("-code",))
        found += part.items
        if not (cursor := part.next):
            break
    assert found == rows[::-1]


async def stream(case: Case) -> None:
    rows = await case.fill(5)
    async with case.repository.stream(order_by=case.model.id, batch_size=2) as streamed:
        assert [row async for row in streamed] == rows
    batches = [batch async for batch in case.repository.batches(size=2)]
    assert [list(batch) for batch in batches] == [rows[:2], rows[2:4], rows[4:]]


async def get_or_create(case: Case) -> None:
    (row,) = await case.fill(1)
    values = case.values(2)
    unique = {"code": values.pop("code")}
    assert await case.repository.get_or_create({"code": "code 1"}) == (row, False)
    assert (await case.repository.get_or_create(unique, values))[1] is True
    again, is_new = await case.repository.update_or_create({"code": "code 1"}, {"note": "changed"})
    assert (again, is_new, row.note) == (row, False, "changed")
    assert await case.stored() == [(1, "code 1", "changed"), (2, "code 2", None)]


METHODS: Sequence[Callable[[Case], Awaitable[None]]] = (
    create,
    add,
    get,
    get_many,
    find,
    update,
    delete,
    create_many,
    insert_many,
    upsert_many,
    update_rows,
    update_many,
    delete_many,
    page,
    cursor_page,
    stream,
    get_or_create,
)

# One statement changes one table.
ONE_TABLE = (upsert_many, update_rows, update_many, delete_many)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
@pytest.mark.parametrize("model", SHAPES, ids=lambda model: model.__name__)
async def test_a_method_takes_a_shape(
    session: AsyncSession, model: type[Any], method: Callable[[Case], Awaitable[None]]
) -> None:
    repository: Any = db.Repository
    rows: Any = new_class("Rows", (repository[model],))
    rows.sortable = {"code": model.code}
    case = Case(model, rows(session))
    if model is Joined and method in ONE_TABLE:
        with pytest.raises(TypeError, match="Joined lies in several tables"):
            await method(case)
    else:
        await method(case)
