"""Migrations: one process at a time, whole or not at all, and without losing a row."""

import asyncio
import os
import sys
from argparse import Namespace
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from . import db, dialect, doctor, migrate, testing
from .models import AsPath

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
    await migrate.upgrade(config)


async def tables(settings: db.DatabaseSettings) -> set[str]:
    async with db.Database(settings) as database, database.engine.connect() as connection:
        names = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
    return {*names} - {"alembic_version"}


async def alembic(config: Config, url: sa.URL, **settings: str) -> tuple[int | None, list[str]]:
    """Run `alembic upgrade head`. Return its exit status, and its lines."""
    assert config.config_file_name
    text = url.render_as_string(hide_password=False)
    environment = {name: x for name, x in os.environ.items() if not name.startswith("DATABASE_")}
    environment |= {"DATABASE_URL": text, "DATABASE_MIGRATION_URL": text, **settings}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "alembic", "-c", str(config.config_file_name), "upgrade", "head"),
        env=environment,
        # Where no .env says otherwise.
        cwd=Path(config.config_file_name).parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode().splitlines()


async def test_processes_that_start_at_once_take_turns(
    config: Config, settings: db.DatabaseSettings
) -> None:
    outputs = await asyncio.gather(*(alembic(config, settings.url) for _ in range(4)))
    assert [lines for status, lines in outputs if status] == []
    assert await tables(settings) == {"parents", "children"}


async def test_a_migration_that_another_process_delays_ends_in_two_lines(
    config: Config, settings: db.DatabaseSettings
) -> None:
    engine = db.create_engine(settings)
    # SQLite's lock is the transaction.
    async with migrate.migration_lock(engine, 1), engine.begin():
        status, lines = await alembic(config, settings.url, DATABASE_MIGRATION_TIMEOUT="0.2")
    await engine.dispose()
    assert status and len(lines) <= 2
    assert "FAILED: another process has" in lines[-1] or "may hold: another process" in lines[-1]


async def test_a_migration_of_a_missing_database_ends_in_two_lines(
    config: Config, settings: db.DatabaseSettings
) -> None:
    if settings.url.get_backend_name() == "sqlite":
        pytest.skip("a file is made")
    status, lines = await alembic(config, settings.url.set(database="nowhere"))
    assert status and len(lines) <= 2
    assert lines[-1].startswith("FAILED: cannot connect: ") and "nowhere" in lines[-1]


async def test_a_migration_without_a_server_ends_in_two_lines(
    config: Config, settings: db.DatabaseSettings
) -> None:
    if settings.url.get_backend_name() == "sqlite":
        pytest.skip("this database is no server")
    status, lines = await alembic(config, settings.url.set(port=1))
    assert status and len(lines) <= 2
    assert lines[-1].startswith("FAILED: cannot connect: ") and "127.0.0.1:1/" in lines[-1]


DRIVER = db.settings.DRIVER
WRONG = [
    ("POOL_SIZE", "x", "DATABASE_POOL_SIZE: Input should be a valid integer"),
    ("URL", "oracle://x", "DATABASE_URL: Value error, DATABASE_URL is for oracle"),
    ("URL", f"{DRIVER}://", "DATABASE_URL names no "),
]
if DRIVER.startswith("sqlite"):
    WRONG.append(("URL", f"{DRIVER}://user@host/x", "Invalid SQLite URL"))
if DRIVER.startswith("postgresql"):
    WRONG.append(("POOLER", "pgbouncer", "DATABASE_MIGRATION_URL is missing"))


@pytest.mark.parametrize(("name", "value", "problem"), WRONG)
async def test_a_migration_with_wrong_settings_ends_in_two_lines(
    config: Config, settings: db.DatabaseSettings, name: str, value: str, problem: str
) -> None:
    wrong = {"DATABASE_MIGRATION_URL": "", "DATABASE_POOLER": "none", f"DATABASE_{name}": value}
    status, lines = await alembic(config, settings.url, **wrong)
    assert status and len(lines) <= 2
    assert lines[-1].startswith(f"FAILED: {problem}")


async def test_doctor_names_a_folder_in_which_alembic_cannot_run(
    settings: db.DatabaseSettings, tmp_path: Path
) -> None:
    file = tmp_path / "50% off" / "alembic.ini"
    file.parent.mkdir()
    file.write_text("[alembic]\nscript_location = %(here)s\n")
    check = await compare(settings, Config(file))
    problem = f"Alembic cannot read {file}, because its path contains %"
    assert (check.status, check.message) == ("failed", problem)
    assert check.advice == "rename the folder"


async def test_a_path_may_hold_a_percent_sign(
    config: Config, settings: db.DatabaseSettings, tmp_path: Path
) -> None:
    if settings.url.get_backend_name() != "sqlite":
        pytest.skip("this database is no file")
    url = settings.url.set(database=f"{tmp_path}/50% off/%41.db")
    status, lines = await alembic(config, url)
    assert status == 0, lines
    assert (tmp_path / "50% off/%41.db").is_file()


async def test_a_revision_that_fails_leaves_nothing(
    config: Config, settings: db.DatabaseSettings
) -> None:
    if not dialect.TRANSACTIONAL_DDL:
        pytest.skip("this database commits each statement that changes a table")
    revise(config, "2", 'op.drop_table("children"); op.execute("SELECT nothing FROM nowhere")')
    with pytest.raises(DBAPIError):
        await upgrade(config)
    # On SQLite the lock is one transaction for all revisions.
    left = {"parents", "children"} if dialect.MIGRATION_LOCK else set[str]()
    assert await tables(settings) == left


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
    # SQLite's lock is the transaction.
    async with migrate.migration_lock(engine, 1), engine.begin():
        with pytest.raises((TimeoutError, db.LockTimeout)):
            await upgrade(config)
    await engine.dispose()
    assert await tables(settings) == set()


@asynccontextmanager
async def reader(settings: db.DatabaseSettings, seconds: float) -> AsyncGenerator[None]:
    """Keep the lock of a transaction that has read `parents`, for some seconds."""
    if not dialect.MIGRATION_LOCK:
        pytest.skip("a migration of this database takes its one lock first")

    async def read() -> None:
        async with (
            db.Database(settings) as database,
            # A snapshot, for which CREATE INDEX CONCURRENTLY waits.
            database.transaction(read_only=True) as session,
        ):
            await session.execute(sa.text("SELECT count(*) FROM parents"))
            began.set()
            await asyncio.sleep(seconds)

    began = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read())
        await began.wait()
        yield
        reading.cancel()


ALTER = 'op.add_column("parents", sa.Column("{}", sa.Integer()))'


def impatient(config: Config, settings: db.DatabaseSettings, timeout: float = 30) -> None:
    """Let a migration wait for the shortest time that every database accepts."""
    limits = {"lock_timeout": 1, "migration_timeout": timeout}
    config.attributes["settings"] = settings.model_copy(update=limits)


async def revision_of(settings: db.DatabaseSettings) -> str | None:
    async with db.Database(settings) as database, database.reader() as session:
        revision: str | None = await session.scalar(sa.text("SELECT * FROM alembic_version"))
    return revision


@pytest.mark.parametrize("options", ["", ", transaction_per_migration=False"])
async def test_a_revision_that_waits_for_a_lock_is_tried_again(
    config: Config, settings: db.DatabaseSettings, caplog: pytest.LogCaptureFixture, options: str
) -> None:
    assert config.config_file_name
    env = Path(config.config_file_name).parent / "env.py"
    env.write_text(ENVIRONMENT.replace("(metadata)", f"(metadata{options})"))
    await upgrade(config)
    revise(config, "2", 'op.create_table("others", sa.Column("id", sa.Integer()))')
    revise(config, "3", ALTER.format("number"))
    revise(config, "4", 'op.drop_table("others")')
    impatient(config, settings)
    async with reader(settings, 1.5):
        # The steps of a command are counted once.
        await migrate.upgrade(config, "+2")
    assert await revision_of(settings) == "3"
    assert await tables(settings) == {"parents", "children", "others"}
    (warning,) = (x.getMessage() for x in caplog.records if x.name == migrate.__name__)
    assert "upgrade 2 -> 3 waits for a lock that one of these may hold: " in warning
    assert "idle in transaction" in warning or "in a transaction since" in warning


async def test_a_revision_that_has_only_read_is_tried_again(
    config: Config, settings: db.DatabaseSettings
) -> None:
    await upgrade(config)
    look = 'assert sa.inspect(op.get_bind()).has_table("parents")\n    '
    look += 'sa.inspect(op.get_bind()).get_indexes("parents")\n    '
    revise(config, "2", look + ALTER.format("number"))
    impatient(config, settings)
    async with reader(settings, 3):
        await upgrade(config)
    assert await revision_of(settings) == "2"


async def test_a_revision_that_waits_too_long_says_who_holds_the_lock(
    config: Config, settings: db.DatabaseSettings
) -> None:
    await upgrade(config)
    revise(config, "2", ALTER.format("number"))
    impatient(config, settings, 0.1)
    async with reader(settings, 8):
        with pytest.raises(db.LockTimeout, match=r"may hold: \w+ \d+ .*: end that transaction"):
            await upgrade(config)
    assert await revision_of(settings) == "1"


async def test_a_revision_that_has_committed_something_is_not_tried_again(
    config: Config, settings: db.DatabaseSettings
) -> None:
    await upgrade(config)
    commit = 'with op.get_context().autocommit_block():\n        op.execute("SET @a = 1")\n    '
    if settings.url.get_backend_name() == "postgresql":
        commit = commit.replace("SET @a = 1", "SELECT 1")
    revise(config, "2", commit + ALTER.format("number"))
    impatient(config, settings)
    async with reader(settings, 1.5):
        with pytest.raises(db.LockTimeout):
            await upgrade(config)
    assert await revision_of(settings) == "1"


async def test_an_autocommit_block_waits_as_long_as_the_migration(
    config: Config, settings: db.DatabaseSettings
) -> None:
    await upgrade(config)
    concurrently = "postgresql_concurrently=True"
    revise(
        config,
        "2",
        "with op.get_context().autocommit_block():\n"
        f'        op.create_index("ix_parents_name", "parents", ["name"], {concurrently})',
    )
    impatient(config, settings)
    if settings.url.get_backend_name() == "mysql":
        pytest.skip("MySQL has no statement that waits for longer")
    async with reader(settings, 2.5):
        await upgrade(config)
    assert await revision_of(settings) == "2"


OTHERS = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT concat('KILL ', id) FROM information_schema.processlist"
    " WHERE db = database() AND id <> connection_id()",
}
LOSE_LOCK = """
    for command in op.get_bind().scalars(sa.text({others!r})).all():
        if command is not True:
            op.execute(command)
"""


async def test_a_server_that_refuses_the_lock_is_not_migrated(
    fresh_database: db.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not db.settings.DRIVER.startswith("mysql"):
        pytest.skip("only clusters of MySQL and MariaDB refuse it")
    refuse, release = sa.func.probe_refuse(), sa.func.probe_refuse()
    monkeypatch.setattr(dialect, "MIGRATION_LOCK", (refuse, release))
    async with fresh_database.engine.connect() as connection:
        await connection.execute(
            sa.text(
                "CREATE FUNCTION probe_refuse() RETURNS INTEGER NO SQL BEGIN"
                " SIGNAL SQLSTATE '42000' SET MYSQL_ERRNO = 1235; RETURN 1; END"
            )
        )
        problem = await dialect.lock_problem(connection, fresh_database.settings)
    assert problem and problem.startswith("the server refuses GET_LOCK (1235)")


async def test_a_server_that_is_no_cluster_keeps_other_processes_from_migrating(
    fresh_database: db.Database,
) -> None:
    settings = fresh_database.settings.model_copy(update={"migration_url": None})
    async with fresh_database.engine.connect() as connection:
        assert await dialect.lock_problem(connection, settings) is None


@pytest.mark.parametrize("last", [False, True])
async def test_a_lost_lock_ends_a_migration_before_its_next_revision(
    config: Config, settings: db.DatabaseSettings, last: bool
) -> None:
    if not dialect.MIGRATION_LOCK:
        pytest.skip("the lock of this database is the migration's own transaction")
    await upgrade(config)
    # The lock's connection is the only other one.
    revise(config, "2", LOSE_LOCK.format(others=OTHERS[settings.url.get_backend_name()]))
    if last:
        await upgrade(config)
    else:
        revise(config, "3", ALTER.format("number"))
        with pytest.raises(db.Unavailable, match="upgrade 2 -> 3 was not started"):
            await upgrade(config)
    assert await revision_of(settings) == "2"


async def test_an_application_migrates_in_its_event_loop(
    config: Config, settings: db.DatabaseSettings
) -> None:
    del config.attributes["settings"]
    await migrate.upgrade(config, settings=settings)
    assert await tables(settings) == {"parents", "children"}
    await migrate.upgrade(str(config.config_file_name), "1", settings=settings)


async def test_a_command_in_an_event_loop_names_the_way(config: Config) -> None:
    with pytest.raises(CommandError, match=r"write `await .*\.db\.migrate\.upgrade\(config\)`"):
        command.upgrade(config, "head")


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


async def test_a_connection_with_foreign_keys_on_deletes_no_rows_that_refer_to_a_table(
    config: Config, settings: db.DatabaseSettings
) -> None:
    if settings.url.get_backend_name() != "sqlite":
        pytest.skip("this database changes a table without a copy of it")

    def hand_in(connection: sa.Connection, work: Callable[[Config, str], None], to: str) -> None:
        config.attributes["connection"] = connection
        work(config, to)

    async with db.Database(settings) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(hand_in, command.upgrade, "1")
        async with database.transaction() as session:
            await session.execute(sa.text("INSERT INTO parents (id, name) VALUES (1, 'a')"))
            await session.execute(sa.text("INSERT INTO children (id, parent_id) VALUES (1, 1)"))
        longer = 'batch.alter_column("name", existing_type=sa.String(20), type_=sa.String(99))'
        revise(config, "2", f'with op.batch_alter_table("parents") as batch:\n        {longer}')
        with pytest.raises(ValueError, match="dropping parents would delete the rows that refer"):
            async with database.engine.begin() as connection:
                await connection.run_sync(hand_in, command.upgrade, "2")
        async with database.reader() as session:
            assert await session.scalar(sa.text("SELECT count(*) FROM children")) == 1
        # Nothing refers to this table, and the program may go on.
        revise(config, "2", 'op.drop_table("children")')
        async with database.engine.begin() as connection:
            await connection.run_sync(hand_in, command.upgrade, "2")
            await connection.execute(sa.text("DROP TABLE parents"))


async def test_a_script_says_what_a_migration_would_do(config: Config) -> None:
    revise(config, "2", "op.execute(\"UPDATE parents SET name = '5%'\")")
    config.output_buffer = script = StringIO()
    await asyncio.to_thread(command.upgrade, config, "head", sql=True)
    assert "UPDATE parents SET name = '5%';" in script.getvalue()


MODELS = f"""
import sqlalchemy as sa
from {AsPath.__module__} import AsPath
metadata = sa.MetaData()
sa.Table("folders", metadata, sa.Column("path", AsPath(), primary_key=True))
parent = sa.ForeignKey("folders.path", name="fk_files_folder")
sa.Table("files", metadata, sa.Column("folder", AsPath(), parent, index=True))
migrate.run("""


TEMPLATE = """
import sqlalchemy as sa
from alembic import op
${imports}
revision, down_revision = ${repr(up_revision)}, ${repr(down_revision)}
def upgrade():
    ${upgrades}
def downgrade():
    ${downgrades}
"""


async def test_a_new_revision_has_its_imports_and_drops_each_table_as_a_whole(
    config: Config, settings: db.DatabaseSettings
) -> None:
    assert config.config_file_name
    folder = Path(config.config_file_name).parent
    (folder / "script.py.mako").write_text(TEMPLATE)
    (folder / "env.py").write_text(ENVIRONMENT.replace("migrate.run(", MODELS))
    (folder / "versions" / "1.py").unlink()
    # As on the command line.
    config.cmd_opts = Namespace(autogenerate=True)
    await asyncio.to_thread(command.revision, config, "own", autogenerate=True)
    config.cmd_opts = None
    (path,) = (folder / "versions").glob("*_own.py")
    up, down = path.read_text().split("def downgrade")
    assert f"import {AsPath.__module__}\n" in up and "op.create_index" in up
    assert "op.drop_table" in down and "op.drop_index" not in down
    await upgrade(config)
    assert await tables(settings) == {"folders", "files"}
    await asyncio.to_thread(command.downgrade, config, "base")
    assert await tables(settings) == set()


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


async def test_the_script_of_a_migration_changes_an_enum_on_postgresql_alone(
    config: Config, settings: db.DatabaseSettings
) -> None:
    revise(config, "2", SET_STATES.format(values=["draft", "received"], old=2))
    config.output_buffer = script = StringIO()
    writing = asyncio.to_thread(command.upgrade, config, "1:2", sql=True)
    if settings.url.get_backend_name() == "postgresql":
        await writing
        assert 'ALTER COLUMN "order" TYPE VARCHAR(8);' in script.getvalue()
        assert "CHECK (\"order\" IN ('draft', 'received'));" in script.getvalue()
    else:
        # On SQLite the sentence is Alembic's.
        with pytest.raises(CommandError, match="--sql"):
            await writing


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


async def test_doctor_says_how_to_write_the_first_revision(
    config: Config, settings: db.DatabaseSettings
) -> None:
    assert config.config_file_name
    (Path(config.config_file_name).parent / "versions" / "1.py").unlink()
    check = await compare(settings, config)
    assert (check.status, check.message) == ("note", "there is no revision yet")
    assert str(check.advice).startswith("write the first: `alembic revision --autogenerate`")


async def test_doctor_says_in_a_line_why_env_fails(
    config: Config, settings: db.DatabaseSettings
) -> None:
    assert config.config_file_name
    env = Path(config.config_file_name).parent / "env.py"
    env.write_text("raise RuntimeError('no models\\nat all')")
    check = await compare(settings, config)
    assert (check.status, check.message) == ("failed", "env.py failed: RuntimeError: no models")
    assert check.advice == f"have it call {db.__name__}.migrate.run(metadata)"
