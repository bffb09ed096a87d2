"""The projects that stand for all others: `make samples` and CI render and try each of them."""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness import DRIVERS, REPOSITORY, Project, Template, isolate_git, missing_server

# By name, the answers of each: every driver with the defaults, then with the probes, and pairs of
# answers that matter to each other. A choice that is in none of them is named by
# tests/test_samples.py.
SAMPLES: Mapping[str, dict[str, Any]] = {
    **{driver: {"driver": driver} for driver in DRIVERS},
    **{f"{driver}-probes": {"driver": driver, "extras": ["probes"]} for driver in DRIVERS},
    "aiosqlite-bigint-fastapi": {
        "driver": "aiosqlite",
        "key": "bigint",
        "web": "fastapi",
        "extras": ["probes"],
        "ci": "github",
    },
    "asyncpg-bigint-worker-statementless": {
        "driver": "asyncpg",
        "key": "bigint",
        "pool": "worker",
        "pooler": "pgbouncer_statementless",
        "extras": ["probes"],
    },
    "asyncpg-fastapi": {"driver": "asyncpg", "web": "fastapi", "extras": ["replicas", "probes"]},
    "psycopg-bigint-serverless-pgbouncer-fastapi": {
        "driver": "psycopg",
        "key": "bigint",
        "pool": "serverless",
        "pooler": "pgbouncer",
        "web": "fastapi",
        "extras": ["probes"],
    },
    "asyncmy-bigint-custom-fastapi": {
        "driver": "asyncmy",
        "key": "bigint",
        "pool": "custom",
        "web": "fastapi",
        "extras": ["probes"],
    },
    "aiosqlite-empty-fastapi": {"driver": "aiosqlite", "starter": "none", "web": "fastapi"},
    "asyncpg-empty": {"driver": "asyncpg", "starter": "none"},
    "layer-aiosqlite": {"scope": "layer", "driver": "aiosqlite", "extras": ["probes"]},
    "layer-asyncpg": {"scope": "layer", "driver": "asyncpg", "package_dir": "libs/shop"},
}

# What a project that exists has, before a layer is laid into it.
_PYPROJECT = """\
[tool.ruff]
line-length = 100
src = ["{source}"]

[tool.pyright]
typeCheckingMode = "strict"
include = ["{source}", "tests", "migrations"]
extraPaths = ["{source}"]
"""

Step = Callable[[Project], object]


def _lint(project: Project) -> None:
    project.run("ruff", "check", "--no-cache")
    project.run("ruff", "format", "--check", "--no-cache")


def _types(project: Project) -> None:
    code = (project.answers["package_dir"], "tests", "migrations")
    project.run("mypy", "--strict", f"--cache-dir={_MYPY_CACHE}", *code)
    project.run("pyright")


def _migrate(project: Project) -> None:
    commands = ["alembic upgrade head", "alembic check", "alembic downgrade base"]
    if project.answers["starter"] == "none":
        # The first step of its owner.
        commands.insert(0, 'alembic revision --autogenerate -m "first tables"')
    if project.answers["scope"] == "layer":
        # There are no migrations yet, nor tables that want any.
        commands = ["alembic upgrade head"]
    project.run_on_a_database(*commands)


def _test(project: Project) -> None:
    project.run("pytest", "-q")


STEPS: Mapping[str, Step] = {"lint": _lint, "types": _types, "migrate": _migrate, "test": _test}
_MYPY_CACHE = Path(tempfile.gettempdir()) / "copier-async-sqlalchemy-mypy"


def main() -> int:
    """Try the samples that the arguments name, or all; the exit status says whether all passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="sample", help="by default all of them")
    parser.add_argument("--list", action="store_true", help="print their names, as JSON")
    parser.add_argument("--into", type=Path, default=REPOSITORY / "build" / "samples")
    arguments = parser.parse_args()
    if arguments.list:
        print(json.dumps(list(SAMPLES)))
        return 0
    names: list[str] = arguments.names or list(SAMPLES)
    if unknown := sorted(set(names) - SAMPLES.keys()):
        parser.error(f"no such sample: {', '.join(unknown)}; there are {', '.join(SAMPLES)}")
    isolate_git()
    with tempfile.TemporaryDirectory(prefix="samples-") as scratch:
        template = Template.snapshot(Path(scratch))
        rows = {name: _try(template, name, arguments.into / name) for name in names}
    print()
    for row in [["sample", *STEPS, "seconds"], *([name, *row] for name, row in rows.items())]:
        print(f"{row[0]:44}", *(f"{cell:9}" for cell in row[1:]))
    # With REQUIRE_ALL_SERVERS=1 nothing is left out: a server that is missing fails.
    return int(any("FAILED" in row for row in rows.values()))


def _try(template: Template, name: str, into: Path) -> list[str]:
    """Render a sample, take it through the steps, and tell how each of them ended."""
    answers = SAMPLES[name]
    began = time.monotonic()
    shutil.rmtree(into, ignore_errors=True)
    if answers.get("scope") == "layer":
        package = into / answers.get("package_dir", "src/shop")
        package.mkdir(parents=True)
        (package / "__init__.py").write_text('"""What there was before."""\n')
        (into / "pyproject.toml").write_text(_PYPROJECT.format(source=package.parent.name))
    project = template.render(into, **answers)
    ends: list[str] = []
    for title, step in STEPS.items():
        print(f"{name}: {title} ...", flush=True)
        missing = missing_server(answers["driver"]) if title in ("migrate", "test") else None
        if missing and os.environ.get("REQUIRE_ALL_SERVERS") != "1":
            print(f"{name}: {title} left out: {missing}")
            ends.append("left out")
            continue
        try:
            step(project)
        except AssertionError as error:
            print(error)
            ends.append("FAILED")
        else:
            ends.append("passed")
    return [*ends, f"{time.monotonic() - began:.0f}"]


if __name__ == "__main__":
    sys.exit(main())
