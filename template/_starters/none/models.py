"""The tables of this service: an example, to replace."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from .db import Base, PrimaryKey, Timestamped

# After each change of a model:
#     uv run alembic revision --autogenerate -m "add items"    (read what it wrote)
#     uv run alembic upgrade head


# The mixins give columns: PrimaryKey `id`, Timestamped `created_at` and `updated_at`.
class Item(PrimaryKey, Timestamped, Base):
    """A thing with a name."""

    __tablename__ = "items"

    # A second row with the same name raises UniqueViolation.
    name: Mapped[str] = mapped_column(sa.String(100), unique=True)
    # `| None` lets the column be NULL. An `sa.Text` may have any length.
    note: Mapped[str | None] = mapped_column(sa.Text)

    # A reference to another table has an index, and a relationship says how it is loaded:
    #     owner_id: Mapped[Key] = mapped_column(sa.ForeignKey("owners.id"), index=True)
    #     owner: Mapped["Owner"] = relationship(lazy="raise")


# For migrations/env.py and tests/conftest.py; a model in another module is imported there too.
metadata = Base.metadata
