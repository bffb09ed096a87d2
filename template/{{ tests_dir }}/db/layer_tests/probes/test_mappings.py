"""The layer's mixins beside other ways to map: `__mapper_args__`, inheritance, dataclasses."""

from collections.abc import Callable
from datetime import datetime
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    declared_attr,
    mapped_column,
)

from . import db, dialect
from .models import ProbeBase

# What `__mapper_args__` sets, as attributes of a mapper.
ARGUMENTS = (
    *("confirm_deleted_rows", "polymorphic_identity", "concrete", "single", "batch"),
    *("passive_updates", "allow_partial_pks", "polymorphic_load"),
)


class Stamps:
    """The columns of Timestamped alone."""

    created_at: Mapped[datetime] = mapped_column(sort_order=90)
    updated_at: Mapped[datetime] = mapped_column(sort_order=91)


class Version:
    """The column of Versioned alone."""

    version: Mapped[int] = mapped_column(sort_order=93)


class Nothing: ...


class Plain:
    __mapper_args__ = {"confirm_deleted_rows": False, "batch": False}


class Declared:
    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:
        model: Any = cls
        return {
            "polymorphic_on": "kind",
            "polymorphic_identity": model.__name__,
            "confirm_deleted_rows": False,
        }


OWN = {"polymorphic_on": "kind", "polymorphic_identity": "own", "passive_updates": False}
CHILD = {"polymorphic_identity": "child", "batch": False}


def models(
    mixins: tuple[type, ...], arguments: type, first: bool, own: bool, child: str, childs_own: bool
) -> tuple[type, type]:
    """Return a model and a child of it, that are mapped in one of many ways."""

    class Base(DeclarativeBase):
        pass

    key: Any = mapped_column(sa.Integer, primary_key=True)
    kind: Any = mapped_column(sa.String(30))
    namespace: dict[str, Any] = {"__tablename__": "parents", "id": key, "kind": kind}
    if own:
        namespace["__mapper_args__"] = OWN
    bases = (arguments, *mixins, Base) if first else (*mixins, arguments, Base)
    parent: Any = type("Parent", bases, namespace)
    namespace = {}
    if child != "single":
        foreign = [] if child == "concrete" else [sa.ForeignKey("parents.id")]
        key = mapped_column(sa.Integer, *foreign, primary_key=True)
        namespace |= {"__tablename__": "children", "id": key}
    if child == "concrete":
        stamp, number = sa.DateTime, sa.Integer
        types = {"kind": sa.String, "created_at": stamp, "updated_at": stamp, "version": number}
        namespace |= {name: mapped_column(kind) for name, kind in types.items()}
    own_arguments = {"concrete": True} if child == "concrete" else {}
    if childs_own or own_arguments:
        namespace["__mapper_args__"] = {**(CHILD if childs_own else {}), **own_arguments}
    return parent, type("Child", (parent,), namespace)


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("child", ["single", "joined", "concrete"])
def test_mapper_arguments_are_as_sqlalchemy_has_them(child: str) -> None:
    layers: dict[tuple[type, ...], tuple[type, ...]] = {
        (db.Timestamped,): (Stamps,),
        (db.Versioned,): (Version,),
        (db.Timestamped, db.Versioned): (Stamps, Version),
    }
    flags = [True, False]
    ways = product(layers, [Nothing, Plain, Declared], flags, flags, flags)
    count, wrong = 0, list[object]()
    for layer, mixin, first, own, childs_own in ways:
        made = models(layer, mixin, first, own, child, childs_own)
        twins = models(layers[layer], mixin, first, own, child, childs_own)
        for model, twin in zip(made, twins, strict=True):
            mapper: Any = vars(model)["__mapper__"]
            other: Any = vars(twin)["__mapper__"]
            found = {name: getattr(mapper, name) for name in ARGUMENTS}
            expected = {name: getattr(other, name) for name in ARGUMENTS}
            version = mapper.version_id_col
            right = found == expected
            right &= mapper.eager_defaults is (True if db.Timestamped in layer else "auto")
            right &= (version is not None) is (db.Versioned in layer)
            right &= version is None or version.table in mapper.tables
            count += 1
            if not right:
                wrong.append((layer, mixin, first, own, childs_own, model, found, expected))
    assert wrong == []
    assert count == 144


class Vehicle(Declared, db.BigIntPrimaryKey, db.Timestamped, db.Versioned, ProbeBase):
    __tablename__ = "probe_vehicles"

    kind: Mapped[str] = mapped_column(sa.String(30))
    name: Mapped[str] = mapped_column(sa.String(30), default="")


class Car(Vehicle):
    __tablename__ = "probe_cars"

    id: Mapped[int] = mapped_column(sa.ForeignKey(Vehicle.id), primary_key=True)
    doors: Mapped[int] = mapped_column(default=4)


class Bike(Vehicle):
    gears: Mapped[int | None]


class Boat(db.BigIntPrimaryKey, db.Timestamped, db.Versioned, ProbeBase):
    __tablename__ = "probe_boats"

    name: Mapped[str] = mapped_column(sa.String(30), default="")


class Ferry(Boat):
    """A class whose rows lie in a table of its own alone. It declares all columns again."""

    __tablename__ = "probe_ferries"
    __mapper_args__ = {"concrete": True}

    id: Mapped[int] = mapped_column(dialect.BIGINT_KEY, primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(30), default="")
    created_at: Mapped[datetime] = mapped_column(server_default=dialect.NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=dialect.NOW, onupdate=dialect.NOW)
    version: Mapped[int]


class Note(MappedAsDataclass, db.BigIntPrimaryKey, db.Timestamped, db.SoftDeletable, ProbeBase):
    """A dataclass. It declares the columns of the mixins again, as no fields of its constructor."""

    __tablename__ = "probe_notes"

    id: Mapped[int] = mapped_column(dialect.BIGINT_KEY, primary_key=True, init=False)
    created_at: Mapped[datetime] = mapped_column(server_default=dialect.NOW, init=False)
    updated_at: Mapped[datetime] = mapped_column(
        server_default=dialect.NOW, onupdate=dialect.NOW, init=False
    )
    deleted_at: Mapped[datetime | None] = mapped_column(init=False)
    name: Mapped[str] = mapped_column(sa.String(30), default="")


REPOSITORIES: dict[str, Callable[[AsyncSession], db.Repository[Any]]] = {
    "versioned and polymorphic": db.Repository[Vehicle],
    "joined": db.Repository[Car],
    "single": db.Repository[Bike],
    "above concrete": db.Repository[Boat],
    "concrete": db.Repository[Ferry],
    "dataclass": db.Repository[Note],
}


@pytest.mark.parametrize("mapping", REPOSITORIES)
async def test_rows_are_written_and_read_in_every_mapping(
    session: AsyncSession, mapping: str
) -> None:
    rows = REPOSITORIES[mapping](session)
    row = await rows.create(name="a")
    # Computed columns are read without an await.
    assert row.created_at == row.updated_at
    await rows.update(row, name="b")
    assert row.updated_at >= row.created_at
    session.expunge_all()
    (found,) = await rows.find()
    assert (found.name, type(found)) == ("b", rows.model)
    if mapping == "dataclass":
        assert repr(found).startswith("Note(id=")
        await rows.delete(found)
        assert await rows.find() == []
        return
    assert found.version == 2
    # Another transaction changes the row after it was read.
    mapper: Any = vars(rows.model)["__mapper__"]
    table: Any = mapper.version_id_col.table
    await session.execute(sa.update(table).values(version=3))
    with pytest.raises(db.StaleRow):
        await rows.update(found, name="c")


def test_a_mixin_has_no_fields_of_a_dataclass() -> None:
    with pytest.raises(InvalidRequestError, match="'id' originates from superclass .*PrimaryKey"):
        type(
            "Memo",
            (MappedAsDataclass, db.BigIntPrimaryKey, ProbeBase),
            {"__tablename__": "probe_memos", "__module__": __name__, "__annotations__": {}},
        )
