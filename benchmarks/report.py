"""The results, as tables and plots."""

import dataclasses
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template

from .goals import Goal, Outcome, outcomes, why
from .races import HAND, LAYER, Race

PACKAGES = (
    *("sqlalchemy", "asyncpg", "psycopg", "aiosqlite", "asyncmy", "alembic", "copier"),
    *("advanced-alchemy", "fastcrud", "sqlmodel"),
)
# The plots: file, title, and the races in it.
PLOTS: Mapping[str, tuple[str, Sequence[str]]] = {
    "single": ("One row, or fifty: a session each time", ("get", "find", "create", "update")),
    "bulk": (
        "Many rows in one transaction",
        ("insert_many", "upsert_many", "update_rows", "delete_many"),
    ),
    "reading": ("Far pages and whole tables", ("cursor_page, one column", "stream")),
}
PLOTTED = "PostgreSQL, asyncpg"
PAGE = Path(__file__).with_name("page.md")
RESULTS = Path(__file__).with_name("results.json")
DOCS = Path(__file__).parents[1] / "docs"


def _versions() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES}


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


@dataclass(frozen=True)
class Results:
    """What one run measured, and with what."""

    command: str
    minutes: float
    races: Sequence[Race]
    python: str = field(default_factory=platform.python_version)
    machine: str = field(default_factory=_machine)
    versions: Mapping[str, str] = field(default_factory=_versions)


def save(results: Results) -> None:
    """Keep what was measured beside the page that shows it."""
    RESULTS.write_text(f"{json.dumps(dataclasses.asdict(results), indent=1)}\n", "utf-8")


def load() -> Results:
    """What was measured last."""
    told = json.loads(RESULTS.read_text("utf-8"))
    races = [Race(**race) for race in told.pop("races")]
    return Results(races=races, **told)


def goals_table(races: Sequence[Race]) -> list[list[str]]:
    """A row for each goal and database: goal, where, measured, the middle half, whether met."""
    return [
        [
            outcome.goal.words,
            outcome.race.where,
            f"{outcome.ratio.median:.2f}",
            _spread(outcome),
            "yes" if outcome.met else "**no**",
        ]
        for outcome in outcomes(races)
    ]


def _spread(outcome: Outcome) -> str:
    if not outcome.goal.base:
        return ""
    return f"{outcome.ratio.low:.2f} to {outcome.ratio.high:.2f}"


def ratios_table(races: Iterable[Race]) -> list[list[str]]:
    """A row for each race: all contestants, as multiples of what was written by hand."""
    return [
        [race.name, race.where, race.note, ", ".join(_multiples(race))]
        for race in races
        if len(race.times) > 1
    ]


def base_of(race: Race) -> str:
    return HAND if HAND in race.times else LAYER


def _multiples(race: Race) -> Iterator[str]:
    for contestant in race.times:
        if contestant in race.failed:
            yield f"{contestant} failed ({race.failed[contestant]})"
        elif ratio := race.ratio(contestant, base_of(race)):
            yield f"{contestant} {ratio.median:.2f}"


def missed(races: Sequence[Race]) -> str:
    """A line for each goal that is missed somewhere: where, by how much, and why."""
    lines: dict[Goal, list[str]] = {}
    for outcome in outcomes(races):
        if not outcome.met:
            places = lines.setdefault(outcome.goal, [])
            places.append(f"{outcome.ratio.median:.2f} on {outcome.race.where}")
    return "\n".join(
        f"- **{goal.words}**: {'; '.join(places)}. {why(goal)}" for goal, places in lines.items()
    )


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])


def text(lines: Sequence[Sequence[str]]) -> str:
    """A table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def document(results: Results) -> str:
    """docs/performance.md, from benchmarks/page.md."""
    lines, races = goals_table(results.races), results.races
    parts = {
        "command": results.command,
        "minutes": f"{results.minutes:.0f}",
        "machine": results.machine,
        "versions": ", ".join(f"{name} {number}" for name, number in results.versions.items()),
        "python": results.python,
        "missed": missed(races) or "None is missed.",
        "number": str(len(lines)),
        "met": str(sum(line[-1] == "yes" for line in lines)),
        "goals": markdown(["goal", "where", "measured", "middle half", "met"], lines),
        "plots": "\n\n".join(f"![{title}](performance/{x}.svg)" for x, (title, _) in PLOTS.items()),
        "ratios": markdown(
            ["what", "where", "how much", "beside the work by hand"], ratios_table(races)
        ),
    }
    return Template(PAGE.read_text("utf-8")).substitute(parts)


def files(results: Results) -> dict[str, str]:
    """The page and its plots, by their paths in docs/."""
    drawn = {"performance.md": document(results)}
    for file, (title, names) in PLOTS.items():
        races = [
            race for race in results.races if (race.where, race.name in names) == (PLOTTED, True)
        ]
        drawn[f"performance/{file}.svg"] = plot(title, races)
    return drawn


def write(results: Results) -> None:
    """Write the page and its plots."""
    (DOCS / "performance").mkdir(exist_ok=True)
    for path, text in files(results).items():
        (DOCS / path).write_text(text, "utf-8")


STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 }
  .race { font-weight: 600 }
  .note { fill: #59636e }
  .bar { fill: #afb8c1 }
  .layer { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .note { fill: #9198a1 } .bar { fill: #545d68 } .layer { fill: #4493f8 }
  }
"""
LINE, LEFT, WIDTH, BARS = 22, 240, 760, 440


def plot(title: str, races: Sequence[Race]) -> str:
    """Bars of how many times as long as by hand, each race on a scale of its own, as an SVG."""
    drawn = [f'<text x="0" y="20" class="title">{escape(title)}</text>']
    y = 30
    for race in races:
        y += LINE
        drawn.append(
            f'<text x="0" y="{y}" class="race">{escape(race.name)}'
            f'<tspan class="note" font-weight="400" dx="8">{escape(race.note)}</tspan></text>'
        )
        ratios = {name: race.ratio(name, base_of(race)) for name in race.times}
        found = {name: ratio.median for name, ratio in ratios.items() if ratio}
        for name, value in sorted(found.items(), key=lambda each: each[1]):
            y += LINE
            length = max(2, value / max(found.values()) * BARS)
            kind = "bar layer" if name.startswith(LAYER) else "bar"
            drawn += [
                f'<text x="{LEFT - 10}" y="{y}" text-anchor="end">{escape(name)}</text>',
                f'<rect x="{LEFT}" y="{y - 13}" width="{length:.0f}" height="16" class="{kind}"/>',
                f'<text x="{LEFT + length + 8:.0f}" y="{y}">{value:.2f}</text>',
            ]
        y += LINE // 2
    body = "\n".join(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 10}" width="{WIDTH}"'
        f' role="img" aria-label="{escape(title)}">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )
