"""Lists over HTTP: the parameters that a repository declares, typed in OpenAPI, and no others."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
import pytest_asyncio
from fastapi import APIRouter
from httpx import AsyncClient

from . import db
from .models import Colour, Sample
from .test_fastapi import serve
from .web import fastapi as web
from .web import fastapi_lists as lists


class Samples(db.Repository[Sample]):
    sortable = {"code": Sample.code, "number": Sample.number}
    filterable = {
        "number": Sample.number,
        "text": Sample.text,
        "colour": Sample.colour,
        "moment": Sample.moment,
    }


class Unsorted(db.Repository[Sample]):
    filterable = {"code": Sample.code}


router = APIRouter(responses=web.PROBLEMS)

Numbered = Annotated[lists.ListQuery, lists.page_query(Samples, sort=("-code",), size=2)]
Pages = Annotated[lists.ListQuery, lists.cursor_query(Samples, size=5, max_size=10)]


@router.get("/samples")
async def list_samples(session: web.ReadSession, query: Numbered) -> db.Page[str]:
    page = await query.page(Samples(session))
    return page.map(lambda row: row.code)


@router.get("/feed")
async def feed(
    session: web.ReadSession, query: Pages, least: int | None = None
) -> db.CursorPage[str]:
    where = [] if least is None else [Sample.number >= least]
    page = await query.cursor_page(Samples(session), *where)
    return page.map(lambda row: row.code)


@pytest_asyncio.fixture(loop_scope="session")
async def client(database: db.Database) -> AsyncGenerator[AsyncClient]:
    async with database.transaction() as session:
        await Samples(session).create_many(
            {
                "code": f"{number}",
                "number": number,
                "text": "even" if number % 2 == 0 else "odd",
                "colour": Colour.RED if number < 3 else Colour.GREEN,
                "moment": datetime(2026, 1, number + 1, tzinfo=UTC),
            }
            for number in range(5)
        )
    async with serve(database, router) as client:
        yield client


@pytest.mark.parametrize(
    ("query", "codes"),
    [
        ("", "43"),
        ("page=2", "21"),
        ("size=10", "43210"),
        ("size=10&sort=code", "01234"),
        ("size=10&number__gte=3", "43"),
        ("size=10&text=even&colour=red", "20"),
        ("size=10&text__contains=d&sort=number", "13"),
        ("size=10&colour__in=red&colour__in=green&number__lt=1", "0"),
        ("size=10&moment__lt=2026-01-02T01:00:00%2B01:00", "0"),
        ("size=10&text__isnull=true", ""),
        ("size=10&text__isnull=false&number__lt=1", "0"),
        ("size=10&number=0", "0"),
        ("size=10&sort=-number&sort=code", "43210"),
    ],
)
async def test_a_request_filters_sorts_and_pages(
    client: AsyncClient, query: str, codes: str
) -> None:
    answer = await client.get(f"/samples?{query}")
    assert answer.status_code == 200, answer.text
    assert "".join(answer.json()["items"]) == codes


async def test_pages_by_cursor_keep_their_filters(client: AsyncClient) -> None:
    query = "size=2&sort=-code&number__gt=0&least=2"
    first = (await client.get(f"/feed?{query}")).json()
    second = (await client.get(f"/feed?{query}&cursor={first['next']}")).json()

    assert (first["items"], second["items"]) == (["4", "3"], ["2"])
    assert (first["previous"], second["next"]) == (None, None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("numbr=1", "numbr"),
        ("number__contains=1", "number__contains"),
        ("least=1", "least"),
        ("number=secret", "number"),
        ("number=9223372036854775808", "number"),
        ("moment__lt=2026-01-02", "moment__lt"),
        ("colour=blue", "colour"),
        ("colour__in=red&colour__in=blue", "colour__in.1"),
        ("text=" + "x" * 1001, "text"),
        ("text=%00", "text"),
        ("sort=metadata", "sort.0"),
        ("sort=code&sort=code&sort=code", "sort"),
        ("sort=code&sort=-code&sort=code", "sort"),
        ("size=0", "size"),
        ("size=101", "size"),
        ("page=0", "page"),
        ("page=10001", "page"),
        ("number=1&number=2", "number"),
        ("page=1&page=2", "page"),
    ],
)
async def test_a_parameter_that_the_list_has_not_is_refused_by_its_name(
    client: AsyncClient, query: str, field: str
) -> None:
    answer = await client.get(f"/samples?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["fields"] == [field]
    assert "secret" not in answer.text


async def test_a_name_that_comes_twice_in_the_order_is_refused(client: AsyncClient) -> None:
    assert (await client.get("/samples?sort=code&sort=code")).status_code == 422


async def test_a_list_without_orders_has_none(database: db.Database) -> None:
    router, unsorted = APIRouter(), lists.page_query(Unsorted)

    @router.get("/plain")
    async def plain(session: web.ReadSession, query: lists.ListQuery = unsorted) -> db.Page[str]:
        page = await query.page(Unsorted(session))
        return page.map(lambda row: row.code)

    async with database.transaction() as session:
        await Samples(session).create_many({"code": code} for code in "abc")
    async with serve(database, router) as client:
        assert (await client.get("/plain?code__in=a&code__in=b")).json()["total"] == 2
        assert (await client.get("/plain?sort=code")).json()["fields"] == ["sort"]


async def test_a_route_that_openapi_does_not_have_takes_its_parameters(
    database: db.Database,
) -> None:
    router = APIRouter(prefix="/hidden")
    router.add_api_route("/{key:int}", list_samples, include_in_schema=False)
    router.add_api_route("/shown/{key:int}", list_samples)
    async with serve(database, router) as client:
        assert (await client.get("/hidden/007?page=1&text=a")).status_code == 200
        assert (await client.get("/hidden/shown/007?page=1&text=a")).status_code == 200
        assert (await client.get("/hidden/shown/007?pages=1")).json()["fields"] == ["pages"]


async def test_a_page_has_no_more_rows_than_the_route_allows(client: AsyncClient) -> None:
    assert (await client.get("/feed?size=10")).status_code == 200
    assert (await client.get("/feed?size=11")).json()["fields"] == ["size"]


async def test_openapi_has_the_type_of_each_parameter(client: AsyncClient) -> None:
    description = (await client.get("/openapi.json")).json()
    operation = description["paths"]["/samples"]["get"]
    parameters = {each["name"]: each for each in operation["parameters"]}

    def kinds(name: str) -> list[object]:
        schema = parameters[name]["schema"]
        return [each.get("type") or each["$ref"] for each in schema.get("anyOf", [schema])]

    assert kinds("number__gte") == ["integer", "null"]
    assert kinds("text__contains") == ["string", "null"]
    assert kinds("colour") == ["#/components/schemas/Colour", "null"]
    assert kinds("colour__in") == ["array", "null"]
    assert kinds("moment__isnull") == ["boolean", "null"]
    assert parameters["moment__lt"]["schema"]["anyOf"][0]["format"] == "date-time"
    assert parameters["number__gte"]["description"] == "number is at least"
    orders = ["code", "-code", "number", "-number"]
    assert parameters["sort"]["schema"]["items"]["enum"] == orders
    assert parameters["size"]["schema"]["maximum"] == 100
    assert not any(each.get("required") for each in parameters.values())
    assert "request" not in parameters


def test_a_filter_cannot_have_the_name_of_a_parameter_of_the_page() -> None:
    class Boxes(db.Repository[Sample]):
        filterable = {"size": Sample.number, "code": Sample.code}

    with pytest.raises(TypeError, match="list itself has: size"):
        lists.page_query(Boxes)


@pytest.mark.parametrize("name", ["author.name", "from", "due-on", ""])
def test_a_filter_whose_name_is_no_identifier_is_refused(name: str) -> None:
    class Boxes(db.Repository[Sample]):
        filterable = {name: Sample.number}

    with pytest.raises(TypeError, match=f"no Python identifier: '{name}'. Write letters, digits"):
        lists.page_query(Boxes)


@pytest.mark.parametrize(
    "options", [{"sort": ("-nope",)}, {"sort": "code"}, {"size": 101}, {"size": 0}], ids=str
)
def test_defaults_that_no_request_could_have_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sort has names|size is from 1"):
        lists.cursor_query(Samples, **options)
