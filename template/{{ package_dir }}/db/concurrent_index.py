"""An index that is built while others write, for a revision of a migration."""

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from alembic import op

_IS_VALID = sa.text("""
    SELECT indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relname = :name AND nspname = coalesce(:schema, current_schema())
""")


def create_index_concurrently(
    name: str,
    table: str,
    columns: Sequence[str | sa.TextClause],
    *,
    schema: str | None = None,
    **options: object,
) -> None:
    """Build an index with CREATE INDEX CONCURRENTLY, also where an earlier run was interrupted.

        def upgrade() -> None:
            create_index_concurrently("ix_posts_title", "posts", ["title"])

    An interrupted build leaves an index that is invalid: it costs writes, and no query uses it. The
    one of this name is dropped first. While another session builds it, it looks the same, so this
    locks the table before it looks: that waits for the build, and blocks neither reads nor writes.

    Args:
        name: The index, which is left as it is if it is valid.
        table: Its table.
        columns: Names of columns, or expressions by sa.text().
        schema: The schema of the table, if it is not the current one.
        **options: Other arguments of op.create_index().
    """
    # Alembic itself checks the types of these arguments.
    create_index: Callable[..., None] = op.create_index
    connection = op.get_bind()
    if not op.get_context().as_sql:
        quoted = connection.dialect.identifier_preparer.format_table(sa.table(table, schema=schema))
        op.execute(f"LOCK TABLE {quoted} IN SHARE UPDATE EXCLUSIVE MODE")
        valid = connection.scalar(_IS_VALID, {"name": name, "schema": schema})
        if valid:
            return
        if valid is False:
            op.drop_index(name, table, schema=schema)
    with op.get_context().autocommit_block():
        create_index(name, table, columns, schema=schema, postgresql_concurrently=True, **options)
