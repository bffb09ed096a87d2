"""The promises of the invoices to a client that has read /openapi.json and nothing else."""

import operator
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from httpx import AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession

from shop.db import UniqueViolation
from shop.models import InvoiceStatus
from shop.repositories import CustomerRepository, InvoiceRepository

START = date(2026, 1, 31)


@pytest_asyncio.fixture(loop_scope="session")
async def customer(client: AsyncClient) -> str:
    """The key of a customer."""
    created = await client.post("/customers", json={"name": "Ada"})
    assert created.status_code == 201
    key: str = created.json()
    return key


@pytest_asyncio.fixture(loop_scope="session")
async def invoices(client: AsyncClient, customer: str) -> list[dict[str, Any]]:
    """Seven invoices, as they were answered."""
    created = [
        await client.post(
            "/invoices",
            json={
                "customer_id": customer,
                "number": number,
                "total": f"{number * 10}.05",
                "due_on": f"{START + timedelta(days=number % 3)}",
                "status": ["draft", "sent", "paid"][number % 3],
                "details": {"lines": [number]},
            },
        )
        for number in range(7)
    ]
    assert {answer.status_code for answer in created} == {201}
    return [answer.json() for answer in created]


class Description:
    """What /openapi.json says of the list of invoices."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.path, operation = next(
            (path, operations["get"])
            for path, operations in document["paths"].items()
            if any(x["name"] == "cursor" for x in operations.get("get", {}).get("parameters", ()))
        )
        self.parameters: dict[str, Any] = {
            parameter["name"]: parameter["schema"] for parameter in operation["parameters"]
        }

    def filters(self) -> Iterator[tuple[str, str, Any]]:
        """Return each filter with the field that it is about and its schema."""
        for name, schema in self.parameters.items():
            if "description" in schema:
                yield name, schema["description"].partition(" ")[0], self._resolve(schema)

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the first schema of those that a parameter may have, without references."""
        schema = schema.get("anyOf", [schema])[0]
        if "$ref" in schema:
            schema = self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema


@pytest_asyncio.fixture(loop_scope="session")
async def description(client: AsyncClient) -> Description:
    return Description((await client.get("/openapi.json")).json())


# What the description of a filter means, in words.
MEANINGS: dict[str, Callable[[Any, Any], bool]] = {
    "equals": operator.eq,
    "does not equal": operator.ne,
    "is less than": operator.lt,
    "is at most": operator.le,
    "is greater than": operator.gt,
    "is at least": operator.ge,
    "is one of": operator.eq,
    # The value is "true".
    "is empty": lambda value, _: value is None,
}


def comparable(value: Any) -> Any:
    """Return money as a number: as texts "5.05" would be more than "10.05"."""
    return Decimal(value) if str(value).replace(".", "", 1).isdigit() else value


async def test_every_filter_does_what_its_description_says(
    client: AsyncClient, invoices: list[dict[str, Any]], description: Description
) -> None:
    filters = [*description.filters()]
    # Four for each column, and four more for those that have an order.
    assert len(filters) == 5 * 4 + 3 * 4
    for name, field, schema in filters:
        words = description.parameters[name]["description"].removeprefix(f"{field} ")
        value = "true" if schema["type"] == "boolean" else invoices[3][field]
        expected = [
            invoice
            for invoice in invoices
            if MEANINGS[words](comparable(invoice[field]), comparable(value))
        ]
        answer = await client.get(description.path, params={name: value})
        assert (answer.status_code, answer.json()["items"]) == (200, expected), name


async def test_a_value_that_the_description_forbids_is_refused(
    client: AsyncClient, description: Description
) -> None:
    refused = await client.get(description.path, params={"status": "lost"})
    assert (refused.status_code, refused.json()["fields"]) == (422, ["status"])
    unknown = await client.get(description.path, params={"name": "x"})
    assert (unknown.status_code, unknown.json()["fields"]) == (422, ["name"])
    enums = [schema["enum"] for *_, schema in description.filters() if "enum" in schema]
    assert enums == [[*InvoiceStatus]] * 2


async def test_every_order_is_followed_by_its_cursor_to_the_end(
    client: AsyncClient, invoices: list[dict[str, Any]], description: Description
) -> None:
    orders = description.parameters["sort"]["items"]["enum"]
    assert len(orders) == 2 * len(InvoiceRepository.sortable)
    for order in orders:
        shown: list[dict[str, Any]] = []
        params = {"sort": [order, "number"], "size": "3"}
        if order.removeprefix("-") == "number":
            params["sort"] = [order]
        while True:
            page = (await client.get(description.path, params=params)).json()
            shown += page["items"]
            if page["next"] is None:
                break
            params["cursor"] = page["next"]
        field = order.removeprefix("-")
        expected = sorted(
            invoices, key=lambda invoice: comparable(invoice[field]), reverse=order[0] == "-"
        )
        assert shown == expected, order


async def test_a_customer_comes_with_their_invoices(
    client: AsyncClient, invoices: list[dict[str, Any]], customer: str
) -> None:
    found = (await client.get(f"/customers/{customer}")).json()
    assert found == {"id": customer, "name": "Ada", "invoices": invoices}


async def test_a_customer_has_a_number_once(
    client: AsyncClient, invoices: list[dict[str, Any]]
) -> None:
    new = {name: value for name, value in invoices[0].items() if name != "id"}
    refused = await client.post("/invoices", json=new)
    assert refused.status_code == 409
    assert refused.json()["fields"] == ["customer_id", "number"]


async def test_twenty_thousand_invoices_are_imported(session: AsyncSession) -> None:
    ada = await CustomerRepository(session).create(name="Ada")
    repository = InvoiceRepository(session)
    rows = (
        {
            "customer_id": ada.id,
            "number": number,
            "total": Decimal(number) / 100,
            "due_on": START,
            "status": InvoiceStatus.SENT,
            "details": {"source": "import"},
        }
        for number in range(20_000)
    )
    assert await repository.insert_many(rows) == 20_000
    assert await repository.count(*repository.filters({"total__gte": "199.99"})) == 1
    [last] = await repository.find(*repository.filters({"number": 19_999}))
    assert (last.total, last.details) == (Decimal("199.99"), {"source": "import"})

    with pytest.raises(UniqueViolation) as caught:
        await repository.create(customer_id=ada.id, number=0, total=Decimal(0), due_on=START)
    assert caught.value.fields == ("customer_id", "number")
