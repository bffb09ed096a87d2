"""Many rows are written as the ORM would write them, all or none."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from time import sleep
from typing import Any
from uuid import RFC_4122, UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from . import db
from .models import (
    Author,
    Book,
    Card,
    Category,
    Colour,
    Employee,
    Engineer,
    Folder,
    Leaflet,
    Manager,
    Member,
    Person,
    Placement,
    Review,
    Sample,
    Seat,
    Secret,
    Shelf,
    Size,
    Student,
)

Samples = db.Repository[Sample]


class Chess(db.Repository[Member]):
    """A tenant's repository: the rows of others are not there."""

    def statement(self) -> sa.Select[Member]:
        here = super().statement().where(Member.club.in_(["chess", "100%"]))
        return here.where(Member.email.like("a%")).order_by(Member.email)


MANY = 5_000


def codes(count: int) -> Iterator[Mapping[str, object]]:
    return ({"code": f"{number:06}", "number": number} for number in range(count))


def complete(count: int) -> Iterator[Mapping[str, object]]:
    """Yield rows that COPY takes: they give what otherwise depends on the row."""
    return ({**row, "derived": "", "stamped": None} for row in codes(count))


@pytest.fixture(params=[1000, 1], ids=["usual", "copy"])
def minimum_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let COPY take so many rows and more, where the database has it."""
    if copying := sys.modules.get(f"{db.__name__}.repository.copy"):
        monkeypatch.setattr(copying, "MINIMUM_ROWS", request.param)


async def test_rows_are_inserted_with_the_defaults_of_their_columns(session: AsyncSession) -> None:
    samples = Samples(session)

    assert await samples.insert_many([{"code": "a"}, {"code": "b", "constant": "mine"}]) == 2

    a, b = await samples.find(order_by=Sample.code)
    assert (a.constant, b.constant) == ("constant", "mine")
    assert (a.computed, a.derived, a.served, a.version) == ({}, "from a", 7, 1)
    assert a.computed is not b.computed
    assert a.id != b.id
    assert a.created_at.tzinfo is UTC
    assert (a.text, a.price, a.document) == (None, None, None)


async def test_values_arrive_as_they_are(session: AsyncSession) -> None:
    values: dict[str, object] = {
        "code": "a",
        "number": -(2**63),
        "small": 2**31 - 1,
        "ratio": 0.1,
        "flag": False,
        "price": Decimal("12345678901.2345"),
        "text": "tab\t line\n \\N \\ \" ' é 🛒",
        "blob": bytes(range(256)),
        "colour": Colour.GREEN,
        "document": {"a": [1, None, {"é": "🛒"}], "b": 'quo"te\\'},
        "moment": datetime(2026, 2, 3, 4, 5, 6, 789, UTC),
        "reference": uuid4(),
    }
    samples = Samples(session)

    await samples.insert_many([values])

    row = await samples.find_one_or_none()
    assert row
    assert {name: getattr(row, name) for name in values} == values


async def test_rows_may_differ_in_what_they_give(session: AsyncSession) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    rows: list[Mapping[str, object]] = [
        {"code": "a"},
        {"code": "b", "served": 1},
        {"code": "c", "served": None, "created_at": now},
        {"text": "last", "code": "d"},
    ]

    await Samples(session).insert_many(rows)

    found = await Samples(session).find(order_by=Sample.code)
    assert [row.served for row in found] == [7, 1, 7, 7]
    assert [row.created_at == now for row in found] == [False, False, True, False]
    assert found[3].text == "last"


@pytest.mark.parametrize("count", [0, 1, MANY])
async def test_rows_come_from_any_iterable(session: AsyncSession, count: int) -> None:
    async def later() -> AsyncIterator[Mapping[str, object]]:
        for row in codes(count):
            yield row

    samples = Samples(session)
    reported: list[int] = []

    assert await samples.insert_many(codes(count), progress=reported.append) == count
    assert await samples.count() == count
    assert reported == sorted(reported)
    assert reported[-1:] == [count][: len(reported)]
    assert await samples.upsert_many(later(), on=["code"]) == count
    assert await samples.count() == count


@pytest.mark.parametrize("source", ["sync", "async"])
@pytest.mark.parametrize("method", ["insert_many", "upsert_many"])
async def test_rows_that_come_slowly_leave_no_transaction_idle(
    fresh_database: db.Database, method: str, source: str
) -> None:
    def slowly() -> Iterator[Mapping[str, object]]:
        for number, row in enumerate(complete(1_000)):
            if number % 100 == 0:
                sleep(0.2)
            yield row

    async def slowly_too() -> AsyncIterator[Mapping[str, object]]:
        for row in slowly():
            yield row

    limit = {"idle_in_transaction_timeout": 1.2}
    settings = fresh_database.settings.model_copy(update=limit)
    rows = slowly() if source == "sync" else slowly_too()
    async with db.Database(settings) as database, database.transaction() as session:
        if method == "insert_many":
            assert await Samples(session).insert_many(rows) == 1_000
        else:
            assert await Samples(session).upsert_many(rows, on=["code"]) == 1_000


async def test_slow_code_of_the_caller_is_no_slow_statement(fresh_database: db.Database) -> None:
    async def slowly() -> AsyncIterator[Mapping[str, object]]:
        for number, row in enumerate(complete(3_000)):
            if number == 1_200:
                await asyncio.sleep(1)
            yield row

    def progress(count: int) -> None:
        if count > 1_000:
            sleep(1)

    limits = {"statement_timeout": 0.8, "command_timeout": 2}
    settings = fresh_database.settings.model_copy(update=limits)
    async with db.Database(settings) as database, database.transaction() as session:
        assert await Samples(session).insert_many(slowly(), progress=progress) == 3_000


async def test_rows_that_become_slow_are_no_slow_statement(fresh_database: db.Database) -> None:
    def slower() -> Iterator[Mapping[str, object]]:
        for number, row in enumerate(complete(1_800)):
            if number >= 1_000:
                sleep(0.003)
            yield row

    settings = fresh_database.settings.model_copy(update={"statement_timeout": 1})
    async with db.Database(settings) as database, database.transaction() as session:
        assert await Samples(session).insert_many(slower()) == 1_800


async def test_none_stands_for_the_default_in_each_of_many_rows(session: AsyncSession) -> None:
    samples = Samples(session)
    await samples.insert_many({**row, "served": None} for row in complete(MANY))
    assert await samples.count(Sample.served == 7) == MANY


async def test_rows_may_come_by_way_of_the_same_session(session: AsyncSession) -> None:
    samples, authors = Samples(session), db.Repository[Author](session)
    await samples.insert_many(codes(MANY))

    rows = ({"email": sample.code} async for batch in samples.batches() for sample in batch)
    assert await authors.insert_many(rows) == MANY

    assert await authors.count() == MANY


async def test_keys_that_are_made_for_many_rows_rise(session: AsyncSession) -> None:
    await Samples(session).insert_many(complete(1_000))

    found = await Samples(session).find(order_by=Sample.code)

    keys = [row.id for row in found]
    assert {(key.version, key.variant) for key in keys} == {(7, RFC_4122)}
    first, last = ((key.int >> 80) / 1000 for key in (keys[0], keys[-1]))
    assert first <= last <= datetime.now(UTC).timestamp() < first + 600
    for at_once in (keys[:500], keys[500:]):
        assert at_once == sorted(at_once)


async def test_keys_that_the_database_counts_are_counted(session: AsyncSession) -> None:
    author = await db.Repository[Author](session).create(email="ada")
    books = db.Repository[Book](session)

    await books.insert_many({"author_id": author.id, "title": f"{n}"} for n in range(3))

    found = await books.find(order_by=Book.id)
    assert [book.title for book in found] == ["0", "1", "2"]
    assert [book.version for book in found] == [1, 1, 1]


@pytest.mark.usefixtures("minimum_rows")
async def test_a_row_may_refer_to_an_earlier_one(session: AsyncSession) -> None:
    categories = db.Repository[Category](session)

    def rows(first: int) -> list[Mapping[str, object]]:
        return [
            {"id": first, "parent_id": None},
            {"id": first + 1, "parent_id": first, "label": "b"},
            {"id": first + 2, "parent_id": first + 1},
        ]

    assert await categories.insert_many(rows(1)) == 3
    assert await categories.upsert_many([*rows(4), {"id": 4, "parent_id": 6}], on=["id"]) == 4

    found = await categories.find(order_by=Category.id)
    assert [row.parent_id for row in found] == [None, 1, 2, 6, 4, 5]
    assert [row.label for row in found] == ["none", "b", "none"] * 2


async def test_a_name_that_is_no_column_is_refused(session: AsyncSession) -> None:
    samples = Samples(session)
    with pytest.raises(db.NotWritable, match="nonsense"):
        await samples.insert_many([*codes(3), {"code": "x", "nonsense": 1}])
    with pytest.raises(db.NotWritable, match="nonsense"):
        await samples.upsert_many(codes(1), on=["nonsense"])
    with pytest.raises(db.NotWritable, match="version"):
        await samples.update_many([uuid4()], version=3)
    with pytest.raises(db.NotWritable, match="id"):
        await samples.create_many([{"id": uuid4(), "code": "a"}])
    assert await samples.count() == 0


@pytest.mark.parametrize("row", [("secret", 1), "secret", Sample(code="secret")], ids=type)
async def test_a_row_that_is_no_mapping_is_refused_without_its_values(
    session: AsyncSession, row: Any
) -> None:
    samples = Samples(session)
    for write in (samples.insert_many, samples.create_many, samples.update_rows):
        with pytest.raises(TypeError, match=f"not {type(row).__name__}") as raised:
            await write([*codes(1), row])
        assert "secret" not in str(raised.value)


async def test_what_the_database_computes_is_left_to_it(session: AsyncSession) -> None:
    samples = Samples(session)
    for write in (samples.create_many, samples.insert_many):
        with pytest.raises(db.NotWritable, match="copy"):
            await write([{"code": "a", "copy": "b"}])
    await samples.insert_many([{"code": "a"}])
    row = await samples.create(code="b")
    await samples.upsert_many([{"code": "a", "small": 5}], on=["code"])
    assert [x.copy for x in await samples.find(order_by=Sample.code)] == ["a", "b"]
    assert row.copy == "b"


async def test_a_violation_in_the_last_row_leaves_nothing_behind(session: AsyncSession) -> None:
    samples = Samples(session)
    await samples.create(code="kept")

    with pytest.raises(db.UniqueViolation) as caught:
        await samples.insert_many([*codes(MANY), {"code": "000000"}])

    assert caught.value.fields == ("code",)
    assert caught.value.constraint == "uq_probe_samples_code"
    # The session goes on.
    assert [row.code for row in await samples.find()] == ["kept"]
    with pytest.raises(db.NotNullViolation):
        await samples.insert_many([{"number": 1}])
    with pytest.raises(db.ForeignKeyViolation):
        await db.Repository[Book](session).insert_many([{"author_id": uuid4(), "title": "a"}])
    assert await samples.count() == 1


async def test_an_error_of_the_caller_leaves_nothing_behind(session: AsyncSession) -> None:
    def rows() -> Iterator[Mapping[str, object]]:
        yield from codes(MANY)
        raise LookupError("the file ends here")

    samples = Samples(session)
    with pytest.raises(LookupError, match="ends here"):
        await samples.insert_many(rows())
    with pytest.raises(LookupError, match="ends here"):
        await samples.upsert_many(rows(), on=["code"])
    assert await samples.count() == 0


async def test_what_is_inserted_belongs_to_the_transaction(database: db.Database) -> None:
    with pytest.raises(LookupError):
        async with database.transaction() as session:
            await Samples(session).insert_many(codes(3))
            raise LookupError
    async with database.transaction() as session:
        assert await Samples(session).count() == 0


async def test_created_rows_come_back(session: AsyncSession) -> None:
    samples = Samples(session)

    made = await samples.create_many(codes(3))

    assert [row.code for row in made] == ["000000", "000001", "000002"]
    assert all(row in session and row.served == 7 for row in made)
    assert await samples.create_many([]) == []
    with pytest.raises(db.UniqueViolation):
        await samples.create_many([{"code": "x"}, {"code": "000001"}])
    assert await samples.count() == 3


async def test_an_upsert_changes_what_is_given_and_no_more(session: AsyncSession) -> None:
    samples = Samples(session)
    old = await samples.create(code="a", text="old", number=1, served=3)
    key, created, updated = old.id, old.created_at, old.updated_at
    await session.execute(sa.update(Sample).values(updated_at=datetime(2020, 1, 1, tzinfo=UTC)))
    session.expunge_all()

    rows: list[Mapping[str, object]] = [
        {"code": "a", "text": "new", "number": None},
        {"code": "b", "text": "b", "number": 2},
    ]
    assert await samples.upsert_many(rows, on=["code"]) == 2

    a, b = await samples.find(order_by=Sample.code)
    assert (a.id, a.text, a.number, a.served, a.created_at) == (key, "new", None, 3, created)
    assert (a.version, b.version) == (2, 1)
    assert a.updated_at >= updated
    assert (b.text, b.served, b.derived) == ("b", 7, "from b")


@pytest.mark.usefixtures("minimum_rows")
async def test_the_last_of_several_rows_with_the_same_unique_values_wins(
    session: AsyncSession,
) -> None:
    samples = Samples(session)
    rows = [{**row, "code": "a", "text": f"{row['number']}"} for row in complete(100)]
    await samples.upsert_many(rows, on=["code"])
    assert [row.text for row in await samples.find()] == ["99"]


async def test_what_python_makes_for_a_change_is_made_in_bulk_too(session: AsyncSession) -> None:
    samples = Samples(session)
    await samples.insert_many(codes(2))

    await samples.upsert_many(codes(3), on=["code"])

    found = await samples.find(order_by=Sample.code)
    assert [row.stamped and row.stamped.year for row in found] == [2030, 2030, None]


async def test_an_upsert_of_nothing_but_its_key_inserts_what_is_missing(
    session: AsyncSession,
) -> None:
    samples = Samples(session)
    await samples.create(code="a", text="old")
    session.expunge_all()
    await samples.upsert_many([{"code": "a"}, {"code": "b"}], on=["code"])
    a, b = await samples.find(order_by=Sample.code)
    assert (a.text, a.version, b.text) == ("old", 1, None)


async def test_an_upsert_names_what_is_unique(session: AsyncSession) -> None:
    with pytest.raises(ValueError, match="no names"):
        await Samples(session).upsert_many([{"code": "a"}], on=())
    with pytest.raises(TypeError, match="several names"):
        await Samples(session).upsert_many([{"code": "a"}], on="code")


async def test_each_row_of_an_upsert_gives_what_it_is_found_by(session: AsyncSession) -> None:
    seats, members = db.Repository[Seat](session), db.Repository[Member](session)
    rows: list[Mapping[str, object]] = [{"room": None, "number": 1}, {"number": 1, "guest": "a"}]

    with pytest.raises(ValueError, match="gives no room"):
        await seats.upsert_many(rows, on=["room", "number"])

    assert await seats.count() == 0
    # The default of `club` fills it in.
    for _ in range(2):
        await members.upsert_many([{"email": "ada"}], on=["club", "email"])
    assert await members.count() == 1


async def test_an_upsert_knows_a_unique_index_that_ignores_deleted_rows(
    session: AsyncSession,
) -> None:
    members = db.Repository[Member](session)
    gone = await members.create(email="ada@example.com", notes={"n": 0})
    await members.delete(gone)
    rows = [{"club": "chess", "email": "ada@example.com", "notes": {"n": n}} for n in (1, 2)]
    for row in rows:
        await members.upsert_many([row], on=["club", "email"])
    assert [row.notes for row in await members.find()] == [{"n": 2}]
    assert await members.with_deleted().count() == 2


async def test_rows_are_changed_by_their_keys(session: AsyncSession) -> None:
    samples = Samples(session)
    made = await samples.create_many(codes(MANY))
    held = made[7]
    keys = [row.id for row in made[:-1]]
    held.updated_at = datetime(2020, 1, 1, tzinfo=UTC)
    await session.flush()

    assert await samples.update_many([*keys, uuid4()], text="changed") == MANY - 1
    assert await samples.update_many([], text="none") == 0

    assert (held.text, held.version) == ("changed", 3)
    assert await samples.count(Sample.text == "changed", Sample.version > 1) == MANY - 1
    session.expunge_all()
    assert (await samples.get_one(held.id)).updated_at.year > 2020
    with pytest.raises(ValueError, match="no values"):
        await samples.update_many(keys)


async def test_what_a_change_gives_is_not_made(session: AsyncSession) -> None:
    samples, moment = Samples(session), datetime(2020, 1, 1, tzinfo=UTC)
    made = await samples.create_many(codes(3))

    await samples.upsert_many([{"code": "000000", "stamped": moment}], on=["code"])
    await samples.update_rows([{"id": made[1].id, "stamped": moment}])
    await samples.update_many([made[2].id], stamped=moment)

    session.expunge_all()
    assert {row.stamped for row in await samples.find()} == {moment}


async def test_each_row_gets_its_own_values(session: AsyncSession) -> None:
    samples = Samples(session)
    made = await samples.create_many(codes(MANY))
    rows = [{"id": row.id, "text": row.code, "document": {"n": row.number}} for row in made]

    assert await samples.update_rows([*rows, {"id": uuid4(), "text": "nobody"}]) == MANY

    assert (made[3].text, made[3].document, made[3].version) == ("000003", {"n": 3}, 2)
    session.expunge_all()
    for row in (await samples.find(order_by=Sample.code))[:50]:
        assert (row.text, row.document, row.version) == (row.code, {"n": row.number}, 2)
    with pytest.raises(ValueError, match="gives no id"):
        await samples.update_rows([{"text": "whose?"}])
    assert await samples.update_rows([]) == 0


async def test_rows_of_their_own_values_take_what_may_be_written(session: AsyncSession) -> None:
    class Named(db.Repository[Sample]):
        writable = {"text"}

    row = await Samples(session).create(code="a")
    now = datetime.now(UTC)
    for samples, name, value in (
        (Samples(session), "created_at", now),
        (Named(session), "number", 1),
    ):
        with pytest.raises(db.NotWritable, match=name):
            await samples.update_rows([{"id": row.id, name: value}])
    changed = [{"id": row.id, "version": row.version, "text": "b"}]
    assert await Named(session).update_rows(changed) == 1
    assert (row.text, row.number, row.version) == ("b", None, 2)


async def test_a_key_is_not_taken_for_a_value(session: AsyncSession) -> None:
    leaflets = db.Repository[Leaflet](session)
    one, two = await leaflets.create_many([{"pages": 1.0}, {"pages": 2.0}])

    await leaflets.update_rows([{"id": one.id, "at_id": two.id}])

    assert (one.at_id, two.at_id) == (two.id, 0)


async def test_a_deferred_column_in_hand_follows(session: AsyncSession) -> None:
    leaflets = db.Repository[Leaflet](session)
    made = await leaflets.create_many([{"pages": 1.0, "story": "old"}])
    session.expunge_all()
    (row,) = await leaflets.find(options=[undefer(Leaflet.story)])

    await leaflets.update_many([made[0].id], story="new")
    assert row.story == "new"
    await leaflets.update_rows([{"id": row.id, "story": "newer"}])
    assert row.story == "newer"


async def test_a_row_that_changed_since_it_was_read_is_stale(session: AsyncSession) -> None:
    samples = Samples(session)
    made = await samples.create_many(codes(10))
    rows = [{"id": row.id, "version": row.version, "text": "first"} for row in made]

    assert await samples.update_rows(rows[:1]) == 1
    with pytest.raises(db.StaleRow, match="1 of 10 rows of Sample"):
        await samples.update_rows(rows)

    assert await samples.count(Sample.text == "first") == 1
    assert await samples.update_rows(rows[1:]) == 9
    assert {row.version for row in made} == {2}


async def test_rows_are_deleted_by_their_keys(session: AsyncSession) -> None:
    samples = Samples(session)
    made = await samples.create_many(codes(MANY))
    keys = [row.id for row in made]

    assert await samples.delete_many(keys[:-2]) == MANY - 2
    assert await samples.delete_many(keys[:-1]) == 1
    assert await samples.delete_many([]) == 0

    assert await samples.get(keys[0]) is None
    assert [row.code for row in await samples.find()] == [f"{MANY - 1:06}"]


async def test_soft_deletable_rows_are_hidden_by_their_keys(session: AsyncSession) -> None:
    authors = db.Repository[Author](session)
    made = await authors.create_many({"email": f"{number}"} for number in range(4))
    keys = [row.id for row in made]

    assert await authors.delete_many(keys[:2]) == 2
    assert await authors.delete_many(keys[:3]) == 1
    assert await authors.update_many(keys, name="changed") == 1
    assert await authors.update_rows({"id": key, "name": "own"} for key in keys) == 1

    assert [row.is_deleted for row in made] == [True, True, True, False]
    assert await authors.get(keys[0]) is None
    assert await authors.count() == 1
    assert await authors.with_deleted().count(Author.name == "Ada") == 3
    assert await authors.with_deleted().update_many(keys, name="changed") == 4


async def test_keys_may_have_several_columns(session: AsyncSession) -> None:
    placements = db.Repository[Placement](session)
    rows = [{"shelf": "a", "place": number, "price": Decimal(number)} for number in range(9)]
    await placements.insert_many(rows)

    changed = [{"shelf": "a", "place": 1, "price": Decimal("1.5")}]
    assert await placements.update_rows(changed) == 1
    assert await placements.upsert_many(changed, on=["shelf", "place"]) == 1
    assert await placements.delete_many([("a", number) for number in range(2, 9)]) == 7

    assert [row.price for row in await placements.find(order_by=Placement.place)] == [
        Decimal(0),
        Decimal("1.5"),
    ]


async def test_what_the_session_holds_is_written_first(session: AsyncSession) -> None:
    author = Author(email="ada", id=UUID(int=7))
    session.add(author)
    await db.Repository[Book](session).insert_many([{"author_id": author.id, "title": "First"}])
    assert await db.Repository[Book](session).count() == 1


async def test_of_rows_with_a_null_none_is_the_same(session: AsyncSession) -> None:
    seats = db.Repository[Seat](session)
    rows: list[Mapping[str, object]] = [
        {"room": None, "number": 1, "guest": "a"},
        {"room": None, "number": 1, "guest": "b"},
        {"room": "x", "number": 1, "guest": "c"},
        {"room": "x", "number": 1, "guest": "d"},
    ]

    assert await seats.upsert_many(rows, on=["room", "number"]) == 4

    assert sorted(str(seat.guest) for seat in await seats.find()) == ["a", "b", "d"]


async def test_rows_of_another_class_in_the_table_are_left_alone(session: AsyncSession) -> None:
    engineer = await db.Repository[Engineer](session).create(email="e", name="kept")
    manager = await db.Repository[Manager](session).create(email="m", name="old")
    managers, keys = db.Repository[Manager](session), [engineer.id, manager.id]

    rows = [{"id": key, "name": "own", "bonus": 1} for key in keys]
    assert await managers.update_rows(rows) == 1
    assert await managers.update_many([engineer.id], name="changed") == 0
    assert await managers.delete_many([engineer.id]) == 0
    new = [{"email": email, "name": "new", "bonus": 2} for email in ("e", "m", "n")]
    await managers.upsert_many(new, on=["email"])

    session.expunge_all()
    found = await db.Repository[Employee](session).find(order_by=Employee.email)
    assert [(row.kind, row.name) for row in found] == [
        ("engineer", "kept"),
        ("manager", "new"),
        ("manager", "new"),
    ]
    assert await db.Repository[Employee](session).update_many(keys, name="all") == 2


async def test_rows_that_a_repository_does_not_see_are_left_alone(session: AsyncSession) -> None:
    members = db.Repository[Member](session)
    rows = [("chess", "ada"), ("go", "ada"), ("chess", "eva"), ("100%", "ada")]
    made = await members.create_many({"club": club, "email": email} for club, email in rows)
    keys = [row.id for row in made]
    seen = [True, False, False, True]

    assert await Chess(session).update_many(keys, notes={"n": 1}) == 2
    assert [row.notes == {"n": 1} for row in made] == seen
    assert await Chess(session).update_rows({"id": key, "notes": {"n": 2}} for key in keys) == 2
    assert [row.notes == {"n": 2} for row in made] == seen
    new = [{"club": club, "email": email, "notes": {"n": 3}} for club, email in rows]
    await Chess(session).upsert_many(new, on=["club", "email"])
    session.expire_all()
    found = await members.find(order_by=Member.id)
    assert [row.notes == {"n": 3} for row in found] == seen
    assert await Chess(session).delete_many(keys) == 2
    assert [row.is_deleted for row in made] == seen


async def test_a_change_may_take_a_row_out_of_a_repository(session: AsyncSession) -> None:
    class Few(db.Repository[Sample]):
        def statement(self) -> sa.Select[Sample]:
            return super().statement().where(Sample.number < 5)

    samples = Samples(session)
    await samples.insert_many([{"code": "a", "number": 1}, {"code": "b", "number": 6}])

    rows = [{"code": code, "number": 7, "small": 7, "text": "new"} for code in "ab"]
    await Few(session).upsert_many(rows, on=["code"])

    found = await samples.find(order_by=Sample.code)
    assert [(x.number, x.small, x.text) for x in found] == [(7, 7, "new"), (6, None, None)]
    assert [x.version for x in found] == [2, 1]


async def test_a_percent_sign_of_a_statement_is_one(session: AsyncSession) -> None:
    class Full(db.Repository[Member]):
        def statement(self) -> sa.Select[Member]:
            return super().statement().where(Member.club == sa.literal_column("'100%'"))

    members = db.Repository[Member](session)
    rows = [{"club": club, "email": "ada"} for club in ("100%", "chess")]
    await members.insert_many(rows)
    new = [{**row, "notes": {"n": 1}} for row in rows]
    await Full(session).upsert_many(new, on=["club", "email"])

    found = await members.find(order_by=Member.club)
    assert [row.notes for row in found] == [{"n": 1}, {}]


async def test_a_repository_whose_statement_is_no_mere_where_changes_no_rows_by_it(
    session: AsyncSession,
) -> None:
    class OfAda(db.Repository[Book]):
        def statement(self) -> sa.Select[Book]:
            return super().statement().join(Book.author).where(Author.name == "Ada")

    books = OfAda(session)
    for changes in (
        books.update_many([1], title="a"),
        books.update_rows([{"id": 1, "title": "a"}]),
        books.upsert_many([{"id": 1, "title": "a"}], on=["id"]),
        books.delete_many([1]),
    ):
        with pytest.raises(TypeError, match="OfAda has more than a WHERE"):
            await changes


async def test_a_row_in_hand_holds_what_the_database_does(session: AsyncSession) -> None:
    author = await db.Repository[Author](session).create(email="ada")
    books = db.Repository[Book](session)
    book = await books.create(author_id=author.id, title="First")
    await books.load(book, "author")
    old = book.updated_at = datetime(2020, 1, 1, tzinfo=UTC)
    await session.flush()

    assert await books.update_many([book.id, book.id], pages=Book.pages + 1) == 1
    assert (book.pages, book.version, book.author) == (2, 3, author)
    assert book.updated_at > old
    rows = [{"id": book.id, "title": title} for title in ("a", "b")]
    await books.update_rows(rows)
    assert book.title == "b"
    await books.update(book, pages=9)
    await books.delete(book)
    version = book.version
    assert await books.update_many([book.id], pages=1) == 0
    assert await books.update_rows([{"id": book.id, "pages": 1}]) == 0
    assert (book.pages, book.version) == (9, version)
    await books.restore(book)


async def test_a_row_in_hand_is_known_by_a_key_in_any_order(session: AsyncSession) -> None:
    reviews = db.Repository[Review](session)
    row = await reviews.create(book="a", reader=1, stars=1)
    await reviews.update_rows([{"book": "a", "reader": 1, "stars": 5}])
    assert row.stars == 5


async def test_a_key_of_another_type_is_refused(session: AsyncSession) -> None:
    samples, placements = Samples(session), db.Repository[Placement](session)
    row = await samples.create(code="a")
    place = await placements.create(shelf="a", place=1, price=Decimal(1))

    for changes in (
        samples.update_many([row.id, str(row.id)], text="changed"),
        samples.update_rows([{"id": str(row.id), "text": "changed"}]),
        samples.delete_many([str(row.id)]),
        placements.update_many([("a", "1")], price=Decimal(2)),
    ):
        with pytest.raises(TypeError, match="keys must be .*, not str"):
            await changes
    # None is no row's.
    assert await placements.update_many([("a", 1), ("a", None)], price=Decimal(3)) == 1
    assert (row.text, place.price) == (None, Decimal(3))


async def test_a_row_in_hand_goes_when_it_is_deleted_and_not_before(session: AsyncSession) -> None:
    class Small(db.Repository[Sample]):
        def statement(self) -> sa.Select[Sample]:
            return super().statement().where(Sample.small < 5)

    made = await Samples(session).create_many([{"code": "a", "small": 1}, {"code": "b"}])
    keys = [row.id for row in made]
    assert await Small(session).delete_many([*keys, *keys]) == 1
    assert [row in session for row in made] == [False, True]
    assert made[0].code == "a"


async def test_a_row_is_not_given_twice_with_its_version(session: AsyncSession) -> None:
    row = await Samples(session).create(code="a")
    twice = [{"id": row.id, "version": row.version, "text": text} for text in "ab"]
    with pytest.raises(ValueError, match="given twice"):
        await Samples(session).update_rows(twice)
    assert (row.text, row.version) == (None, 1)


@pytest.mark.usefixtures("minimum_rows")
async def test_columns_may_have_names_and_expressions_of_their_own(session: AsyncSession) -> None:
    secrets = db.Repository[Secret](session)

    await secrets.insert_many([{"id": 1, "word": "a", "plain": "p"}, {"id": 2}])
    await secrets.upsert_many([{"id": n, "word": "b"} for n in (1, 3)], on=["id"])
    await secrets.update_rows([{"id": 2, "word": "c", "plain": "q"}])
    await secrets.update_many([3], plain="r")

    rows = await session.execute(sa.text("SELECT * FROM bulk_rows ORDER BY 1"))
    assert [tuple(row) for row in rows] == [(1, "b!", "p"), (2, "c!", "q"), (3, "b!", "r")]
    assert [row.word for row in await secrets.find(order_by=Secret.id)] == ["b", "c", "b"]


@pytest.mark.usefixtures("minimum_rows")
async def test_columns_of_the_same_name_may_be_of_other_types(session: AsyncSession) -> None:
    author = await db.Repository[Author](session).create(email="ada")
    book = await db.Repository[Book](session).create(author_id=author.id, title="a")
    leaflet = await db.Repository[Leaflet](session).create(pages=1.5)

    await db.Repository[Leaflet](session).update_rows([{"id": leaflet.id, "pages": 2.5}])
    await db.Repository[Book](session).update_rows([{"id": book.id, "pages": 2}])

    assert (leaflet.pages, book.pages) == (2.5, 2)


async def test_what_gives_the_rows_may_write_others(session: AsyncSession) -> None:
    secrets = db.Repository[Secret](session)

    async def rows() -> AsyncIterator[Mapping[str, object]]:
        for number in range(2_001):
            yield {"id": number}
        await secrets.upsert_many([{"id": 3_000}], on=["id"])
        await secrets.update_rows([{"id": 3_000, "plain": "last"}])
        yield {"id": 2_001, "plain": "x"}

    assert await secrets.upsert_many(rows(), on=["id"]) == 2_002
    assert await secrets.count() == 2_003


async def test_what_gives_the_rows_may_not_end_their_transaction(
    fresh_database: db.Database,
) -> None:
    async def rows(session: AsyncSession) -> AsyncIterator[Mapping[str, object]]:
        for row in codes(3_000):
            yield row
        await session.commit()

    with pytest.raises(InvalidRequestError, match="a session of its own"):
        async with fresh_database.transaction() as session:
            await Samples(session).upsert_many(rows(session), on=["code"])
    async with fresh_database.transaction() as session:
        # On the same connection, twice.
        assert await Samples(session).upsert_many(codes(3), on=["code"]) == 3
        assert await Samples(session).upsert_many(codes(4), on=["code"]) == 4


async def test_keys_of_several_columns_come_in_any_number(session: AsyncSession) -> None:
    placements = db.Repository[Placement](session)
    keys = [("a", number) for number in range(10_000)]
    await placements.insert_many({"shelf": a, "place": n, "price": Decimal(1)} for a, n in keys)

    assert len(await placements.get_many(keys)) == len(keys)
    session.expunge_all()
    assert await placements.update_many(keys, price=Decimal(2)) == len(keys)
    assert await placements.delete_many(keys) == len(keys)


async def test_keys_of_a_type_of_their_own_come_in_any_number(session: AsyncSession) -> None:
    shelves = db.Repository[Shelf](session)
    await shelves.insert_many({"size": size} for size in Size)

    assert [row.size for row in await shelves.get_many([*Size])] == [*Size]
    session.expunge_all()
    assert await shelves.delete_many([*Size]) == len(Size)

    folders, paths = db.Repository[Folder](session), [PurePosixPath("a"), PurePosixPath("a/b")]
    await folders.insert_many({"path": path} for path in paths)
    assert [row.path for row in await folders.get_many(paths)] == paths
    session.expunge_all()
    assert await folders.delete_many(paths) == len(paths)


async def test_a_value_that_does_not_fit_is_told_as_a_flush_tells_it(
    session: AsyncSession,
) -> None:
    samples = Samples(session)
    row = await samples.create(code="a")
    wrong: list[dict[str, object]] = [
        {"reference": "4111-1111"},
        {"moment": "4111-1111"},
        {"flag": "4111-1111"},
        {"number": 4111_1111**9},
        {"blob": "4111-1111"},
        {"document": {"a": b"4111-1111"}},
    ]
    for values in wrong:
        for write in (
            samples.create(code="b", **values),
            samples.insert_many([{"code": "b", **values}]),
            samples.upsert_many([{"code": "a", **values}], on=["code"]),
            samples.update_many([row.id], **values),
            samples.update_rows([{"id": row.id, **values}]),
        ):
            with pytest.raises(db.InvalidValue) as raised:
                async with session.begin_nested():
                    await write
            assert "4111" not in str(raised.value)


@pytest.mark.usefixtures("minimum_rows")
@pytest.mark.parametrize(
    "values", [{"document": {"a": b"4111"}}, {"text": "4111\ud800"}], ids=["json", "text"]
)
async def test_a_refused_value_among_other_rows_is_an_invalid_value(
    session: AsyncSession, values: Mapping[str, object]
) -> None:
    samples = Samples(session)
    await samples.insert_many(complete(3))
    keys = [row.id for row in await samples.find(order_by=Sample.code)]
    rows = [{**row, "document": None, "text": ""} for row in complete(3)]
    rows[-1] |= values
    for write in (
        samples.insert_many({**row, "code": f"new {row['code']}"} for row in rows),
        samples.upsert_many(rows, on=["code"]),
        samples.update_rows({"id": key, **row} for key, row in zip(keys, rows, strict=True)),
    ):
        with pytest.raises(db.InvalidValue) as raised:
            await write
        assert "4111" not in str(raised.value)
    assert await samples.count(Sample.text.is_(None)) == 3


async def test_a_mistake_of_what_gives_the_rows_is_not_taken_for_a_value(
    session: AsyncSession,
) -> None:
    class Interrupt(BaseException):
        pass

    def rows(kind: type[BaseException]) -> Iterator[Mapping[str, object]]:
        yield from complete(MANY)
        raise kind("the caller's own")

    samples = Samples(session)
    for kind in (TypeError, Interrupt):
        for write in (
            samples.insert_many(rows(kind)),
            samples.upsert_many(rows(kind), on=["code"]),
        ):
            with pytest.raises(kind, match="caller's own"):
                await write
        assert await samples.count() == 0


async def test_types_that_a_driver_cannot_copy_are_inserted(session: AsyncSession) -> None:
    cards = db.Repository[Card](session)
    row = {"address": "08:00:2b:01:02:03", "addresses": ["08:00:2b:01:02:04"]}

    await cards.insert_many([row])
    await cards.insert_many([{"id": 70, **row}])

    for card in await cards.find():
        assert {"address": card.address, "addresses": card.addresses} == row


async def test_a_version_that_is_no_count_is_not_counted(session: AsyncSession) -> None:
    cards = db.Repository[Card](session)
    row = await cards.create(address="08:00:2b:01:02:03", addresses=[])
    for write in (
        cards.update_many([row.id], addresses=[]),
        cards.update_rows([{"id": row.id, "addresses": []}]),
        cards.upsert_many([{"id": row.id, "address": row.address, "addresses": []}], on=["id"]),
    ):
        with pytest.raises(TypeError, match="one by one"):
            await write
    assert await cards.delete_many([row.id]) == 1


async def test_a_model_in_several_tables_says_what_to_call_instead(session: AsyncSession) -> None:
    students = db.Repository[Student](session)
    for write in (
        students.upsert_many([{"name": "a"}], on=("name",)),
        students.update_rows([{"name": "a", "grade": 1}]),
        students.update_many(["a"], grade=1),
        students.delete_many(["a"]),
    ):
        with pytest.raises(TypeError, match=r"several tables.*create_many\(\).*delete\(\)"):
            await write


async def test_rows_of_a_model_in_several_tables_are_inserted(session: AsyncSession) -> None:
    students = db.Repository[Student](session)
    values = {"wakes": time(7), "sleeps": timedelta(hours=8), "_password": "x"}
    rows = [{"name": name, "grade": grade, **values} for grade, name in enumerate(("Ada", "Eva"))]
    assert await students.insert_many(rows) == 2
    found = await db.Repository[Person](session).find(order_by=Person.name)
    assert [(type(row), row.name, row.kind) for row in found] == [
        (Student, "Ada", "student"),
        (Student, "Eva", "student"),
    ]


async def test_what_may_be_written_is_what_nobody_else_makes(session: AsyncSession) -> None:
    people = db.Repository[Person](session)
    values: dict[str, object] = {"wakes": time(7), "sleeps": timedelta(hours=8), "_password": "x"}

    person = await people.create(name="Ada", **values)
    await people.create_many([{"name": "Eva", **values}])

    with pytest.raises(db.NotWritable, match="name"):
        await people.update(person, name="Eve")
    for name in ("kind", "length"):
        with pytest.raises(db.NotWritable, match=name):
            await people.create(name="Eve", **values, **{name: "x"})
    with pytest.raises(db.NotWritable) as raised:
        await people.create(name="Eve", password="x", nonsense=1)
    assert raised.value.__notes__ == ['To allow it: add "password" to `writable` of the repository']


async def test_the_names_of_a_constraint_are_no_text(session: AsyncSession) -> None:
    with pytest.raises(TypeError, match=r'on=\("email",\)'):
        await db.Repository[Author](session).upsert_many([{"email": "a"}], on="email")
