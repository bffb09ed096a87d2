"""Other processes: forked, killed, or at work on the same file."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path

from .ground import Ground, together
from .servers import only


async def child(
    ground: Ground,
    command: str,
    *arguments: str,
    file: Path | None = None,
    within: Sequence[str] = (),
) -> Process:
    """A process of its own, that does something to the same database, or to another file."""
    url = ground.database.settings.url
    url = url.set(database=str(file)) if file else url
    target = url.render_as_string(hide_password=False)
    module = (sys.executable, "-m", f"{__package__}.children")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return await asyncio.create_subprocess_exec(
        *(*within, *module, command, target, *arguments),
        env=environment,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )


async def succeed(process: Process) -> None:
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


async def test_fork(ground: Ground) -> None:
    async def fault(number: int) -> None:
        names = [f"{number}.{one}" for one in range(10)]
        await succeed(await child(ground, "fork", *names))
        for name in names:
            for when in ("before", "meanwhile", "in the child", "after"):
                ground.expected[f"{name} {when}"] = 0

    await ground.survive(fault, 10, at_once=10)


async def test_process_killed_in_a_bulk_load(ground: Ground) -> None:
    async def fault(number: int) -> None:
        rows = ground.random.randrange(1, 20_000)
        process = await child(ground, "load", f"{rows}")
        assert process.stdout
        assert await process.stdout.readline() == b"now\n"
        process.kill()
        await process.wait()

    await ground.survive(fault, 3)


@only("sqlite", why="a server takes any number of processes")
async def test_lost_update_by_several_processes(ground: Ground) -> None:
    await ground.add("the one")

    async def fault(number: int) -> None:
        processes = [await child(ground, "increments") for _ in range(2)]
        await together(map(succeed, processes))
        ground.expected["the one"] += 500

    await ground.survive(fault, 500, at_once=500)


@only("sqlite", why="a server makes its databases by itself")
async def test_first_use_by_several_processes(ground: Ground) -> None:
    async def fault(number: int) -> None:
        processes = [await child(ground, "first_use") for _ in range(4)]
        for process in processes:
            assert process.stdout
            assert await process.stdout.readline() == b"ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write(b"go\n")
        await together(map(succeed, processes))

    await ground.survive(fault, 5, at_once=5)
