"""SQLite for tests: where the files of databases lie, and how they are made and dropped."""

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from ..settings import DRIVER


@contextmanager
def temporary_server() -> Generator[sa.URL]:
    """A place for test databases: a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sqlite-") as directory:
        yield sa.URL.create(DRIVER, database=f"{directory}/server")


async def create_database(server: sa.URL, name: str, template: str | None = None) -> sa.URL:
    """A new database, empty or a copy of `template`, which nobody is connected to."""
    directory = Path(str(server.database)).parent
    if template:
        shutil.copyfile(directory / f"{template}.db", directory / f"{name}.db")
    return server.set(database=str(directory / f"{name}.db"))


async def drop_database(server: sa.URL, name: str) -> None:
    """Remove a database that create_database made; nothing happens if it is gone."""
    for file in Path(str(server.database)).parent.glob(f"{name}.db*"):
        # One that is given up may be closing yet, and remove them itself.
        file.unlink(missing_ok=True)
