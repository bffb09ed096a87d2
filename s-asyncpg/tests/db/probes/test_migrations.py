"""Migrations: one process at a time, whole or not at all, and without losing a row."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from io import StringIO
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from . import db, dialect, doctor, migrate, testing

ENVIRONMENT = f"""
from {db.__name__} import migrate
from {db.__name__}.models import metadata
migrate.run(metadata)
"""

REVISION = """
import sqlalchemy as sa
from alembic import op
revision = {revision!r}
down_revision = {down_revision!r}
def upgrade():
    {upgrade}
def downgrade():
    pass
"""

CREATE = """
    op.create_table(
        "parents",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(20)),
    )
    op.create_table(
        "children",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("parent_id", sa.Integer()),
        sa.ForeignKeyConstraint(["parent_id"], ["parents.id"], "fk_parent", ondelete="CASCADE"),
    )
"""


@pytest_asyncio.fixture(loop_scope="session")
async def settings(database_server: sa.URL) -> AsyncGenerator[db.DatabaseSettings]:
    """An empty database."""
    async with testing.temporary_database(database_server) as settings:
        yield settings


@pytest.fixture
def config(tmp_path: Path, settings: db.DatabaseSettings) -> Config:
    """An Alembic environment of one revision, which makes two tables."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text(ENVIRONMENT)
    ini = tmp_path / "alembic.ini"
    ini.write_text("[alembic]\nscript_location = %(here)s\npath_separator = os\n")
    config = Config(ini)
    config.attributes["settings"] = settings
    revise(config, "1", CREATE)
    return config


def revise(config: Config, revision: str, upgrade: str) -> None:
    """Add a revision after the one before."""
    assert config.config_file_name
    before = str(int(revision) - 1) if revision > "1" else None
    text = REVISION.format(revision=revision, down_revision=before, upgrade=upgrade)
    (Path(config.config_file_name).parent / "versions" / f"{revision}.py").write_text(text)


async def upgrade(config: Config) -> None:
    # In a thread, since env.py runs an event loop of its own.
    await asyncio.to_thread(command.upgrade, config, "head")


async def tables(settings: db.DatabaseSettings) -> set[str]:
    async with db.Database(settings) as database, database.engine.connect() as connection:
        names = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
    return {*names} - {"alembic_version"}


async def test_processes_that_start_at_once_take_turns(
    config: Config, settings: db.DatabaseSettings
) -> None:
    assert config.config_file_name
    url = settings.url.render_as_string(hide_password=False)
    environment = {name: x for name, x in os.environ.items() if not name.startswith("DATABASE_")}
    environment |= {"DATABASE_URL": url, "DATABASE_MIGRATION_URL": url}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "alembic", "-c", str(config.config_file_name), "upgrade", "head"),
            env=environment,
            # Where no .env says otherwise.
            cwd=Path(config.config_file_name).parent,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        for _ in range(4)
    ]
    outputs = await asyncio.gather(*(process.communicate() for process in started))
    failed = [process.returncode for process in started if process.returncode]
    assert not failed, outputs
    assert await tables(settings) == {"parents", "children"}


async def test_a_migration_that_fails_leaves_nothing(
    config: Config, settings: db.DatabaseSettings
) -> None:
    if not dialect.TRANSACTIONAL_DDL:
        pytest.skip("this database commits each statement that changes a table")
    revise(config, "2", 'op.drop_table("children"); op.execute("SELECT nothing FROM nowhere")')
    with pytest.raises(DBAPIError):
        await upgrade(config)
    assert await tables(settings) == set()


async def test_a_table_that_is_changed_keeps_the_rows_that_refer_to_it(
    config: Config, settings: db.DatabaseSettings
) -> None:
    await upgrade(config)
    async with db.Database(settings) as database, database.transaction() as session:
        await session.execute(sa.text("INSERT INTO parents (id, name) VALUES (1, 'a')"))
        await session.execute(sa.text("INSERT INTO children (id, parent_id) VALUES (1, 1)"))
    # SQLite makes another table and drops this one, which would delete its children.
    revise(
        config,
        "2",
        'with op.batch_alter_table("parents") as batch:\n'
        '        batch.alter_column("name", existing_type=sa.String(20), type_=sa.String(99))',
    )
    await upgrade(config)
    async with db.Database(settings) as database, database.session() as session:
        assert await session.scalar(sa.text("SELECT count(*) FROM children")) == 1


async def test_a_migration_waits_for_another_and_not_for_ever(
    config: Config, settings: db.DatabaseSettings
) -> None:
    config.attributes["settings"] = settings.model_copy(update={"migration_timeout": 0.2})
    engine = db.create_engine(settings)
    async with (
        migrate.connection_alone(engine, 1) as connection,
        connection.begin(),
    ):
        with pytest.raises((TimeoutError, db.LockTimeout)):
            await upgrade(config)
    await engine.dispose()
    assert await tables(settings) == set()


async def test_no_database_but_that_of_the_tests_is_migrated_for_them(
    config: Config, settings: db.DatabaseSettings, database_server: sa.URL
) -> None:
    assert config.config_file_name
    ini = Path(config.config_file_name)
    async with testing.temporary_database(database_server) as production:
        # It was there before the layer, and knows nothing of the settings that it is handed.
        url = production.url.render_as_string(hide_password=False)
        own = f"migrate.DatabaseSettings(url={url!r}, pooler='none')"
        own = f"context.config.attributes['settings'] = {own}"
        own = f"from alembic import context\n{own}\nmigrate.run("
        (ini.parent / "env.py").write_text(ENVIRONMENT.replace("migrate.run(", own))
        with pytest.raises(pytest.fail.Exception, match="for the tests env.py would migrate"):
            await testing.migrate_to_head(settings, config)
        assert await tables(production) == set()
    (ini.parent / "env.py").write_text(ENVIRONMENT)
    await testing.migrate_to_head(settings, config)
    assert await tables(settings) == {"parents", "children"}


async def test_an_empty_database_is_prepared_for_its_migrations(
    config: Config, settings: db.DatabaseSettings
) -> None:
    async def prepare(connection: AsyncConnection) -> None:
        await connection.execute(sa.text("CREATE TABLE places (id INTEGER)"))

    revise(config, "2", 'op.execute("INSERT INTO places (id) VALUES (1)")')
    await testing.migrate_to_head(settings, config, prepare)
    assert await tables(settings) == {"parents", "children", "places"}


async def test_env_says_where_the_database_is_unless_a_program_does(
    config: Config, settings: db.DatabaseSettings, database_server: sa.URL
) -> None:
    assert config.config_file_name
    env = Path(config.config_file_name).parent / "env.py"
    async with testing.temporary_database(database_server) as own:
        url = own.url.render_as_string(hide_password=False)
        arguments = f"metadata, settings=migrate.DatabaseSettings(url={url!r}, pooler='none')"
        env.write_text(ENVIRONMENT.replace("run(metadata", f"run({arguments}"))
        await upgrade(config)
        assert (await tables(own), await tables(settings)) == (set(), {"parents", "children"})
        del config.attributes["settings"]
        await upgrade(config)
        assert await tables(own) == {"parents", "children"}


async def test_env_gives_alembic_options_of_its_own(
    config: Config, settings: db.DatabaseSettings
) -> None:
    assert config.config_file_name
    env = Path(config.config_file_name).parent / "env.py"
    env.write_text(ENVIRONMENT.replace("(metadata)", '(metadata, version_table="revisions")'))
    await upgrade(config)
    assert await tables(settings) == {"parents", "children", "revisions"}


async def test_a_program_hands_its_own_connection_in(
    config: Config, settings: db.DatabaseSettings
) -> None:
    def hand_in(connection: sa.Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    # Inside a running event loop, where env.py could not start one.
    async with db.Database(settings) as database, database.engine.begin() as connection:
        await connection.run_sync(hand_in)
    assert await tables(settings) == {"parents", "children"}


async def test_a_script_says_what_a_migration_would_do(config: Config) -> None:
    revise(config, "2", "op.execute(\"UPDATE parents SET name = '5%'\")")
    config.output_buffer = script = StringIO()
    await asyncio.to_thread(command.upgrade, config, "head", sql=True)
    assert "UPDATE parents SET name = '5%';" in script.getvalue()


STATES = """
    op.create_table(
        "states",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("order", sa.String(5), nullable={nullable}, server_default="draft"),
        sa.Column("number", sa.Integer()),
        sa.CheckConstraint("number > 0", name=op.f("ck_states_number")),
        sa.CheckConstraint(
            sa.column("order").in_(["draft", "sent"]), name=op.f("ck_states_order")
        ),
    )
"""
SET_STATES = f"""
    from {db.__name__} import migrate
    op.execute(sa.text("UPDATE states SET number = 2 WHERE id = 1"))
    op.execute(sa.delete(sa.table("states", sa.column("id"))).where(sa.column("id") == {{old}}))
    migrate.set_enum_values("states", "order", {{values}}, check="ck_states_order")
"""


@pytest.mark.parametrize("nullable", [False, True])
async def test_an_enum_gets_a_member_and_loses_one(
    config: Config, settings: db.DatabaseSettings, nullable: bool
) -> None:
    states = sa.table("states", *map(sa.column, ("id", "order", "number")))

    async def refused(**values: object) -> bool:
        async with db.Database(settings) as database:
            try:
                async with database.transaction() as session:
                    await session.execute(sa.insert(states).values(values))
            except db.CheckViolation as error:
                return error.constraint in {"ck_states_order", "ck_states_number"}
            except db.InvalidValue:
                return True  # It is too long.
        return False

    revise(config, "2", STATES.format(nullable=nullable))
    await upgrade(config)
    assert await refused(id=1, order="it's") and not await refused(id=1, order="sent")
    longer = ["draft", "sent", "it's received"]
    revise(config, "3", SET_STATES.format(values=longer, old=0))
    await upgrade(config)
    assert await refused(id=2, order="lost") and not await refused(id=2, order="it's received")
    revise(config, "4", SET_STATES.format(values=["draft", "sent"], old=2))
    await upgrade(config)
    assert await refused(id=2, order="it's received")
    # The rest of the table is as it was.
    assert await refused(id=3, order="sent", number=0)
    assert not await refused(id=4)
    async with db.Database(settings) as database, database.session() as session:
        rows = [tuple(row) for row in await session.execute(sa.select(states).order_by("id"))]
        assert rows == [(1, "sent", 2), (4, "draft", None)]
        columns = await session.run_sync(lambda x: sa.inspect(x.connection()).get_columns("states"))
    (column,) = (x for x in columns if x["name"] == "order")
    assert column["nullable"] is nullable
    kind = column["type"]
    assert isinstance(kind, sa.String) and kind.length == 5


async def compare(settings: db.DatabaseSettings, config: Config) -> doctor.Check:
    """Return what `doctor` says of the migrations."""
    async with db.Database(settings) as database, database.engine.connect() as connection:
        return await doctor.check_migrations(connection, config)


@pytest.mark.parametrize("options", ["", ', version_table="revisions"'])
async def test_doctor_compares_the_database_with_the_newest_revision(
    config: Config, settings: db.DatabaseSettings, options: str
) -> None:
    assert config.config_file_name
    env = Path(config.config_file_name).parent / "env.py"
    env.write_text(ENVIRONMENT.replace("(metadata)", f"(metadata{options})"))
    check = await compare(settings, config)
    behind = "the database is at none, and the newest revision is 1"
    assert (check.status, check.message) == ("failed", behind)
    assert str(check.advice).startswith("run `alembic upgrade head`")
    async with db.Database(settings) as database, database.engine.connect() as connection:
        # It has made no table for the revisions.
        names = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
    assert names == []
    await upgrade(config)
    check = await compare(settings, config)
    assert (check.status, check.message) == ("ok", "at 1, the newest revision")
    assert "connection" not in config.attributes


async def test_doctor_says_in_a_line_why_env_fails(
    config: Config, settings: db.DatabaseSettings
) -> None:
    assert config.config_file_name
    env = Path(config.config_file_name).parent / "env.py"
    env.write_text("raise RuntimeError('no models\\nat all')")
    check = await compare(settings, config)
    assert (check.status, check.message) == ("failed", "env.py failed: RuntimeError: no models")
    assert check.advice == f"have it call {db.__name__}.migrate.run(metadata)"
