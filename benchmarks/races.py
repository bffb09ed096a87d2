"""Measuring in turn: all contestants in each round, so that what slows the machine slows all."""

import gc
import random
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles

Work = Callable[[], Awaitable[object]]

# The contestants; the words of tables and plots.
LAYER = "this layer"
HAND = "by hand"
DRIVER = "the driver alone"
ALCHEMY = "advanced-alchemy"
FASTCRUD = "FastCRUD"
SQLMODEL = "SQLModel"
PEERS = (ALCHEMY, FASTCRUD, SQLMODEL)
READER = "this layer, in a reader()"
FIRST = "this layer, page 1"
CORE = "execute(insert(Model), rows)"
ROW_BY_ROW = "async for over stream_scalars()"
# The kinds of bulk insert beside the usual one.
WIDE, STANDARD = "insert_many, a wide table", "insert_many, the standard path"
# The orders that are paged through.
ONE_COLUMN, MIXED, NULLABLE = "one column", "mixed directions", "a nullable column"

# The database of each driver, as tables and plots name it.
WHERE = {
    "aiosqlite": "SQLite, aiosqlite",
    "asyncpg": "PostgreSQL, asyncpg",
    "psycopg": "PostgreSQL, psycopg",
    "asyncmy": "MariaDB, asyncmy",
}


@dataclass(frozen=True)
class Scale:
    """How much is done: `rows` in bulk, `many` to page through and stream, `rounds` of each.

    No round begins when a race has taken `seconds`, or twice that for those that run more of them.
    """

    rows: int
    keys: int
    many: int
    rounds: int
    bulk_rounds: int
    memory: int
    seconds: float


SCALES = {
    "full": Scale(
        rows=30_000,
        keys=10_000,
        many=1_000_000,
        rounds=12,
        bulk_rounds=3,
        memory=1_000_000,
        seconds=15,
    ),
    "quick": Scale(
        rows=10_000,
        keys=5_000,
        many=100_000,
        rounds=8,
        bulk_rounds=2,
        memory=200_000,
        seconds=8,
    ),
    # Shows that it runs; what it measures means nothing.
    "smoke": Scale(rows=50, keys=10, many=500, rounds=1, bulk_rounds=1, memory=2_000, seconds=60),
}


@dataclass(frozen=True)
class Ratio:
    """How many times as long: the median of the rounds, and the quarter of them on either side."""

    median: float
    low: float
    high: float


@dataclass
class Race:
    """What was measured: seconds by contestant, a number for each round, None where it sat out.

    `failed` are the contestants that raised an error, which is its name: they sit out from then on.
    """

    name: str
    where: str
    note: str
    times: dict[str, list[float | None]]
    failed: dict[str, str] = field(default_factory=dict[str, str])

    def ratio(self, contestant: str, base: str) -> Ratio | None:
        """How many times as long as the other it takes, round by round; None if one is missing."""
        both = zip(self.times.get(contestant, []), self.times.get(base, []), strict=False)
        ratios = [a / b for a, b in both if a is not None and b is not None]
        if not ratios:
            return None
        low, _, high = quantiles(ratios * 2, n=4)
        return Ratio(median(ratios), low, high)


async def race(
    name: str,
    where: str,
    note: str,
    contestants: Mapping[str, Work],
    *,
    rounds: int,
    seconds: float,
    each: int = 1,
    before: Work | None = None,
    closely: Collection[str] = (),
) -> Race:
    """Let each contestant work `each` times a round, in an order that changes.

    One that returns seconds has measured by itself. `before` is not measured, nor is a first round
    in which caches fill. Those of `closely`, where a percent counts, have three times as many.
    A peer that fails is reported, and does not end the race.
    """
    result = Race(name, where, note, {contestant: [] for contestant in contestants})
    shuffled = random.Random(0)
    # What is there already need not be looked at by each collection.
    gc.collect()
    gc.freeze()
    start = time.perf_counter()
    for number in range(-1, rounds * (3 if closely else 1)):
        # A first round of minutes would fill no more caches than a second one of seconds.
        if number < 0 and each == 1:
            continue
        spent = (time.perf_counter() - start) / seconds
        if number > 0 and spent > 2:
            break
        order = list(contestants)
        shuffled.shuffle(order)
        for contestant in order:
            took = None
            over = number >= rounds or (number > 0 and spent > 1)
            if contestant not in result.failed and (not over or contestant in closely):
                if before:
                    await before()
                try:
                    took = await _time(contestants[contestant], each)
                except Exception as error:
                    if contestant not in PEERS:
                        raise
                    result.failed[contestant] = type(error).__name__
                    print(f"{where}, {name}: {contestant} failed: {error!r}", file=sys.stderr)
            if number >= 0:
                result.times[contestant].append(took)
    return result


async def _time(work: Work, each: int) -> float:
    gc.collect()
    measured: object = None
    began = time.perf_counter()
    for _ in range(each):
        measured = await work()
    took = measured if isinstance(measured, float) else time.perf_counter() - began
    return round(took, 7)
