"""Whether the database is there, and has room: `python -m <package>.db ping | wait | budget`."""

# ruff: noqa: T201  What a command is for is to print.

import argparse
import asyncio
import json
import socket
import ssl
import sys
import time
from collections.abc import Callable, Coroutine

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.exc import ArgumentError

from .database import Database
from .engine import dialect, driver
from .errors import DataLayerError
from .settings import DatabaseSettings

# What an answer is made of: printed as a sentence, or with --json as it is.
Report = dict[str, object]
Command = Callable[[DatabaseSettings, float], Coroutine[None, None, Report]]


async def ping(settings: DatabaseSettings, deadline: float) -> Report:
    """Connect once, and say what is wrong and what to try."""
    began = time.perf_counter()
    report: Report = {"database": dialect.locate(settings.url)}
    if missing := dialect.missing(settings.url):
        return report | {"ok": False, "error": missing}
    # SQLite waits for a lock in a thread, which no timeout of asyncio ends.
    limits = {"lock_timeout": min(settings.lock_timeout, deadline)}
    try:
        async with (
            Database(settings.model_copy(update=limits)) as database,
            asyncio.timeout(deadline),
            # No transaction: on SQLite it would wait for whoever writes.
            database.engine.execution_options(**dialect.AUTOCOMMIT).connect() as connection,
        ):
            await connection.execute(sa.select(1))
    except (DataLayerError, TimeoutError) as error:
        problem = str(error) or f"no answer within {deadline:.1f} s"
        advice = _advise(error)
        report |= {"ok": False, "error": problem}
        return report if advice in problem else report | {"advice": advice}
    took = time.perf_counter() - began
    return report | {"ok": True, "seconds": took, "message": f"answers, in {took:.3f} s"}


async def wait(settings: DatabaseSettings, deadline: float) -> Report:
    """Ping until there is an answer or the deadline is past, with a line when the reason changes."""
    if missing := dialect.missing(settings.url):
        # Whoever waits before a first migration has waited long enough.
        return {"database": dialect.locate(settings.url), "ok": True, "message": missing}
    end, said = time.monotonic() + deadline, ""
    while True:
        report = await ping(settings, max(0.1, end - time.monotonic()))
        left = end - time.monotonic()
        if report["ok"] or left <= 0:
            return report
        if report["error"] != said:
            said = str(report["error"])
            print(f"waiting up to {left:.0f} s more: {said}", file=sys.stderr, flush=True)
        await asyncio.sleep(min(0.5, left))


async def budget(settings: DatabaseSettings, deadline: float) -> Report:
    """Count the connections of all processes against what the server has."""
    report = await ping(settings, deadline)
    if not report["ok"]:
        return report
    async with Database(settings) as database, database.engine.connect() as connection:
        limit = await dialect.connection_limit(connection)
    each = max(1, settings.pool_size + settings.max_overflow)
    need = settings.processes * each
    total = (
        f"{settings.processes} processes x"
        f" ({settings.pool_size} + {settings.max_overflow}) connections = {need}"
    )
    report |= {"need": need, "limit": limit}
    if settings.pooler != "none":
        return report | {"message": f"is behind a pooler, which must allow {total}"}
    if limit is None:
        return report | {"message": "has no limit on connections"}
    if need <= limit:
        return report | {"message": f"has room: {total}, of {limit}"}
    return report | {
        "ok": False,
        "error": f"{total}, more than the {limit} that the server has for them",
        "advice": "lower DATABASE_POOL_SIZE or DATABASE_MAX_OVERFLOW, run fewer processes"
        " (DATABASE_PROCESSES), put a pooler between, or raise max_connections on the server",
    }


def _advise(error: BaseException) -> str:
    cause = error.__cause__ or error
    if advice := dialect.ADVICE.get(driver.error_code(cause) or ""):
        return advice
    for kind, advice in _ADVICE.items():
        if isinstance(cause, kind):
            return advice
    return (
        "look for a slip in DATABASE_URL (host, port, user, password, name) and in DATABASE_TLS, and"
        " whether the server runs"
    )


_ADVICE = {
    ssl.SSLCertVerificationError: "name the file of the server's authority in DATABASE_TLS_CA_FILE,"
    " and the host as its certificate does; DATABASE_TLS=require encrypts and verifies nothing",
    socket.gaierror: "nobody knows this host here: look for a slip in DATABASE_URL",
    ConnectionRefusedError: "nothing listens there: start the server, or correct the host and the"
    " port in DATABASE_URL",
    TimeoutError: "nobody answers there: look at firewalls, and at the host and the port in"
    " DATABASE_URL",
}
COMMANDS: dict[str, Command] = {"ping": ping, "wait": wait, "budget": budget}


def main() -> int:
    """The exit status: 0 if all is well, 1 if not, 2 if there is no such command."""
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
    report: Report
    try:
        report = asyncio.run(COMMANDS[options.command](DatabaseSettings(), options.deadline))
    except ValidationError as error:
        wrong = [f"DATABASE_{str(x['loc'][0]).upper()}: {x['msg']}" for x in error.errors()]
        report = {"ok": False, "error": "; ".join(wrong)}
    except (ValueError, ArgumentError) as error:
        report = {"ok": False, "error": str(error)}
    if options.json:
        print(json.dumps(report))
    elif report["ok"]:
        print(f"{report['database']}: {report['message']}")
    else:
        print(f"error: {report['error']}", file=sys.stderr)
        if advice := report.get("advice"):
            print(f"try: {advice}", file=sys.stderr)
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
