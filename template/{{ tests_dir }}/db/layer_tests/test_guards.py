"""Mistakes of the project's own models and code that the layer knows: each with what to write."""

import ast
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapper, RelationshipProperty, configure_mappers

from . import db, dialect, doctor, testing
from .engines import calls, engines_at_import, last_word
from .refusal import refuse

# A table has one primary key, which needs no name.
NAMED = (sa.CheckConstraint, sa.ForeignKeyConstraint, sa.Index, sa.UniqueConstraint)

LAYER = Path(str(db.__file__)).parent
# The outermost one, where the layer is in a package within another.
PACKAGE = LAYER.parents[db.__name__.count(".") - 1]
# They may be in the package.
TESTS = Path(__file__).parents[2]
# The loading of a relationship, by `lazy`.
UNSEEN = "is loaded by a query that nobody wrote, and that cannot be awaited"
EMPTY = 'is always empty, whatever the database has: SQLAlchemy deprecates lazy="noload" for that'
LOADS: dict[object, str] = {
    **dict.fromkeys(("select", True, "dynamic"), UNSEEN),
    **dict.fromkeys(("noload", None), EMPTY),
}

# The seam for a wish that would change these.
SEAMS = {
    "engine": "a setting, or an event of SQLAlchemy on `database.engine.sync_engine`",
    "fastapi.py": "a handler that your application registers before `add_error_handlers`",
    "models": "a mixin, a type or a base class of your own",
    "repository": "a subclass of Repository",
    "session": "a subclass of Database, an event of SQLAlchemy's sessions, or `on_commit`",
    "settings.py": "an environment variable, or a subclass of DatabaseSettings",
    "testing": "a fixture of the same name in conftest.py",
}


@pytest.fixture
def tables(database_metadata: sa.MetaData | Sequence[sa.MetaData]) -> list[sa.Table]:
    all_metadata = (
        database_metadata if isinstance(database_metadata, Sequence) else [database_metadata]
    )
    return [table for metadata in all_metadata for table in metadata.tables.values()]


@pytest.fixture
def mappers(tables: list[sa.Table]) -> list[Mapper[object]]:
    configure_mappers()
    # Whatever they are made with: a base class, a registry, another library.
    mapped = (vars(model).get("__mapper__") for model in _classes())
    return [x for x in mapped if isinstance(x, Mapper) and x.local_table in tables]


@pytest.fixture
def relationships(mappers: list[Mapper[object]]) -> list[RelationshipProperty[object]]:
    # One that is inherited is its parent's.
    return [x for mapper in mappers for x in mapper.relationships if x.parent is mapper]


@pytest.fixture
def sources() -> dict[str, ast.Module]:
    """The project's own modules, by their path from the root."""
    files = (
        file
        for file in PACKAGE.rglob("*.py")
        if not {LAYER, TESTS} & {*file.parents}
        # Alembic runs its env.py, and nothing imports it.
        and not (file.name == "env.py" and file.with_name("script.py.mako").exists())
    )
    return {
        f"{PACKAGE.name}/{file.relative_to(PACKAGE)}": ast.parse(file.read_bytes())
        for file in files
    }


def test_the_layer_is_as_it_was_released(guards_accept: Collection[str]) -> None:
    refuse(
        (
            (
                f"db/{name}",
                f"is {how}, so that an update of the template may conflict there: take"
                f" {SEAMS.get(name.partition('/')[0], 'an argument, a subclass or a setting')}"
                " instead, and have `copier recopy --overwrite` make the file as it was released",
            )
            for name, how in doctor.differences().items()
        ),
        guards_accept,
    )


def test_every_relationship_says_how_it_is_loaded(
    relationships: list[RelationshipProperty[object]], guards_accept: Collection[str]
) -> None:
    refuse(
        (
            (
                str(relationship),
                f'{LOADS[relationship.lazy]}: write relationship(..., lazy="raise"), and'
                " selectinload(...) of it in the queries that need it",
            )
            for relationship in relationships
            if relationship.lazy in LOADS
        ),
        guards_accept,
    )


def test_every_json_column_tracks_its_changes(
    mappers: list[Mapper[object]], guards_accept: Collection[str]
) -> None:
    refuse(
        (
            (
                f"{mapper.class_.__name__}.{attribute.key}",
                "holds JSON, and a change inside it is not saved: write"
                f" Mapped[{db.__name__}.JSONObject] with mapped_column() and no type, or for a list"
                " mapped_column(MutableList.as_mutable(sa.JSON))",
            )
            for mapper in mappers
            for attribute in mapper.column_attrs
            if attribute.parent is mapper
            and isinstance(attribute.columns[0].type, sa.JSON)
            and not _is_tracked(mapper, attribute.key)
        ),
        guards_accept,
    )


def test_every_datetime_has_a_time_zone(
    tables: list[sa.Table], guards_accept: Collection[str]
) -> None:
    refuse(
        (
            (
                str(column),
                f"gives datetimes without a time zone: write mapped_column({db.__name__}.UTCDateTime)",
            )
            for column in _columns(tables)
            if isinstance(column.type, sa.DateTime)
            and not (column.type.timezone and dialect.TIMESTAMP.timezone)
        ),
        guards_accept,
    )


def test_every_constraint_and_index_has_a_name(
    tables: list[sa.Table], guards_accept: Collection[str]
) -> None:
    refuse(
        (
            (
                f"{table.name}({', '.join(item.columns.keys())})",
                f"has {type(item).__name__} without a name, by which a migration could change it:"
                " write name=..., as the database has it. While there is no table yet,"
                f" MetaData(naming_convention={db.__name__}.NAMING_CONVENTION) gives it one",
            )
            if not isinstance(item, sa.CheckConstraint)
            else (
                f"{table.name}({item.sqltext})",
                "is a CheckConstraint without a name, by which a migration could change it: write"
                " name=..., as the database has it",
            )
            for table in tables
            for item in (*table.constraints, *table.indexes)
            if isinstance(item, NAMED) and item.name is None
        ),
        guards_accept,
    )


def test_every_foreign_key_has_an_index(
    tables: list[sa.Table], guards_accept: Collection[str]
) -> None:
    refuse(
        (
            (
                f"{table.name}.{key.column_keys[0]}"
                if len(key.column_keys) == 1
                else f"{table.name}({', '.join(key.column_keys)})",
                "refers to another table and has no index: each delete there, and each join, reads"
                " all of this one. Write mapped_column(ForeignKey(...), index=True), or Index(...)"
                " in __table_args__ where it has several columns",
            )
            for table in tables
            for key in table.foreign_key_constraints
            if not any(
                {column.name for column in key.columns} <= {*columns[: len(key.columns)]}
                for columns in _indexed(table)
            )
        ),
        guards_accept,
    )


async def test_the_database_knows_every_value_of_an_enum(
    tables: list[sa.Table],
    guards_accept: Collection[str],
    database_server: sa.URL,
    database_alembic: Config,
    prepare_database: Callable[[AsyncConnection], Awaitable[object]] | None,
) -> None:
    enums = [
        (column, column.type)
        for column in _columns(tables)
        if isinstance(column.type, sa.Enum)
        and not column.type.native_enum
        and column.type.create_constraint
    ]
    # There may be another `database_template`, without migrations.
    if enums and database_alembic.file_config.has_section("alembic"):
        async with testing.temporary_database(database_server) as settings:
            await testing.migrate_to_head(settings, database_alembic, prepare_database)
            async with db.Database(settings) as database, database.engine.connect() as connection:
                unknown = await connection.run_sync(lambda sync: list(_unknown(sync, enums)))
        refuse(unknown, guards_accept)


def test_no_attribute_hides_one_of_the_base_class(
    mappers: list[Mapper[object]], guards_accept: Collection[str]
) -> None:
    # SQLAlchemy itself refuses `metadata` and `registry`.
    taken = {name for name in dir(db.Base) if not name.startswith("_")}
    refuse(
        (
            (
                f"{mapper.class_.__name__}.{name}",
                "hides what the base class has under that name: write"
                f' {name}_: Mapped[...] = mapped_column("{name}")',
            )
            for mapper in mappers
            for name in sorted(taken & set(mapper.attrs.keys()))
        ),
        guards_accept,
    )


def test_no_engine_is_made_at_import(
    sources: dict[str, ast.Module], guards_accept: Collection[str]
) -> None:
    refuse(
        (
            (
                path,
                f"makes an engine in line {line}, when it is imported, for no event loop:"
                " write `async with Database() as database:` where the service starts",
            )
            for path, line in engines_at_import(sources)
        ),
        guards_accept,
    )


def test_no_repository_commits(
    sources: dict[str, ast.Module], guards_accept: Collection[str]
) -> None:
    refuse(
        (
            (
                path,
                f"has a repository, {node.name}, that commits in line {call.lineno}: let it flush,"
                " and its callers write `async with database.transaction() as session:`",
            )
            for path, module in sources.items()
            for node in ast.walk(module)
            if isinstance(node, ast.ClassDef)
            and any(last_word(base).endswith("Repository") for base in node.bases)
            for call in calls(ast.walk(node))
            if isinstance(call.func, ast.Attribute) and call.func.attr == "commit"
        ),
        guards_accept,
    )


def _unknown(
    connection: sa.Connection, enums: Iterable[tuple[sa.Column[object], sa.Enum]]
) -> Iterator[tuple[str, str]]:
    """Members that an enum has and its CHECK has not, which no autogenerate compares."""
    inspector = sa.inspect(connection)
    for column, enum in enums:
        table, name = column.table, column.name
        if not inspector.has_table(table.name, table.schema):
            continue
        values = ["'{}'".format(value.replace("'", "''")) for value in enum.enums]
        known = {
            str(check["name"]): [value for value in values if value in check["sqltext"]]
            for check in inspector.get_check_constraints(table.name, table.schema)
            if re.search(rf"\b{re.escape(name)}\b", check["sqltext"])
        }
        # Another condition may name the column too, and a value.
        check = max(known, key=lambda check: len(known[check]), default="")
        if missing := [value for value in values if value not in known.get(check, [])]:
            options = f', schema="{table.schema}"' if table.schema else ""
            if check:
                step = f"""    migrate.set_enum_values(
        "{table.name}", "{name}", [{", ".join(values)}], check="{check}"{options}
    )"""
            else:
                step = f"""    with op.batch_alter_table("{table.name}"{options}) as batch:
        batch.create_check_constraint("{enum.name}", "{name} IN ({", ".join(values)})")"""
            yield (
                str(column),
                f"""may be {", ".join(missing)}, and no migration says so: write one with
    from {db.__name__} import migrate
{step}
which --autogenerate does not do""",
            )


def _is_tracked(mapper: Mapper[object], name: str) -> bool:
    """Whether an attribute makes a value of its own from one that it is given, or refuses it."""
    row, value = mapper.class_manager.new_instance(), dict[str, object]()
    try:
        setattr(row, name, value)
    except ValueError:
        return True  # A MutableList takes no dict.
    return getattr(row, name) is not value


def _classes() -> list[type]:
    """Every class that Python knows."""
    found: list[type] = [object]
    seen = {id(object)}
    for each in found:
        subclasses: list[type] = type.__subclasses__(each)
        new = [x for x in subclasses if id(x) not in seen]
        seen.update(map(id, new))
        found += new
    return found


def _columns(tables: list[sa.Table]) -> Iterator[sa.Column[object]]:
    for table in tables:
        yield from table.columns


def _indexed(table: sa.Table) -> Iterator[list[str]]:
    """The columns of each index, those of keys and unique constraints included, in order."""
    for item in (*table.indexes, *table.constraints):
        if isinstance(item, (sa.Index, sa.UniqueConstraint, sa.PrimaryKeyConstraint)):
            yield [column.name for column in item.columns]
