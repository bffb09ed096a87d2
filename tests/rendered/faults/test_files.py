"""The file of a database, and the disk that it is on."""

import asyncio
import os
import pwd
import resource
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from .. import db
from .ground import FACTOR, Ground, Unit, insert
from .servers import only
from .test_processes import child, succeed

pytestmark = only("sqlite", why="a server keeps its files to itself")


# A process of its own sees a disk of 8 MB in place of a directory; the machine sees nothing of it.
_MOUNT = 'mount -t tmpfs -o size=8M tmpfs "$0" && exec "$@"'
_ON_A_SMALL_DISK = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT)


async def test_disk_full(ground: Ground, tmp_path: Path) -> None:
    there = (*_ON_A_SMALL_DISK, str(tmp_path))
    if not await asyncio.to_thread(_runs, *there, "true"):
        await _fill_the_file(ground)
        return

    async def fault(number: int) -> None:
        await succeed(await child(ground, "disk_full", file=tmp_path / "file.db", within=there))

    await ground.survive(fault, 10, at_once=10 * FACTOR)


def _runs(*command: str) -> bool:
    return bool(shutil.which(command[0])) and not subprocess.run(command, check=False).returncode


async def _fill_the_file(ground: Ground) -> None:
    ground.simulated = True

    async def fault(number: int) -> None:
        async def work(session: AsyncSession) -> None:
            size = await session.scalar(sa.text("PRAGMA page_count"))
            # As SQLite's own tests have it: the file may not grow.
            await session.execute(sa.text(f"PRAGMA max_page_count = {size}"))
            session.add_all(Unit(name="x" * 50) for _ in range(200))
            await session.flush()

        async with ground.using() as database:
            with pytest.raises(db.Unavailable, match="free space on the disk"):
                await database.run(work, attempts=2)
        # There is room again.
        await ground.add(f"{number}")

    await ground.survive(fault, 10)


async def test_disk_error(ground: Ground) -> None:
    async def work(session: AsyncSession) -> None:
        session.add_all(Unit(name="x" * 2000) for _ in range(500))
        await session.flush()

    async def fault(number: int) -> None:
        async with ground.using() as database:
            with _erring_disk(), pytest.raises(db.Unavailable, match="check the disk"):
                await database.run(work, attempts=2)
            assert database.pool_status().in_use == 0
        await ground.add(f"{number}")

    await ground.survive(fault, 10)


@contextmanager
def _erring_disk() -> Generator[None]:
    """No file can be written beyond its first 100 kB: to SQLite that is an error of the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


_WRITABLE = "let this user write the file and its directory|whether this user may write"


async def test_file_read_only(ground: Ground) -> None:
    file = Path(str(ground.database.settings.url.database))

    async def fault(number: int) -> None:
        async with ground.using() as database:
            with _unwritable(file), pytest.raises((db.ReadOnly, db.Unavailable), match=_WRITABLE):
                async with database.transaction() as session:
                    await insert(session, f"{number}")
        await ground.add(f"{number} again")

    await ground.survive(fault, 10)


@contextmanager
def _unwritable(file: Path) -> Generator[None]:
    """The file and its directory may only be read, by this user, or by nobody in place of root."""
    me = os.geteuid()
    file.chmod(0o444)
    file.parent.chmod(0o555)
    os.seteuid(me or pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(me)
        file.parent.chmod(0o755)
        file.chmod(0o644)


async def test_file_corrupt(ground: Ground) -> None:
    file = Path(str(ground.database.settings.url.database))

    async def fault(number: int) -> None:
        await ground.add(f"{number}")
        await ground.database.dispose()
        await ground.witness.dispose()
        with _damaged(file, ground.random, header=bool(number % 2)):
            async with ground.using() as database:
                with pytest.raises(db.Unavailable, match=r"restore a backup|is not a database"):
                    async with database.transaction() as session:
                        await insert(session, f"{number} again")
                assert database.pool_status().in_use == 0
        await ground.database.__aenter__()
        await ground.witness.__aenter__()

    await ground.survive(fault, 10)


@contextmanager
def _damaged(file: Path, random: Random, *, header: bool) -> Generator[None]:
    """The file with noise for a header, or for all that comes after it."""
    whole = file.read_bytes()
    noise = bytearray(whole)
    where = slice(0, 100) if header else slice(100, None)
    noise[where] = random.randbytes(len(noise[where]))
    file.write_bytes(noise)
    yield
    for path in file.parent.glob(f"{file.name}-*"):
        path.unlink()
    file.write_bytes(whole)
