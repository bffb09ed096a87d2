"""That the benchmarks run."""

import os
import subprocess
from pathlib import Path

from harness import PROGRAMS, REPOSITORY


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
