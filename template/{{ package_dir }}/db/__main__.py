"""Ask whether the database is there, and all is in order: `python -m <package>.db doctor`."""

# ruff: noqa: T201  A command prints.

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine

from pydantic import ValidationError
from sqlalchemy.exc import ArgumentError

from .analysis import analyze
from .doctor import Check, check_database, examine
from .engine import dialect
from .errors import DataLayerError
from .settings import DatabaseSettings, describe

Command = Callable[[DatabaseSettings, float], Coroutine[None, None, list[Check]]]


async def ping(settings: DatabaseSettings, deadline: float) -> list[Check]:
    """Connect once, and say what is wrong and what to try."""
    return [await check_database(settings, deadline)]


async def wait(settings: DatabaseSettings, deadline: float) -> list[Check]:
    """Ping until there is an answer or the deadline is past, with a line when the reason changes."""
    if missing := dialect.missing(settings.url):
        # The first migration makes the file, and waits for this command.
        return [Check("database", "ok", f"{dialect.locate(settings.url)}: {missing}")]
    end, reason = time.monotonic() + deadline, ""
    while True:
        check = await check_database(settings, max(0.1, end - time.monotonic()))
        left = end - time.monotonic()
        if check.status == "ok" or left <= 0:
            return [check]
        if check.message != reason:
            reason = check.message
            print(f"waiting up to {left:.0f} s more: {reason}", file=sys.stderr, flush=True)
        await asyncio.sleep(min(0.5, left))


COMMANDS: dict[str, Command] = {
    "analyze": analyze,
    "doctor": examine,
    "ping": ping,
    "wait": wait,
}


def main() -> int:
    """Return the exit status: 0 if all is well, 1 if not, 2 if there is no such command."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in COMMANDS.items():
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.add_argument("--json", action="store_true", help="print a JSON object")
        command.add_argument(
            "--deadline",
            type=float,
            default=60 if name == "wait" else 10,
            metavar="SECONDS",
            help="give up after so long (%(default)s)",
        )
    options = parser.parse_args()
    try:
        checks = asyncio.run(COMMANDS[options.command](DatabaseSettings(), options.deadline))
    except (ArgumentError, DataLayerError, ImportError, TimeoutError, ValueError) as error:
        name = "settings" if isinstance(error, ValidationError) else "database"
        checks = [Check(name, "failed", describe(error) or "no answer in time")]
    ok = all(check.status != "failed" for check in checks)
    if options.json:
        print(json.dumps({"ok": ok, "checks": [check._asdict() for check in checks]}))
    else:
        for check in checks:
            print(f"{check.status:6} {check.name}: {check.message}")
            if check.advice:
                print(f"{'':6} try: {check.advice}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
