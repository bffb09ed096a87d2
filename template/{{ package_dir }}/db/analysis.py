"""What makes queries slow: `python -m <package>.db analyze`."""

from collections.abc import Sequence
from contextlib import suppress

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from .doctor import Check, check_database, connect
from .engine import dialect
from .settings import DatabaseSettings


async def analyze(settings: DatabaseSettings, deadline: float) -> list[Check]:
    """List what makes queries slow, such as foreign keys without an index, and what to do."""
    check = await check_database(settings, deadline)
    if check.status == "failed":
        return [check]
    async with connect(settings, deadline) as connection:
        checks = await connection.run_sync(_check_foreign_keys)
        for name, statement in dialect.ANALYSES.items():
            # The database may not have this statistic.
            with suppress(DBAPIError):
                rows = await connection.execute(sa.text(statement))
                checks += [Check(name, "note", message, advice) for message, advice in rows]
    return checks or [Check("analysis", "ok", "nothing was found")]


def _check_foreign_keys(connection: sa.Connection) -> list[Check]:
    """Look for foreign keys whose columns are not the first columns of an index."""
    inspector, checks = sa.inspect(connection), list[Check]()
    indexes, unique = inspector.get_multi_indexes(), inspector.get_multi_unique_constraints()
    primary_keys = inspector.get_multi_pk_constraint()
    for table, keys in inspector.get_multi_foreign_keys().items():
        indexed: list[Sequence[str | None]] = [primary_keys[table]["constrained_columns"]]
        indexed += [x["column_names"] for x in indexes[table]]
        indexed += [x["column_names"] for x in unique[table]]
        for key in keys:
            columns = key["constrained_columns"]
            if not any({*columns} == {*x[: len(columns)]} for x in indexed):
                message = (
                    f"no index of {table[1]} begins with {', '.join(columns)}: all of the table is"
                    f" read when a row of {key['referred_table']} is deleted"
                )
                advice = "add index=True or sa.Index() to the model, and write a migration"
                checks.append(Check("foreign key", "note", message, advice))
    return checks
