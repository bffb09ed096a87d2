"""A plugin of pytest that notes how long each test takes in all, for benchmarks/programs.py."""

import json
import os
from collections import defaultdict
from pathlib import Path
from statistics import median

import pytest

_times: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up a test's setup, call and teardown."""
    _, kind, number = report.nodeid.rpartition("::")[2].split("_")
    _times[kind][number] += report.duration


def pytest_sessionfinish() -> None:
    """Write the seconds of each test, less those that an empty one takes."""
    # The first of each makes the session's own fixtures, and the last ends them.
    whole = {kind: list(numbers.values())[1:-1] or [1.0, 1.0] for kind, numbers in _times.items()}
    empty = median(whole["empty"])
    net = {kind: [took - empty for took in times] for kind, times in whole.items()}
    Path(os.environ["BENCHMARK_TIMES"]).write_text(json.dumps(net))
