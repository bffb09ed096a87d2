"""Measure everything in one run, print the tables, and write docs/performance.md."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import render, report
from .driver import NO_SERVER, SUBJECTS
from .goals import outcomes
from .races import SCALES, WHERE, Race

PROCESSES: Sequence[Sequence[str]] = (
    ("single", "bulk", "pages", "streams"),
    ("memory-insert",),
    ("memory-stream",),
    ("programs",),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="quick")
    parser.add_argument("--driver", action="append", choices=WHERE, help="only this one")
    parser.add_argument("--subject", action="append", choices=SUBJECTS, help="only this")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    given = parser.parse_args()
    began = time.monotonic()
    template = render.snapshot()
    races: list[Race] = []
    for driver in given.driver or WHERE:
        service = render.service(template, driver)
        processes = [*PROCESSES, ("copier",)] if driver == "aiosqlite" else PROCESSES
        for subjects in processes:
            if wanted := [x for x in subjects if x in (given.subject or subjects)]:
                races += _measure(service, driver, given.scale, wanted)
                (render.BUILD / "results.json").write_text(json.dumps([*map(vars, races)]))
    _print(races)
    print(f"{time.monotonic() - began:.0f} s in all")
    if given.write:
        report.write(
            races, f"python -m benchmarks --scale {given.scale} --write", render.REPOSITORY / "docs"
        )


def _measure(service: Path, driver: str, scale: str, subjects: Sequence[str]) -> list[Race]:
    command = [sys.executable, "-m", "benchmarks.driver", driver, scale, *subjects]
    settings = {"PYTHONPATH": str(service / "src")}
    done = subprocess.run(
        command,
        cwd=render.REPOSITORY,
        env={k: v for k, v in os.environ.items() if not k.startswith("DATABASE_")} | settings,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode == NO_SERVER:
        print(f"{WHERE[driver]} is left out: see `make servers`", file=sys.stderr)
        return []
    if done.returncode:
        sys.exit(f"{WHERE[driver]}: {', '.join(subjects)} ended with {done.returncode}")
    return [Race(**race) for race in json.loads(done.stdout)]


def _print(races: Sequence[Race]) -> None:
    head = ["", "", "measured", "middle half", "met"]
    print(report.text([head, *report.goals_table(races)]))
    print()
    for name, where, note, multiples in report.ratios_table(races):
        print(f"{name} ({where}; {note})\n    {multiples}")
    met = [outcome.met for outcome in outcomes(races)]
    print(f"\n{sum(met)} of {len(met)} goals are met.")


if __name__ == "__main__":
    main()
