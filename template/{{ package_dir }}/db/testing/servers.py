"""A server for tests: found on this machine, started on a free port, gone when the tests are."""

import ctypes
import errno
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True)
class ServerProgram:
    """How a kind of server is found, started and stopped: data only, since it is sent as JSON.

    In the commands `{directory}` is the server's own directory, `{port}` its port on 127.0.0.1.
    """

    name: str
    embedded: str | None  # "package/folder" of an installable package that ships the programs
    elsewhere: tuple[str, ...]  # patterns of folders to search after PATH
    install: tuple[str, ...]  # ways to get the programs, as advice to a person
    initialise: tuple[str, ...]  # the command that creates the data, program first
    serve: tuple[str, ...]  # the command that stays in the foreground, program first
    ready: str  # what it logs to standard error once it accepts connections
    stop: int  # the signal that ends it in good order


class NoServer(RuntimeError):
    """No server was found, or it did not start; the message names each way to get one."""


@contextmanager
def start(program: ServerProgram) -> Generator[tuple[str, int]]:
    """The host and port of a server that runs until the block ends, or this process."""
    order = json.dumps(asdict(_find(program)))
    # A session of its own: a kill -9 of this process's group does not reach the supervisor.
    with subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, order],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as supervisor:
        assert supervisor.stdin and supervisor.stdout
        # The server lives while this pipe is open: a forked child must not hold it open too.
        os.register_at_fork(after_in_child=supervisor.stdin.close)
        report = json.loads(supervisor.stdout.readline() or '{"error": "see standard error"}')
        if "error" in report:
            raise _no_server(program, f"{program.name} did not start: {report['error']}")
        yield "127.0.0.1", report["port"]


def _find(program: ServerProgram) -> ServerProgram:
    """The same program, its commands with full paths."""
    package, _, folder = (program.embedded or "").partition("/")
    spec = find_spec(package) if package else None
    embedded = [Path(place, folder) for place in (spec and spec.submodule_search_locations) or ()]
    elsewhere = [x for pattern in program.elsewhere for x in Path("/").glob(pattern.lstrip("/"))]
    elsewhere.sort(key=lambda x: [int(n) for n in re.findall(r"\d+", str(x))], reverse=True)
    for places in (embedded, [os.environ.get("PATH", os.defpath), *elsewhere]):
        path = os.pathsep.join(map(str, places))
        initialise = shutil.which(program.initialise[0], path=path)
        serve = shutil.which(program.serve[0], path=path)
        if initialise and serve:
            return replace(
                program,
                initialise=(initialise, *program.initialise[1:]),
                serve=(serve, *program.serve[1:]),
            )
    raise _no_server(program, f"The tests need a {program.name} server, and none was found.")


def _no_server(program: ServerProgram, problem: str) -> NoServer:
    url = "set TEST_DATABASE_URL to the URL of a server where databases may be created"
    return NoServer("\n    or ".join([f"{problem}\nEither {url}", *program.install]))


# From here on: the supervisor, a process of its own that outlives the tests by a moment.


class _Identity(NamedTuple):
    prefix: tuple[str, ...] = ()
    user: int | None = None


def _supervise(program: ServerProgram) -> None:
    """Run a server until standard input closes, in whatever way its other end came to close."""
    # A signal to all processes must not keep this one from cleaning up. A handler, since the
    # server would inherit SIG_IGN.
    for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda _number, _frame: None)
    with tempfile.TemporaryDirectory(prefix="server-") as directory:
        os.chdir(directory)
        try:
            identity = _identity(program)
            with _running(program.initialise, program.stop, identity) as process:
                _wait(process, lambda: process.poll() == 0)
            _serve(program, identity)
        except (NoServer, OSError) as error:
            _report(error=str(error))


def _report(**report: str | int) -> None:
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), json.dumps(report).encode() + b"\n")


def _identity(program: ServerProgram) -> _Identity:
    """This user; or nobody in place of root, whom database servers refuse."""
    if os.geteuid() != 0:
        return _Identity()
    import pwd  # not on Windows, where this module is imported too

    nobody = pwd.getpwnam("nobody").pw_uid
    namespace = ("unshare", "--user", f"--map-user={nobody}", f"--map-group={nobody}", "--")
    # In a namespace root's own files stay readable, but containers seldom permit one.
    problem: Exception | None = None
    for identity in (_Identity(prefix=namespace), _Identity(user=nobody)):
        os.chown(".", identity.user or 0, -1)
        try:
            version = (program.serve[0], "--version")
            with _running(version, program.stop, identity) as process:
                _wait(process, lambda: process.poll() == 0)
            return identity
        except (NoServer, OSError) as error:
            problem = error
    raise NoServer(
        f"root may not run it, and nobody cannot: {problem}\nPut the environment where everybody "
        "may read it, such as /opt, or run the tests as an ordinary user."
    )


def _serve(program: ServerProgram, identity: _Identity, attempts: int = 5) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    try:
        with _running(program.serve, program.stop, identity, port) as process:
            _wait(process, lambda: program.ready in Path("log").read_text(errors="replace"))
            _report(port=port)
            sys.stdin.read()
    except NoServer as error:
        # Between the look for a port and the server's start anyone may have taken it.
        if attempts == 1 or os.strerror(errno.EADDRINUSE) not in str(error):
            raise
        _serve(program, identity, attempts - 1)


@contextmanager
def _running(
    command: tuple[str, ...], stop: int, identity: _Identity, port: int = 0
) -> Generator[subprocess.Popen[bytes]]:
    """Run a command for the length of the block; its output is the log."""
    arguments = [part.format(directory=Path.cwd(), port=port) for part in command[1:]]
    with Path("log").open("wb") as log:
        process = subprocess.Popen(
            [*identity.prefix, command[0], *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"LC_ALL": "C", "TZ": "UTC"},
            # The number of the user serves for a group too, which need not exist.
            user=identity.user,
            group=identity.user,
            extra_groups=None if identity.user is None else (),
            # PR_SET_PDEATHSIG: a kill -9 of the supervisor ends the server too.
            preexec_fn=partial(ctypes.CDLL(None).prctl, 1, stop)
            if sys.platform == "linux"
            else None,
        )
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], until: Callable[[], bool]) -> None:
    """Return once it is so. Raises NoServer if the process or the tests end first, or a minute."""
    deadline = time.monotonic() + 60
    while not until():
        # Standard input is readable once it closes.
        closed = select.select([sys.stdin], [], [], 0.01)[0]
        if closed or process.poll() is not None or time.monotonic() > deadline:
            break
    # It may have become so meanwhile.
    if not until():
        status = process.poll()
        end = "not ready in time" if status is None else f"exit status {status}"
        said = Path("log").read_text(errors="replace").splitlines()[-20:]
        raise NoServer("\n".join([f"{end}, its last words:", *said]))


if __name__ == "__main__":
    _supervise(ServerProgram(**json.loads(sys.argv[1])))
