"""Pages have a whole order, and each row has its place while others come and go."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from . import cursor as cursors
from . import db
from .models import Author, Book, Colour, Leaflet, Sample, Shelf, Size


class Samples(db.Repository[Sample]):
    sortable = {
        "id": Sample.id,
        "code": Sample.code,
        "number": Sample.number,
        "colour": Sample.colour,
        "price": Sample.price,
        "moment": Sample.moment,
        "length": sa.func.length(Sample.text),
        "document": Sample.document,
    }


SORTS = [
    (),
    ("code",),
    ("-id",),
    ("number",),
    ("-number",),
    ("number", "code"),
    ("-number", "code"),
    ("code", "-number"),
    ("price", "-colour", "moment"),
    ("-colour", "-price", "number"),
    ("moment", "code"),
    ("length", "-moment"),
]


@pytest_asyncio.fixture(loop_scope="session")
async def samples(session: AsyncSession) -> Samples:
    """Twelve rows, with ties and NULLs in most columns."""
    samples = Samples(session)
    for index in range(12):
        await samples.create(
            code=f"{index % 5}.{index}",
            number=None if index % 4 == 0 else index % 3,
            colour=[None, *Colour][index % 3],
            price=None if index % 5 == 0 else Decimal(index % 3) / 4,
            moment=datetime(2026, 1, 1 + index % 2, tzinfo=UTC) if index % 3 else None,
            text=None if index == 7 else "x" * (index % 4),
        )
    return samples


async def walk(samples: Samples, sort: Sequence[str], size: int) -> list[list[str]]:
    """The pages from the first to the last."""
    page = await samples.cursor_page(size=size, sort=sort)
    pages = [page]
    while page.next:
        page = await samples.cursor_page(size=size, sort=sort, cursor=page.next)
        pages.append(page)
    return [[row.code for row in page.items] for page in pages]


async def walk_back(samples: Samples, sort: Sequence[str], size: int) -> list[list[str]]:
    """The pages back to the first, from the cursor that the last page has for the one before it."""
    page = await samples.cursor_page(size=size, sort=sort)
    while page.next:
        page = await samples.cursor_page(size=size, sort=sort, cursor=page.next)
    pages = [page]
    while page.previous:
        page = await samples.cursor_page(size=size, sort=sort, cursor=page.previous)
        pages.append(page)
    return [[row.code for row in page.items] for page in reversed(pages)]


def expected(rows: Sequence[Sample], sort: Sequence[str]) -> list[str]:
    """Python's own idea of the order: NULL after every value, the key to break ties."""
    rows = sorted(rows, key=lambda row: row.id, reverse=bool(sort) and sort[-1].startswith("-"))
    for name in reversed(sort):

        def place(row: Sample, name: str = name.removeprefix("-")) -> tuple[bool, object]:
            value = row.text and len(row.text) if name == "length" else getattr(row, name)
            value = 0 if row.text == "" and name == "length" else value
            return value is None, "" if value is None else value

        rows = sorted(rows, key=place, reverse=name.startswith("-"))
    return [row.code for row in rows]


@pytest.mark.parametrize("sort", SORTS, ids=" ".join)
async def test_a_walk_meets_each_row_once_and_in_order(
    samples: Samples, sort: Sequence[str]
) -> None:
    codes = expected(await samples.find(), sort)
    for size in (1, 5, 12, 20):
        pages = [codes[start : start + size] for start in range(0, len(codes), size)]
        assert await walk(samples, sort, size) == pages
        back = await walk_back(samples, sort, size)
        assert [code for page in back for code in page] == codes
        numbered = [(await samples.page(number=n + 1, size=size, sort=sort)) for n in range(3)]
        assert [[row.code for row in page.items] for page in numbered[:1]] == pages[:1]
        assert {page.total for page in numbered} == {12}


async def test_the_first_page_has_none_before_it_and_the_last_none_after(samples: Samples) -> None:
    first = await samples.cursor_page(size=8, sort=("code",))
    assert first.next and first.previous is None
    last = await samples.cursor_page(size=8, sort=("code",), cursor=first.next)
    assert last.next is None and last.previous
    again = await samples.cursor_page(size=8, sort=("code",), cursor=last.previous)
    assert again == first
    whole = await samples.cursor_page(size=12)
    assert (whole.next, whole.previous) == (None, None)


async def test_no_row_is_skipped_or_repeated_when_others_come_and_go(samples: Samples) -> None:
    page = await samples.cursor_page(size=4, sort=("-number", "code"))
    met = [row.code for row in page.items]
    remaining = [row.code for row in await samples.find() if row.code not in met]
    # One that was met goes, one comes in before the place, one after it.
    await samples.delete(page.items[-1])
    await samples.create(code="before", number=9)
    await samples.create(code="zz", number=0)
    while page.next:
        page = await samples.cursor_page(size=4, sort=("-number", "code"), cursor=page.next)
        met += [row.code for row in page.items]

    assert sorted(met[4:]) == sorted([*remaining, "zz"])


async def test_the_way_back_from_an_end_that_moved_begins_there(samples: Samples) -> None:
    first = await samples.cursor_page(size=6, sort=("code",))
    await samples.session.execute(sa.delete(Sample).where(Sample.code > first.items[-1].code))

    beyond = await samples.cursor_page(size=6, sort=("code",), cursor=first.next)
    assert (beyond.items, beyond.next) == ([], None)
    back = await samples.cursor_page(size=6, sort=("code",), cursor=beyond.previous)
    assert back.items == first.items
    assert (back.next, back.previous) == (None, None)


async def test_a_place_is_as_the_database_has_it(samples: Samples) -> None:
    await samples.session.execute(
        sa.update(Sample).values(number=Sample.number + 10),
        execution_options={"synchronize_session": False},
    )
    # The session's rows still hold the old numbers, and so would a cursor made from them.
    codes = [code for page in await walk(samples, ("number",), 3) for code in page]
    assert len(codes) == len(set(codes)) == 12


async def test_a_cursor_of_anything_else_is_refused(samples: Samples) -> None:
    cursor = (await samples.cursor_page(size=4, sort=("code",))).next
    assert cursor
    books = db.Repository[Book](samples.session)
    for wrong in (cursor[1:], cursor + "AAAA", cursor[:-2] + "AA", "", "x", "ö", "null", "a b"):
        with pytest.raises(db.InvalidCursor):
            await samples.cursor_page(sort=("code",), cursor=wrong)
    for sort in ((), ("-code",), ("code", "number")):
        with pytest.raises(db.InvalidCursor):
            await samples.cursor_page(sort=sort, cursor=cursor)
    with pytest.raises(db.InvalidCursor):
        await books.cursor_page(cursor=(await samples.cursor_page(size=4)).next)


@pytest.mark.parametrize(
    "values",
    [
        *([], [1, 2, 3], [None, None], [[1], [2]]),
        *([["q", "x"], 1], [["t", "x"], 1], [["n", "x"], 1]),
    ],
    ids=str,
)
async def test_a_cursor_that_was_not_made_here_is_refused(
    samples: Samples, values: Sequence[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_it_is(value: object) -> object:
        return value

    monkeypatch.setattr(cursors, "_pack", as_it_is)
    cursor = cursors.Cursor(values, backwards=False).encode(Sample, ("code",))
    with pytest.raises(db.InvalidCursor, match="not made here"):
        await samples.cursor_page(sort=("code",), cursor=cursor)


async def test_only_what_is_listed_can_be_sorted_by(samples: Samples) -> None:
    with pytest.raises(db.UnknownField, match="code, .*, not '-metadata'"):
        await samples.page(sort=("-metadata",))
    with pytest.raises(db.UnknownField, match="not '', '--code'"):
        await samples.cursor_page(sort=("--code", ""))


async def test_a_page_that_cannot_be_is_refused(samples: Samples) -> None:
    for number, size in ((0, 5), (1, 0), (-1, 5)):
        with pytest.raises(ValueError, match="at least 1"):
            await samples.page(number=number, size=size)
    with pytest.raises(ValueError, match="at least 1"):
        await samples.cursor_page(size=0)
    with pytest.raises(ValueError, match="limit is at least 0"):
        await samples.find(limit=-1)
    assert await samples.find(limit=0) == []


async def test_a_page_can_become_one_of_something_else(samples: Samples) -> None:
    numbered = await samples.page(size=5, sort=("code",))
    page = await samples.cursor_page(size=5, sort=("code",))

    codes = page.map(lambda row: row.code)

    assert codes.items == numbered.map(lambda row: row.code).items
    assert codes.next == page.next
    assert numbered.pages == 3


async def test_rows_joined_to_a_collection_come_once(session: AsyncSession) -> None:
    authors, books = db.Repository[Author](session), db.Repository[Book](session)
    for name in ("ada", "bob", "eve"):
        author = await authors.create(email=name)
        for title in ("first", "second"):
            await books.create(author_id=author.id, title=title)
    session.expunge_all()
    options = [joinedload(Author.books)]

    page = await authors.cursor_page(size=2, options=options)
    rest = await authors.cursor_page(size=2, options=options, cursor=page.next)

    assert [len(author.books) for author in (*page.items, *rest.items)] == [2, 2, 2]
    assert len((await authors.page(size=2, options=options)).items) == 2
    assert len(await authors.find(options=options)) == 3


async def test_rows_are_walked_by_a_short_float(session: AsyncSession) -> None:
    class Leaflets(db.Repository[Leaflet]):
        sortable = {"weight": Leaflet.weight}

    leaflets = Leaflets(session)
    made = await leaflets.create_many({"pages": 1.0, "weight": n / 10} for n in (1, 1, 7, 7))
    found = list[Leaflet]()
    cursor: str | None = None
    for _ in made:
        page = await leaflets.cursor_page(size=1, sort=("weight",), cursor=cursor)
        found += page.items
        cursor = page.next
    assert found == made
    assert cursor is None


async def test_rows_that_a_join_finds_twice_come_once(session: AsyncSession) -> None:
    class Written(db.Repository[Author]):
        def statement(self) -> sa.Select[Author]:
            return super().statement().join(Author.books)

    authors, books = Written(session), db.Repository[Book](session)
    for name in ("ada", "bob", "eve"):
        author = await authors.create(email=name)
        await books.create_many({"author_id": author.id, "title": title} for title in "abc")

    batches = [[author.email for author in batch] async for batch in authors.batches(size=2)]

    assert batches == [["ada"], ["bob"], ["eve"]]


async def test_rows_that_a_join_finds_twice_are_counted_once_if_distinct(
    session: AsyncSession,
) -> None:
    class Written(db.Repository[Author]):
        sortable = {"email": Author.email}

        def statement(self) -> sa.Select[Author]:
            return super().statement().join(Author.books).distinct()

    authors, books = Written(session), db.Repository[Book](session)
    for name in ("ada", "bob", "eve"):
        author = await authors.create(email=name)
        await books.create_many({"author_id": author.id, "title": title} for title in "abc")

    first = await authors.cursor_page(size=2, sort=("-email",))
    second = await authors.cursor_page(size=2, sort=("-email",), cursor=first.next)
    assert [x.email for x in (*first.items, *second.items)] == ["eve", "bob", "ada"]
    assert second.next is None
    assert (await authors.page(size=2)).total == await authors.count() == 3


async def test_one_string_is_no_list_of_names(samples: Samples) -> None:
    with pytest.raises(TypeError, match="several names"):
        await samples.page(sort="code")
    with pytest.raises(TypeError, match="several names"):
        await samples.cursor_page(sort="code")


async def test_rows_are_walked_by_a_key_that_is_an_enum(session: AsyncSession) -> None:
    shelves = db.Repository[Shelf](session)
    session.add_all([Shelf(size=size) for size in Size])
    await session.flush()
    batches = [[row.size for row in batch] async for batch in shelves.batches(size=1)]
    assert batches == [[Size.LARGE], [Size.SMALL]]
    first = await shelves.cursor_page(size=1)
    last = await shelves.cursor_page(size=1, cursor=first.next)
    assert [row.size for page in (first, last) for row in page.items] == [Size.LARGE, Size.SMALL]


@pytest.mark.parametrize("sort", ["number", "moment", "price"])
async def test_a_cursor_with_values_of_other_types_is_invalid(samples: Samples, sort: str) -> None:
    # A database without strict types compares them all the same.
    forged = cursors.Cursor(["text", "key"], backwards=False).encode(Sample, [sort])
    with suppress(db.InvalidCursor):
        await samples.cursor_page(size=1, sort=[sort], cursor=forged)


async def test_what_a_cursor_cannot_keep_is_refused_on_the_first_page(samples: Samples) -> None:
    with pytest.raises(TypeError, match="document"):
        await samples.cursor_page(sort=("document",))
