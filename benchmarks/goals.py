"""The goals for the layer's speed, each a ratio of two contestants in one race."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .races import (
    ALCHEMY,
    FASTCRUD,
    FIRST,
    HAND,
    LAYER,
    MIXED,
    NULLABLE,
    ONE_COLUMN,
    READER,
    ROW_BY_ROW,
    STANDARD,
    WHERE,
    WIDE,
    Race,
    Ratio,
)

ANYWHERE = tuple(WHERE.values())
SQLITE, ASYNCPG, PSYCOPG, MARIADB = ANYWHERE
POSTGRESQL = (ASYNCPG, PSYCOPG)
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Goal:
    """That one contestant takes at most, or at least, so many times as long as another."""

    race: str
    contestant: str
    base: str
    at_most: float | None = None
    at_least: float | None = None
    where: Sequence[str] = ANYWHERE

    @property
    def words(self) -> str:
        """`insert_many: advanced-alchemy takes at least 8 x this layer`."""
        bound = (
            f"at most {self.at_most:g}"
            if self.at_most is not None
            else f"at least {self.at_least:g}"
        )
        if not self.base:
            return f"{self.race}: {bound} MB"
        return f"{self.race}: {self.contestant} takes {bound} x {self.base}"

    def met_by(self, value: float) -> bool:
        """Whether a ratio, as it is printed, is within the bound."""
        shown = round(value, 2)
        return shown <= self.at_most if self.at_most is not None else shown >= (self.at_least or 0)


GOALS = [
    *(
        goal
        for race in ("get", "find", "create", "update")
        for goal in (
            Goal(race, LAYER, HAND, at_most=1.05),
            Goal(race, ALCHEMY, LAYER, at_least=1),
            Goal(race, FASTCRUD, LAYER, at_least=1),
        )
    ),
    Goal("get", READER, HAND, at_most=0.85, where=POSTGRESQL),
    Goal("find", READER, HAND, at_most=0.85, where=POSTGRESQL),
    Goal("insert_many", LAYER, HAND, at_most=1.1),
    Goal(WIDE, LAYER, HAND, at_most=1.1, where=(ASYNCPG,)),
    Goal(WIDE, LAYER, HAND, at_most=1.2, where=(PSYCOPG,)),
    Goal(STANDARD, LAYER, HAND, at_most=3, where=POSTGRESQL),
    Goal("insert_many", ALCHEMY, LAYER, at_least=8, where=POSTGRESQL),
    Goal("insert_many", ALCHEMY, LAYER, at_least=3.5, where=(SQLITE,)),
    Goal("insert_many", ALCHEMY, LAYER, at_least=2.5, where=(MARIADB,)),
    Goal("memory of insert_many", LAYER, "", at_most=5, where=POSTGRESQL),
    Goal("upsert_many", LAYER, HAND, at_most=1.2, where=POSTGRESQL),
    Goal("upsert_many", ALCHEMY, LAYER, at_least=15, where=POSTGRESQL),
    Goal("update_rows", LAYER, HAND, at_most=1.1, where=POSTGRESQL),
    Goal("update_rows", ALCHEMY, LAYER, at_least=5, where=POSTGRESQL),
    Goal("delete_many", LAYER, HAND, at_most=1.1, where=POSTGRESQL),
    Goal("delete_many", ALCHEMY, LAYER, at_least=40, where=POSTGRESQL),
    *(
        Goal(f"cursor_page, {order}", LAYER, FIRST, at_most=1.2)
        for order in (ONE_COLUMN, MIXED, NULLABLE)
    ),
    Goal("stream", LAYER, HAND, at_most=1.1),
    Goal("stream", ROW_BY_ROW, LAYER, at_least=2.4),
    Goal("memory of stream", LAYER, "", at_most=10),
    Goal("memory of batches", LAYER, "", at_most=10),
    Goal("a test's isolation", LAYER, HAND, at_most=1.1),
    Goal("import of db", LAYER, HAND, at_most=1.1),
    Goal("alembic upgrade head", LAYER, HAND, at_most=1.3),
    Goal("copier copy", LAYER, HAND, at_most=2, where=("the template",)),
]


# Why a goal is missed, where it is: what was found by profiles of the client.
WHY: dict[tuple[str, str], str] = {
    **dict.fromkeys(
        [("get", LAYER), ("find", LAYER), ("create", LAYER), ("update", LAYER)],
        "The round trips are the same; the rest is work of the client. Of a `get` on SQLite, what"
        " each part takes was measured by leaving it out: the event that hides soft-deleted rows"
        " 2 %, the session that keeps callbacks and failures 2 %, the guard against a second task"
        " less than 1 %, the session's safe end 2 %, `Database.session()` 2 %, the repository 1 %."
        " A statement that is kept for each model would save 5 % of a `get`. It is left out: it"
        " would repeat what `Session.get` does.",
    ),
    **dict.fromkeys(
        [("get", READER), ("find", READER)],
        "A reader saves BEGIN and ROLLBACK, two round trips of three. On a local socket those take"
        " hardly longer than the client's own work, which is the same or more; with a"
        " millisecond of network the ratio is near one half.",
    ),
    **dict.fromkeys(
        [(x, LAYER) for x in ("insert_many", WIDE)],
        "The layer works in a savepoint of its own, so that a failure leaves the session usable:"
        " two round trips. It checks the names of each row, and returns how many rows there were."
        " On PostgreSQL it also asks the catalog for the table's types, and checks that each value"
        " is one that the driver's binary form keeps. The first COPY has 11,000 rows, and each"
        " later one as many as the server can write in 0.1 s: with one COPY of all rows the ratio"
        " on asyncpg was 1.09, but a check that takes the server long then ended in a timeout.",
    ),
    **dict.fromkeys(
        [(x, LAYER) for x in ("delete_many", "update_rows")],
        "The layer works in a savepoint of its own, so that a failure leaves the session usable:"
        " two round trips. It checks the names of each row, and returns how many rows there were.",
    ),
    (STANDARD, LAYER): (
        "Both drivers send a message for each row, and the server executes each by itself. With"
        " RETURNING, SQLAlchemy would write many rows by one statement: that takes 0.8 of the time"
        " on asyncpg, and no less on psycopg, which reads so long a statement anew each time. It is"
        " left out: a table with an INSTEAD rule refuses RETURNING."
    ),
    ("upsert_many", LAYER): (
        "The layer's rows go through a temporary table made for the call, which keeps of two rows"
        " with one key the later; by hand there are no such rows. A savepoint comes on top."
    ),
    ("a test's isolation", LAYER): (
        "A session of the layer ends in a task of its own, which nobody can cancel, and the fixture"
        " looks for connections that were not given back."
    ),
    **dict.fromkeys(
        [("import of db", LAYER), ("alembic upgrade head", LAYER)],
        "What Python makes of the layer's own modules: the settings' model, the dataclasses, and"
        " the types of the dialect.",
    ),
    ("stream", ROW_BY_ROW): (
        "The time in which rows are fetched and made into entities is the same for both. What is"
        " saved is one switch between coroutine and driver for each row."
    ),
}


def why(goal: Goal) -> str:
    """Why a goal may be missed, as far as it is known."""
    return WHY.get((goal.race, goal.contestant), "")


@dataclass(frozen=True)
class Outcome:
    """The outcome of a goal in one race."""

    goal: Goal
    race: Race
    ratio: Ratio

    @property
    def met(self) -> bool:
        return self.goal.met_by(self.ratio.median)


def outcomes(races: Sequence[Race]) -> Iterator[Outcome]:
    """Each goal with each race that it is about."""
    for goal in GOALS:
        for race in races:
            if (race.name, race.where in goal.where) != (goal.race, True):
                continue
            if not goal.base:
                grown = (race.times[LAYER][0] or 0) / MEGABYTE
                yield Outcome(goal, race, Ratio(grown, grown, grown))
            elif ratio := race.ratio(goal.contestant, goal.base):
                yield Outcome(goal, race, ratio)
