"""Pages of any select of an entity: joins, aliases, subqueries, inheritance; and what is refused."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import time, timedelta
from pathlib import PurePosixPath
from typing import Any, ClassVar

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased, with_polymorphic

from . import db
from .models import Author, Book, Folder, Leaflet, Member, Person, Student

NUMBER_OF_BOOKS = (
    sa.select(sa.func.count(Book.id))
    .where(Book.author_id == Author.id)
    .correlate(Author)
    .scalar_subquery()
)
# `Leaflet.book_id` may be NULL, and so may each column of a book that is joined.
LONGEST = sa.select(sa.func.max(Book.pages)).where(Book.author_id == Author.id).scalar_subquery()


class Authors(db.Repository[Author]):
    sortable: ClassVar = {
        "name": Author.name,
        "email": Author.email,
        "books": NUMBER_OF_BOOKS,
        "longest": LONGEST,
    }


class Books(db.Repository[Book]):
    sortable: ClassVar = {"title": Book.title, "pages": Book.pages, "author": Author.email}


class Leaflets(db.Repository[Leaflet]):
    sortable: ClassVar = {"weight": Leaflet.weight, "title": Book.title, "pages": Book.pages}


class People(db.Repository[Person]):
    sortable: ClassVar = {
        "wakes": Person.wakes,
        "sleeps": Person.sleeps,
        "grade": Student.grade,
        "length": sa.func.length(Person.name),
    }


class Folders(db.Repository[Folder]):
    sortable: ClassVar = {"path": Folder.path}


Repository = type[db.Repository[Any]]
Select = Callable[[], sa.Select[Any]]

written = aliased(Author, sa.select(Author).where(Author.name != "Name 0").subquery())
everyone = with_polymorphic(Person, "*")

# Each select of an entity, and the names that its pages are sorted by.
SELECTS: Mapping[str, tuple[Repository, Select, Sequence[str]]] = {
    "plain": (Authors, lambda: sa.select(Author), ("name", "books", "longest")),
    "filtered": (Authors, lambda: sa.select(Author).where(NUMBER_OF_BOOKS > 0), ("email", "name")),
    "alias": (Authors, lambda: sa.select(aliased(Author)), ("name", "email")),
    "subquery": (Authors, lambda: sa.select(written), ("name", "email")),
    "distinct": (
        Authors,
        lambda: sa.select(Author).join(Author.books).distinct(),
        ("name", "longest"),
    ),
    "group by": (
        Authors,
        lambda: (
            sa.select(Author)
            .join(Author.books)
            .group_by(Author.id)
            .having(sa.func.count(Book.id) > 1)
        ),
        ("name", "email", "books"),
    ),
    "limit": (Authors, lambda: sa.select(Author).order_by(Author.email).limit(5), ("name",)),
    "offset": (
        Authors,
        lambda: sa.select(Author).order_by(Author.email).limit(90).offset(3),
        ("name", "email"),
    ),
    "join": (Books, lambda: sa.select(Book).join(Book.author), ("author", "pages", "title")),
    "outer join": (
        Leaflets,
        lambda: sa.select(Leaflet).outerjoin(Leaflet.book),
        ("title", "pages", "weight"),
    ),
    "joined inheritance": (People, lambda: sa.select(Person), ("wakes", "sleeps", "length")),
    "with_polymorphic": (People, lambda: sa.select(everyone), ("wakes", "sleeps")),
    "subclass": (People, lambda: sa.select(Student), ("grade", "wakes")),
    "a key of another type": (Folders, lambda: sa.select(Folder), ("path",)),
}


def _sorts(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Each name alone and each pair, in every mixture of directions."""
    single = [(sign + name,) for name in names for sign in ("", "-")]
    pairs = [
        (one + first, two + second)
        for first in names
        for second in names
        if first != second
        for one, two in (("", ""), ("", "-"), ("-", ""), ("-", "-"))
    ]
    return [(), *single, *pairs]


@pytest_asyncio.fixture(loop_scope="session")
async def filled(session: AsyncSession) -> AsyncGenerator[AsyncSession]:
    authors = [Author(name=f"Name {n % 3}", email=f"{n}") for n in range(7)]
    session.add_all(authors)
    await session.flush()
    books = [
        Book(author=authors[n % 4], title=f"Title {n % 5}{n}", pages=1 + n % 3) for n in range(9)
    ]
    session.add_all(books)
    await session.flush()
    for n in range(8):
        book = None if n % 3 == 0 else books[n % 4].id
        session.add(Leaflet(pages=1.5, weight=0.1 * (n % 3), book_id=book))
    for n in range(6):
        values: dict[str, Any] = {
            "name": f"{'x' * (n % 3)}{n}",
            "wakes": time(6 + n % 2),
            "sleeps": timedelta(hours=n % 3),
            "password": "secret",
        }
        session.add(Student(grade=n % 2, **values) if n % 2 else Person(**values))
    session.add_all(Folder(path=PurePosixPath("/", letter)) for letter in "cab")
    await session.flush()
    yield session


@pytest.mark.parametrize("name", SELECTS)
async def test_a_walk_over_a_select_meets_each_row_once(filled: AsyncSession, name: str) -> None:
    kind, select, names = SELECTS[name]
    rows = kind(filled)
    everything = set((await filled.scalars(select())).unique())
    assert len(everything) > 1
    for sort in _sorts(names):
        whole = await rows.page(size=100, sort=sort, statement=select())
        met = list(whole.items)
        assert len(met) == whole.total == len(everything), sort
        assert set(met) == everything, sort
        for size in (1, 3) if len(sort) < 2 else (2,):
            there, back = await walk(rows, select(), sort, size)
            assert there == met, (sort, size)
            assert back == met[::-1], (sort, size)


async def walk(
    rows: db.Repository[Any], statement: sa.Select[Any], sort: tuple[str, ...], size: int
) -> tuple[list[object], list[object]]:
    """Return the rows from the first page to the last, and from the last to the first."""
    page = await rows.cursor_page(size=size, sort=sort, statement=statement)
    there = list(page.items)
    while page.next:
        page = await rows.cursor_page(size=size, sort=sort, statement=statement, cursor=page.next)
        there += page.items
    back = list(reversed(page.items))
    while page.previous:
        page = await rows.cursor_page(
            size=size, sort=sort, statement=statement, cursor=page.previous
        )
        back += reversed(page.items)
    return there, back


async def test_a_join_that_finds_a_row_several_times_is_refused(filled: AsyncSession) -> None:
    statement = sa.select(Author).join(Author.books)
    for sort in ((), ("name",)):
        with pytest.raises(TypeError, match="a join in the statement finds a row several times"):
            await Authors(filled).cursor_page(statement=statement, sort=sort)
        with pytest.raises(TypeError, match="a join in the statement finds a row several times"):
            await Authors(filled).page(statement=statement, sort=sort)


@pytest.mark.parametrize(
    "statement",
    [
        sa.select(Author.email),
        sa.select(Author, Book),
        sa.select(Author, sa.func.now()),
        sa.select(Book),
    ],
    ids=str,
)
async def test_a_select_of_more_or_less_than_the_model_is_refused(
    session: AsyncSession, statement: sa.Select[Any]
) -> None:
    with pytest.raises(TypeError, match="SELECT of Author alone"):
        await Authors(session).page(statement=statement)


async def test_a_sort_by_what_a_subquery_hides_is_refused(session: AsyncSession) -> None:
    statement = sa.select(Book).join(Book.author).distinct()
    with pytest.raises(TypeError, match="cannot be sorted by .*email: its FROM lacks the table"):
        await Books(session).page(statement=statement, sort=("author",))


async def test_criteria_narrow_a_statement(filled: AsyncSession) -> None:
    statement = sa.select(Author).join(Author.books).distinct()
    page = await Authors(filled).page(Author.email == "1", statement=statement)
    assert ([author.email for author in page.items], page.total) == (["1"], 1)


async def test_a_deleted_row_is_left_out_of_a_statement(filled: AsyncSession) -> None:
    authors = Authors(filled)
    await authors.delete((await authors.find())[0])
    for statement in (sa.select(Author), sa.select(Author).order_by(Author.email).limit(50)):
        assert (await authors.page(statement=statement)).total == 6
        assert (await authors.with_deleted().page(statement=statement)).total == 7


class Level(sa.TypeDecorator[int]):
    """A type that Python sees otherwise than the database does."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else value * 10

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else value // 10


async def test_a_place_is_what_the_database_holds(session: AsyncSession) -> None:
    class Members(db.Repository[Member]):
        sortable: ClassVar = {"level": sa.type_coerce(Member.id, Level)}

    members = Members(session)
    made = await members.create_many({"email": f"{n}"} for n in range(5))
    met, cursor = list[Member](), None
    for _ in made:
        page = await members.cursor_page(size=1, sort=("level",), cursor=cursor)
        met += page.items
        cursor = page.next
    assert met == made


@pytest.mark.parametrize("name", ["place", "place_1", "param_1", "value", "key_1"])
async def test_a_filter_by_a_column_of_any_name_goes_with_a_cursor(
    session: AsyncSession, name: str
) -> None:
    column = sa.literal_column("1", sa.Integer).label(name)
    criterion = sa.bindparam(name, 0, unique=True) < column.element
    members = db.Repository[Member](session)
    made = await members.create_many({"email": f"{n}"} for n in range(3))
    first = await members.cursor_page(criterion, size=1)
    second = await members.cursor_page(criterion, size=5, cursor=first.next)
    assert [*first.items, *second.items] == made
