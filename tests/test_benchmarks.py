"""That the benchmarks run, and that docs/performance.md shows what they measured."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import PROGRAMS, REPOSITORY

sys.path.insert(0, str(REPOSITORY))

from benchmarks import races, report


def test_the_smallest_form_runs(tmp_path: Path) -> None:
    command = ["-m", "benchmarks", "--scale", "smoke", "--driver", "aiosqlite"]
    subjects = [f"--subject={name}" for name in ("single", "bulk", "pages", "streams")]
    done = subprocess.run(
        [PROGRAMS / "python", *command, *subjects],
        cwd=REPOSITORY,
        env={**os.environ, "BENCHMARK_BUILD": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    measured = {"get", "create", "insert_many", "cursor_page, one column", "stream"}
    assert all(f"\n{name}: " in done.stdout for name in measured)


@pytest.mark.skipif(not report.RESULTS.exists(), reason="nothing is published yet: make bench")
def test_the_page_and_its_plots_show_the_last_results() -> None:
    written = report.files(report.load())
    found = {path: (report.DOCS / path).read_text("utf-8") for path in written}
    assert found == written, "write it anew: python -m benchmarks --page"


def test_a_peer_that_fails_is_reported_and_ends_no_race() -> None:
    async def work() -> None:
        pass

    async def fail() -> None:
        raise LookupError

    contestants = {races.LAYER: work, races.FASTCRUD: fail}
    measured = asyncio.run(
        races.race("get", "nowhere", "nothing", contestants, rounds=2, seconds=60, each=2)
    )
    assert measured.failed == {races.FASTCRUD: "LookupError"}
    assert measured.times[races.FASTCRUD] == [None, None]
    assert None not in measured.times[races.LAYER]
    assert "FastCRUD failed (LookupError)" in report.ratios_table([measured])[0][-1]
