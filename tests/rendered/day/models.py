"""The tables of this service: customers and their invoices."""

from datetime import date
from decimal import Decimal
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .db import Base, ExactDecimal, JSONObject, Key, PrimaryKey, Timestamped


class Customer(PrimaryKey, Base):
    """Someone who pays."""

    __tablename__ = "customers"

    name: Mapped[str] = mapped_column(sa.String(100), unique=True)

    invoices: Mapped[list["Invoice"]] = relationship(
        back_populates="customer", order_by="Invoice.number", lazy="raise"
    )


class InvoiceStatus(StrEnum):
    DRAFT = "draft"
    SENT = "sent"
    PAID = "paid"


class Invoice(PrimaryKey, Timestamped, Base):
    """A customer's debt."""

    __tablename__ = "invoices"
    __table_args__ = (
        sa.UniqueConstraint("customer_id", "number"),
        sa.Index(None, "status", "due_on"),
    )

    customer_id: Mapped[Key] = mapped_column(sa.ForeignKey("customers.id"))
    number: Mapped[int]
    status: Mapped[InvoiceStatus] = mapped_column(default=InvoiceStatus.DRAFT)
    total: Mapped[Decimal] = mapped_column(ExactDecimal(12, 2))
    due_on: Mapped[date]
    details: Mapped[JSONObject] = mapped_column(default=dict)

    customer: Mapped[Customer] = relationship(back_populates="invoices", lazy="raise")


# For migrations/env.py and tests/conftest.py; a model in another module is imported there too.
metadata = Base.metadata
