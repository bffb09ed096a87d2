"""A guard over new revisions: squawk knows the SQL that keeps a service on PostgreSQL waiting."""

import json
import shutil
import subprocess
import sysconfig
from collections.abc import Collection
from io import StringIO
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import Script

from .refusal import refuse

# Rules that do not fit the layer: a text with a length is right here, env.py limits the waits of a
# migration, and IF NOT EXISTS accepts an index that is invalid.
EXCLUDED = (
    "prefer-text-field",
    "require-lock-timeout",
    "require-statement-timeout",
    "prefer-robust-stmts",
)


def test_no_new_revision_keeps_the_service_waiting(
    new_revisions: list[Script],
    guards_accept: Collection[str],
    database_alembic: Config,
    tmp_path: Path,
) -> None:
    squawk = shutil.which("squawk", path=sysconfig.get_path("scripts"))
    if squawk is None:
        pytest.skip("squawk is not installed: run `uv add --dev squawk-cli`")
    files = [
        file for script in new_revisions if (file := _write_sql(script, database_alembic, tmp_path))
    ]
    options = ["--reporter", "json", *(f"--exclude={rule}" for rule in EXCLUDED)]
    done = subprocess.run([squawk, *options, *files], capture_output=True, text=True)
    refuse(
        (
            (
                f"{Path(problem['file']).stem} {problem['rule_name']}",
                f"{problem['message']} {problem['help'] or ''} (line {problem['line'] + 1} of the"
                f" SQL, https://squawkhq.com/docs/{problem['rule_name']})",
            )
            for problem in json.loads(done.stdout)
        ),
        guards_accept,
    )


def _write_sql(script: Script, config: Config, folder: Path) -> Path | None:
    """Write what a revision executes into a file of its name; None if it has to ask the database."""
    config.output_buffer, sql = StringIO(), folder / f"{script.revision}.sql"
    try:
        command.upgrade(config, f"{script.down_revision or 'base'}:{script.revision}", sql=True)
    except Exception:
        return None
    sql.write_text(config.output_buffer.getvalue())
    return sql
