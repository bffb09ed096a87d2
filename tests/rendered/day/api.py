"""The routes. Errors become answers in db/fastapi.py."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import selectinload

from .db import CursorPage, Key
from .db.fastapi import PROBLEMS, DbSession, PathKey, ReadSession
from .db.fastapi_lists import ListQuery, cursor_query
from .models import Customer, InvoiceStatus
from .repositories import CustomerRepository, InvoiceRepository

router = APIRouter(responses=PROBLEMS)
InvoiceQuery = Annotated[ListQuery, cursor_query(InvoiceRepository, sort=("number",), size=20)]


class Output(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class InvoiceCreate(BaseModel):
    customer_id: Key
    number: int
    total: Annotated[Decimal, Field(max_digits=12, decimal_places=2)]
    due_on: date
    status: InvoiceStatus = InvoiceStatus.DRAFT
    details: dict[str, Any] = {}


class InvoiceResponse(Output, InvoiceCreate):
    id: Key


class CustomerCreate(BaseModel):
    name: str


class CustomerResponse(Output, CustomerCreate):
    id: Key
    invoices: list[InvoiceResponse]


@router.post("/customers", status_code=201)
async def create_customer(session: DbSession, new: CustomerCreate) -> Key:
    return (await CustomerRepository(session).create(**new.model_dump())).id


@router.get("/customers/{key}")
async def get_customer(session: ReadSession, key: PathKey) -> CustomerResponse:
    options = [selectinload(Customer.invoices)]
    customer = await CustomerRepository(session).get_one(key, options=options)
    return CustomerResponse.model_validate(customer)


@router.post("/invoices", status_code=201)
async def create_invoice(session: DbSession, new: InvoiceCreate) -> InvoiceResponse:
    invoice = await InvoiceRepository(session).create(**new.model_dump())
    return InvoiceResponse.model_validate(invoice)


@router.get("/invoices")
async def list_invoices(session: ReadSession, query: InvoiceQuery) -> CursorPage[InvoiceResponse]:
    page = await query.cursor_page(InvoiceRepository(session))
    return page.map(InvoiceResponse.model_validate)
