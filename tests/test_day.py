"""A day's work in a new service goes well: models, a migration, lists, an import, and tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Project, tiered

Render = Callable[..., Project]
DAY = Path(__file__).parent / "rendered" / "day"

# Where an owner writes each file.
FILES = {
    "models.py": "src/shop/models.py",
    "repositories.py": "src/shop/repositories.py",
    "api.py": "src/shop/api.py",
    "test_invoices.py": "tests/api/test_invoices.py",
}


@pytest.mark.server
@pytest.mark.parametrize("driver", tiered(["asyncpg", "aiosqlite"]))
def test_a_day_s_work(render: Render, driver: str) -> None:
    project = render(starter="none", web="fastapi", driver=driver)
    for name, path in FILES.items():
        project[path] = (DAY / name).read_text("utf-8")
    project["src/shop/app.py"] = (
        project["src/shop/app.py"]
        .replace("from .db import", "from . import api\nfrom .db import")
        .replace("    # Include your own routers here.\n", "    app.include_router(api.router)\n")
    )
    project.run_on_a_database(
        'alembic revision --autogenerate -m "first tables"',
        "alembic upgrade head",
        "alembic check",
        "alembic downgrade base",
        "alembic upgrade head",
        "python -m shop.db doctor",
    )
    # The guards among them.
    assert "skipped" not in project.run("pytest", "-q").splitlines()[-1]
    project.run("ruff", "check", "--no-cache")
    project.run("ruff", "format", "--check", "--no-cache")
    project.run("mypy")
    project.run("pyright")
