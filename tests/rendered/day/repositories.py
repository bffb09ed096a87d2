"""The queries of this service, by name. The code that opened the session commits."""

from .db import Repository
from .models import Customer, Invoice


class CustomerRepository(Repository[Customer]):
    writable = {"name"}


class InvoiceRepository(Repository[Invoice]):
    sortable = {"due_on": Invoice.due_on, "number": Invoice.number, "total": Invoice.total}
    filterable = {
        "customer_id": Invoice.customer_id,
        "due_on": Invoice.due_on,
        "number": Invoice.number,
        "status": Invoice.status,
        "total": Invoice.total,
    }
    writable = {"customer_id", "number", "status", "total", "due_on", "details"}
