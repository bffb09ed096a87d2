"""How much a process grows while it writes or reads a very long table."""

import resource
import sys
from itertools import chain
from pathlib import Path

from sqlalchemy.exc import IntegrityError

from .ground import Ground
from .races import LAYER, Race
from .tables import rows

# What fills caches and pools, which are not meant here.
WARM = 20_000


async def insert(ground: Ground) -> list[Race]:
    """Insert rows from a generator."""
    number = ground.scale.memory

    async def write(number: int) -> None:
        await ground.empty()
        async with ground.database.transaction() as session:
            await ground.layer.users(session).insert_many(rows(number))

    await write(WARM)
    before = _peak()
    await write(number)
    grown = _grown("memory of insert_many", ground, number, before)
    await _violate(ground, number)
    return [grown]


async def _violate(ground: Ground, number: int) -> None:
    """Have the last of many rows break a constraint, and see that none is left."""
    await ground.empty()
    broken = False
    async with ground.database.transaction() as session:
        users = ground.layer.users(session)
        try:
            await users.insert_many(chain(rows(number - 1), rows(1)))
        except IntegrityError:
            broken = True
        left = await users.count()
    print(f"  {ground.where}: {left} rows after a violation in row {number:,}", file=sys.stderr)
    assert broken, "the violation was not noticed"
    assert left == 0, f"{left} rows are left"


async def stream(ground: Ground) -> list[Race]:
    """Read all rows as entities."""
    number = ground.scale.memory
    await ground.empty()

    async def read() -> None:
        async with (
            ground.database.transaction() as session,
            ground.layer.users(session).stream() as users,
        ):
            async for _ in users:
                pass

    async def read_batches() -> None:
        async with ground.database.transaction() as session:
            async for _ in ground.layer.users(session).batches():
                pass

    for start, end in ((0, WARM), (WARM, WARM + number)):
        async with ground.database.transaction() as session:
            await ground.layer.users(session).insert_many(rows(end - start, start=start))
        await ground.analyze("users")
        if start == 0:
            await read()
            await read_batches()
    before = _peak()
    await read()
    streamed = _grown("memory of stream", ground, number, before)
    before = _peak()
    await read_batches()
    return [streamed, _grown("memory of batches", ground, number, before)]


def _grown(name: str, ground: Ground, number: int, before: float) -> Race:
    # In bytes where others have seconds.
    return Race(name, ground.where, f"{number:,} rows", {LAYER: [_peak() - before]})


def _peak() -> float:
    """The most memory that this process ever had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike ru_maxrss it does not begin with that of the parent.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)
