"""Work of whole processes: importing, migrating, testing, generating."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import sqlalchemy as sa

from . import isolation
from .ground import Ground
from .races import HAND, LAYER, Race, race
from .render import BUILD, REPOSITORY, release

BIN = Path(sysconfig.get_path("scripts"))
IMPORT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"
BARE_MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
"""


async def races(ground: Ground) -> list[Race]:
    """Import the layer, migrate a database that is up to date, and run a test."""
    return [await _import(ground), await _alembic(ground), await _isolation(ground)]


def _run(directory: Path, command: list[str], **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DATABASE_", "PYTEST_"))}
    done = subprocess.run(
        command,
        cwd=directory,
        env=kept | environment,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


async def _import(ground: Ground) -> Race:
    service = BUILD / ground.layer.package
    parts = "sqlalchemy.ext.asyncio, sqlalchemy.orm, pydantic_settings"

    async def layer() -> float:
        code = IMPORT.format(f"{ground.layer.package}.db")
        return float(_run(service, [sys.executable, "-c", code], PYTHONPATH=str(service / "src")))

    async def hand() -> float:
        code = IMPORT.format(f"{parts}, {ground.layer.driver}")
        return float(_run(service, [sys.executable, "-c", code]))

    return await race(
        "import of db",
        ground.where,
        "by hand: sqlalchemy.ext.asyncio, sqlalchemy.orm, pydantic_settings, the driver",
        {LAYER: layer, HAND: hand},
        rounds=max(1, ground.scale.rounds // 2),
        seconds=ground.scale.seconds,
    )


async def _alembic(ground: Ground) -> Race:
    service = BUILD / ground.layer.package
    url = await ground.layer.create_database(ground.server, "migrated")
    bare = _bare_environment(service, await ground.layer.create_database(ground.server, "bare"))
    command = [str(BIN / "alembic"), "upgrade", "head"]

    async def layer() -> None:
        _run(service, command, DATABASE_URL=url.render_as_string(hide_password=False))

    async def hand() -> None:
        _run(bare, command)

    await layer()
    await hand()
    return await race(
        "alembic upgrade head",
        ground.where,
        "nothing to do, the whole process; by hand: alembic's own async environment",
        {LAYER: layer, HAND: hand},
        rounds=max(1, ground.scale.rounds // 3),
        seconds=ground.scale.seconds,
    )


def _bare_environment(service: Path, url: sa.URL) -> Path:
    """What `alembic init -t async` makes, for a model and with the same migration."""
    bare = service.with_name(f"{service.name}_bare")
    shutil.rmtree(bare, ignore_errors=True)
    bare.mkdir()
    _run(bare, [str(BIN / "alembic"), "init", "--template", "async", "migrations"])
    (bare / "models.py").write_text(BARE_MODELS)
    target = "target_metadata = models.Base.metadata"
    for file, pattern, text in (
        ("alembic.ini", r"sqlalchemy\.url = .*", f"sqlalchemy.url = {url}"),
        ("migrations/env.py", "target_metadata = None", "import models"),
        (
            "migrations/env.py",
            "import models",
            f"import models\n{target}",
        ),
    ):
        before = (bare / file).read_text()
        after = re.sub(pattern, text, before, count=1)
        assert after != before, f"{file} is not what it was"
        (bare / file).write_text(after)
    for migration in (service / "migrations" / "versions").glob("*.py"):
        shutil.copy(migration, bare / "migrations" / "versions")
    return bare


async def _isolation(ground: Ground) -> Race:
    """Tests in turn, each with a row that is committed; an empty test is taken off from each."""
    service = BUILD / ground.layer.package
    times = BUILD / f"{ground.layer.package}.times.json"
    number = max(2, ground.scale.rounds * 20)
    _run(
        service,
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", "pyproject.toml", "--rootdir", "."),
            *("-p", f"{ground.layer.package}.db.testing", "-p", "benchmarks.timing"),
            *("-p", "no:randomly", "-p", "no:xdist", "-p", "no:cacheprovider"),
            isolation.__file__,
        ],
        PYTHONPATH=os.pathsep.join([str(service / "src"), str(REPOSITORY)]),
        BENCHMARK_TIMES=str(times),
        BENCHMARK_TESTS=str(number),
        BENCHMARK_PACKAGE=ground.layer.package,
        **_server(ground),
    )
    measured: dict[str, list[float | None]] = json.loads(times.read_text())
    return Race(
        "a test's isolation",
        ground.where,
        "setup, a committed row, teardown, less those of an empty test",
        {LAYER: measured["layer"], HAND: measured["hand"]},
    )


def _server(ground: Ground) -> dict[str, str]:
    if ground.dialect == "sqlite":
        return {}
    return {"TEST_DATABASE_URL": ground.server.render_as_string(hide_password=False)}


async def copier(ground: Ground) -> list[Race]:
    """Generate the default service, beside a template of one file."""
    one_file = BUILD / "one-file"
    shutil.rmtree(one_file, ignore_errors=True)
    (one_file / "template").mkdir(parents=True)
    (one_file / "copier.yml").write_text("_subdirectory: template\nname: something\n")
    (one_file / "template" / "README.md.jinja").write_text("# {{ name }}\n")
    (one_file / "template" / "{{ _copier_conf.answers_file }}.jinja").write_text(
        "{{ _copier_answers|to_nice_yaml }}\n"
    )
    release(one_file)

    async def copy(template: str) -> None:
        target = BUILD / "copied"
        shutil.rmtree(target, ignore_errors=True)
        # The template refuses a relative path of itself.
        source = str(BUILD / template)
        _run(BUILD, [str(BIN / "copier"), "copy", "--defaults", "--quiet", source, str(target)])

    return [
        await race(
            "copier copy",
            "the template",
            "the default service, the whole process; by hand: a template of one file",
            {LAYER: lambda: copy("template"), HAND: lambda: copy("one-file")},
            rounds=max(1, ground.scale.rounds // 3),
            seconds=ground.scale.seconds,
        )
    ]
