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
    ("single", "bulk", "wide", "pages", "streams"),
    ("memory-insert",),
    ("memory-stream",),
    ("programs",),
)
# Seconds after which a process is given up, and the others go on.
PATIENCE = 900


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="quick")
    parser.add_argument("--driver", action="append", choices=WHERE, help="only this one")
    parser.add_argument("--subject", action="append", choices=SUBJECTS, help="only this")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    parser.add_argument("--page", action="store_true", help="write it from the last results alone")
    given = parser.parse_args()
    if given.page:
        report.write(report.load())
        return
    began = time.monotonic()
    template = render.snapshot()
    races: list[Race] = []
    failed: list[str] = []
    for driver in given.driver or WHERE:
        service = render.service(template, driver)
        processes = [*PROCESSES, ("copier",)] if driver == "aiosqlite" else PROCESSES
        for subjects in processes:
            if wanted := [x for x in subjects if x in (given.subject or subjects)]:
                measured, broken = _measure(service, driver, given.scale, wanted)
                races += measured
                failed += broken
    minutes = (time.monotonic() - began) / 60
    results = report.Results(f"python -m benchmarks --scale {given.scale} --write", minutes, races)
    _print(results)
    if given.write:
        report.save(results)
        report.write(results)
    if failed:
        sys.exit(f"These failed: {'; '.join(failed)}")


def _measure(
    service: Path,
    driver: str,
    scale: str,
    subjects: Sequence[str],
) -> tuple[list[Race], list[str]]:
    """What one process measured, and what of it failed."""
    command = [sys.executable, "-m", "benchmarks.driver", driver, scale, *subjects]
    settings = {"PYTHONPATH": str(service / "src")}
    everything = [f"{WHERE[driver]}: {', '.join(subjects)}"]
    try:
        done = subprocess.run(
            command,
            cwd=render.REPOSITORY,
            env={k: v for k, v in os.environ.items() if not k.startswith("DATABASE_")} | settings,
            stdout=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return [], everything
    if done.returncode == NO_SERVER:
        print(f"{WHERE[driver]} is left out: see `make servers`", file=sys.stderr)
        return [], []
    if done.returncode:
        return [], everything
    told = json.loads(done.stdout)
    return [Race(**race) for race in told["races"]], told["failed"]


def _print(results: report.Results) -> None:
    head = ["", "", "measured", "middle half", "met"]
    print(report.text([head, *report.goals_table(results.races)]))
    print()
    for name, where, note, multiples in report.ratios_table(results.races):
        print(f"{name} ({where}; {note})\n    {multiples}")
    met = [outcome.met for outcome in outcomes(results.races)]
    print(f"\n{sum(met)} of {len(met)} goals are met. {results.minutes:.0f} minutes in all.")


if __name__ == "__main__":
    main()
