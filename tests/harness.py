"""The words that the tests are written in: a template that renders, and the projects it makes."""

import ast
import atexit
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from copy import copy, deepcopy
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from io import StringIO
from itertools import combinations, count, product
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from types import CodeType, ModuleType
from typing import Any, cast

import pytest
import yaml
from copier import Settings, run_copy, run_recopy, run_update
from jinja2 import Environment
from plumbum import local

REPOSITORY = Path(__file__).parents[1]
PROGRAMS = Path(sysconfig.get_path("scripts"))
ANSWERS = ".copier-answers.yml"
ANSWERS_BESIDE = ".copier-answers.db.yml"

# The tables that decide which drivers there are, before any question is asked.
_TABLES = yaml.safe_load((REPOSITORY / "copier.yml").read_text("utf-8"))
DRIVERS: Mapping[str, Mapping[str, str]] = _TABLES["drivers"]["default"]
DATABASES: Mapping[str, Mapping[str, Any]] = _TABLES["databases"]["default"]
# The first driver of each database: for what depends on the database alone.
FIRST_DRIVERS = [
    next(name for name, row in DRIVERS.items() if row["database"] == database)
    for database in DATABASES
]
# Those whose database is a server.
SERVER_DRIVERS = [name for name, row in DRIVERS.items() if DATABASES[row["database"]]["server"]]

# Higher than any release, so that this is what a copy or an update takes when it is not told.
SNAPSHOT = "v9999.0.0"

# Git as nobody has configured it: no hooks, no signatures, no name but ours.
_GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Tests",
    "GIT_AUTHOR_EMAIL": "tests@example.org",
    "GIT_COMMITTER_NAME": "Tests",
    "GIT_COMMITTER_EMAIL": "tests@example.org",
}

# Runs each of its arguments as a command, on a new database that is gone afterwards.
_ON_A_DATABASE = """
import asyncio, contextlib, os, shlex, subprocess, sys, uuid
from sqlalchemy import make_url
from {package}.db.testing import databases

given, name = os.environ.get("TEST_DATABASE_URL"), f"commands_{{uuid.uuid4().hex}}"
server = contextlib.nullcontext(make_url(given)) if given else databases.temporary_server()
with server as place:
    url = asyncio.run(databases.create_database(place, name))
    # The second for those who generated with a pooler: there is none here.
    names = ("DATABASE_URL", "DATABASE_MIGRATION_URL")
    environment = os.environ | dict.fromkeys(names, url.render_as_string(hide_password=False))
    try:
        for command in sys.argv[1:]:
            if subprocess.run(shlex.split(command), env=environment).returncode:
                sys.exit(f"{{command}} failed")
    finally:
        asyncio.run(databases.drop_database(place, name))
"""

# Who administers a server that is started for tests, and from which database.
_ADMINISTRATORS = {"postgresql": ("postgres", "postgres"), "mysql": ("root", "mysql")}

_numbers = count()
# What runs until this process ends.
_running = ExitStack()
atexit.register(_running.close)


def load_servers(file: Path) -> ModuleType:
    """The module that starts servers for tests: it stands by itself."""
    spec = importlib.util.spec_from_file_location("servers", file)
    assert spec and spec.loader
    servers = importlib.util.module_from_spec(spec)
    # Its dataclasses look for their module.
    sys.modules["servers"] = servers
    spec.loader.exec_module(servers)
    return servers


def server_program(servers: ModuleType, database: str) -> dict[str, object]:
    """How a database's server is had: the recipe alone, since its module needs a service."""
    source = REPOSITORY / "template" / "_databases" / database / "databases.py"
    statements = [ast.unparse(statement) for statement in ast.parse(source.read_text()).body]
    names: dict[str, Any] = {**vars(servers), "signal": signal}
    exec(next(line for line in statements if line.startswith("_SERVER = ")), names)
    program = cast("Mapping[str, object]", vars(names["_SERVER"]))
    return dict(program)


@cache
def missing_server(driver: str) -> str | None:
    """What a driver's tests would need and this machine has not; None if they can run."""
    database = DRIVERS[driver]["database"]
    if not DATABASES[database]["server"] or os.environ.get(_url_name(database)):
        return None
    servers, program = _server_of(database)
    try:
        servers._find(program)
    except servers.NoServer:
        return (
            f"no {program.name}: `make servers` installs it, or name one in {_url_name(database)}"
        )
    return None


def _server_of(database: str) -> tuple[ModuleType, Any]:
    servers = load_servers(
        REPOSITORY / "template" / "{{ package_dir }}" / "db" / "testing" / "servers.py"
    )
    return servers, servers.ServerProgram(**server_program(servers, database))


@cache
def _started_server(database: str) -> str | None:
    """The URL of a server for all projects of this process, if there can be one."""
    servers, program = _server_of(database)
    user, name = _ADMINISTRATORS[database]
    try:
        host, port = _running.enter_context(servers.start(program))
    except servers.NoServer:
        return None
    return f"{database}://{user}@{host}:{port}/{name}"


@cache
def _mypy_cache() -> str:
    """The folder of mypy's cache for all projects of this process.

    Measured: one revision takes 0.3 s of CPU, not 6 s, since SQLAlchemy is read once.
    """
    return _running.enter_context(TemporaryDirectory(prefix="mypy-"))


def _url_name(database: str) -> str:
    return f"TEST_{database.upper()}_URL"


def isolate_git() -> None:
    """Make every git of this process, Copier's too, independent of how the machine's is set up."""
    os.environ.update(_GIT)
    # Copier runs git by plumbum, which keeps a copy of the environment from when it was imported.
    local.env.update(_GIT)


def compile_templates_once() -> None:
    """Keep what Jinja has compiled, for all copies of this process.

    Copier compiles the 1,000 texts of a copy each time. Measured: a copy takes 0.6 s of CPU, not
    1.0 s, and the answers to the questions alone 0.06 s, not 0.21 s.
    """
    compiled: dict[object, CodeType] = {}
    compile_anew: Callable[..., CodeType] = Environment.compile

    def compile_once(self: Environment, *arguments: Any, **options: Any) -> CodeType:
        settings = (self.trim_blocks, self.lstrip_blocks, self.keep_trailing_newline)
        key = (type(self), settings, *self.extensions, *arguments, *sorted(options.items()))
        if key not in compiled:
            compiled[key] = compile_anew(self, *arguments, **options)
        return compiled[key]

    setattr(Environment, "compile", compile_once)  # noqa: B010  Its overloads are not repeated.


def read_templates_once() -> None:
    """Keep each clone of a template and what its copier.yml says, for all copies of this process.

    Copier clones and reads the template once for a copy and five times for an update. A clone is
    known by its URL and its tag: a test must not move a tag. Measured: a copy takes 0.6 s of CPU,
    not 1.2 s, and an update 1.5 s, not 3.6 s.
    """
    template = import_module("copier._template")
    clone_anew: Callable[..., str] = template.clone
    read_anew: Callable[..., dict[str, Any]] = template.load_template_config
    folder = Path(_running.enter_context(TemporaryDirectory(prefix="clones-")))

    @cache
    def clone_once(url: str, ref: str) -> str:
        return clone_anew(url, ref, str(folder / str(next(_numbers))))

    # Copier deletes the folder that it offers, which stays empty.
    def clone(url: str, ref: str, location: str) -> str:
        return clone_once(url, ref)

    read_once = cache(read_anew)

    def read(file: Path) -> dict[str, Any]:
        return deepcopy(read_once(file))

    vars(template).update(clone=clone, load_template_config=read)


def git(directory: Path, *arguments: str) -> str:
    """The output of git in a directory."""
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=directory, check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def tiered(values: Iterable[str], *first: str) -> list[object]:
    """Return parameters of which `make test` runs the first ones, and `make test-more` the rest."""
    marks = {name: () if name in first else (pytest.mark.more,) for name in values}
    return [pytest.param(name, marks=marks[name]) for name in marks]


def pairwise(**axes: Iterable[str]) -> list[dict[str, str]]:
    """Few answers in which each value of a question meets each value of every other one."""

    def pairs(answers: tuple[str, ...]) -> set[tuple[object, ...]]:
        return set(combinations(zip(axes, answers, strict=True), 2))

    everything = list(product(*axes.values()))
    missing = set[tuple[object, ...]]().union(*map(pairs, everything))
    chosen: list[dict[str, str]] = []
    while missing:
        best = max(everything, key=lambda answers: len(missing & pairs(answers)))
        missing -= pairs(best)
        chosen.append(dict(zip(axes, best, strict=True)))
    return chosen


def is_ours(path: str) -> bool:
    """Whether a path of a project is the template's: it lies in a folder named db."""
    return "db" in PurePosixPath(path).parts[:-1]


@dataclass(frozen=True)
class Answers:
    """What Copier makes of some answers: those it stores, and every value it computes."""

    stored: Mapping[str, Any]
    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


class Project:
    """A generated project, which belongs to one test."""

    def __init__(self, root: Path, answers: Answers, answers_file: str = ANSWERS) -> None:
        self.root = root
        self.answers = answers
        self._answers_file = answers_file

    @property
    def tree(self) -> list[str]:
        """The paths of its files, sorted."""
        files = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        return sorted(path.as_posix() for path in files if path.parts[0] != ".git")

    @property
    def import_path(self) -> Path:
        """The folder that its package is imported from."""
        package_dir: str = self.answers["package_dir"]
        package: str = self.answers["package"]
        return (self.root / package_dir).parents[package.count(".")]

    def __getitem__(self, path: str) -> str:
        return (self.root / path).read_text("utf-8")

    def __setitem__(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")

    def __delitem__(self, path: str) -> None:
        (self.root / path).unlink()

    def contents(self) -> dict[str, str]:
        """The text of each file."""
        return {path: self[path] for path in self.tree}

    def run(self, program: str, *arguments: str, **environment: str) -> str:
        """The output of a program of the shared environment, which must end well.

        The package is found by PYTHONPATH, and no setting of a database or of this run gets in
        but those that are given, and the server that TEST_POSTGRESQL_URL or TEST_MYSQL_URL names,
        or one of this run. With TEST_DATABASE_URL="" it finds itself one.
        """
        done = self._start(program, arguments, environment)
        assert done.returncode == 0, f"{program} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def fail(self, program: str, *arguments: str, **environment: str) -> str:
        """As `run`, but the program must end badly."""
        done = self._start(program, arguments, environment)
        assert done.returncode > 0, f"{program} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def run_on_a_database(self, *commands: str) -> str:
        """The output of these commands, in turn, on a new database that is gone afterwards."""
        script = _ON_A_DATABASE.format(package=self.answers["package"])
        return self.run("python", "-c", script, *commands)

    def _start(
        self, program: str, arguments: Iterable[str], settings: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        # In CI pytest says more.
        foreign = ("DATABASE_", "TEST_DATABASE_", "PYTEST_", "PYTHON", "VIRTUAL_ENV", "CI")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(foreign)
        }
        driver, database = self.answers["driver"], self.answers["database"]
        served = DATABASES[database]["server"] and "TEST_DATABASE_URL" not in settings
        if served and (url := os.environ.get(_url_name(database)) or _started_server(database)):
            environment["TEST_DATABASE_URL"] = f"{database}+{driver}:{url.partition(':')[2]}"
        environment["PYTHONPATH"] = str(self.import_path)
        environment["MYPY_CACHE_DIR"] = _mypy_cache()
        environment["PATH"] = f"{PROGRAMS}{os.pathsep}{environment.get('PATH', os.defpath)}"
        return subprocess.run(
            [PROGRAMS / program, *arguments],
            cwd=self.root,
            env={**environment, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )

    def commit(self) -> None:
        """Commit everything, as its owner would."""
        if not (self.root / ".git").exists():
            git(self.root, "init", "--quiet")
        git(self.root, "add", "--all")
        git(self.root, "commit", "--quiet", "--allow-empty", "--message", "Work")

    def update(self, **answers: object) -> str:
        """`copier update` to the newest release, with other answers or the same; what it prints."""
        return self._change(run_update, answers)

    def recopy(self, **answers: object) -> str:
        """`copier recopy --overwrite` of the newest release; what it prints."""
        return self._change(run_recopy, answers)

    def _change(self, run: Callable[..., Any], answers: Mapping[str, object]) -> str:
        printed = StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            worker = run(
                self.root,
                dict(answers),
                answers_file=self._answers_file,
                settings=Settings(),
                defaults=True,
                overwrite=True,
            )
        self.answers = _answers(worker.answers.combined, worker.answers.hidden)
        return printed.getvalue()

    @property
    def changes(self) -> list[str]:
        """What is not committed, in the words of `git status`."""
        status = git(self.root, "status", "--porcelain", "--untracked-files=all")
        return status.splitlines()

    @property
    def conflicts(self) -> list[str]:
        """The files that an update could not merge, in whichever way it says so."""
        unmerged = git(self.root, "diff", "--name-only", "--diff-filter=U").splitlines()
        listed = git(self.root, "ls-files", "--cached", "--others", "--exclude-standard")
        paths = [path for path in listed.splitlines() if (self.root / path).is_file()]
        rejected = [path for path in paths if path.endswith(".rej")]
        marked = [path for path in paths if "<<<<<<< " in self[path]]
        return sorted({*unmerged, *rejected, *marked})


class Template:
    """This template in a git repository, with its releases: it renders the newest."""

    def __init__(self, repository: Path, scratch: Path) -> None:
        self.repository = repository
        self._scratch = scratch
        self._version: str | None = None
        self._rendered: dict[object, Project] = {}
        # A template of nothing but questions: a hundred answers take seconds.
        self._questions = self._new()
        (self._questions / "template").mkdir(parents=True)
        shutil.copy(repository / "copier.yml", self._questions)
        worker = run_copy(str(self._questions), self._new(), defaults=True, quiet=True)
        #: What copier.yml says beside its questions, by the name without the underscore.
        self.config: Mapping[str, Any] = worker.template.config_data
        self.questions: Mapping[str, Mapping[str, Any]] = worker.template.questions_data

    @classmethod
    def snapshot(cls, scratch: Path) -> "Template":
        """The working tree, tracked or not, as the newest release."""
        repository = scratch / "template"
        git(scratch, "clone", "--quiet", "--no-checkout", str(REPOSITORY), repository.name)
        listed = git(REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        for path in listed.split("\0"):
            if path and (REPOSITORY / path).is_file():
                (repository / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / path, repository / path)
        _release(repository, SNAPSHOT)
        return cls(repository, scratch)

    def release(self, version: str, change: Callable[[Path], object]) -> "Template":
        """A copy of this template with one release more, in which `change` was made."""
        repository = shutil.copytree(self.repository, self._new())
        change(repository)
        _release(repository, version)
        return Template(repository, self._scratch)

    @property
    def releases(self) -> list[str]:
        """The versions that people may have generated a project from, before the newest."""
        return git(self.repository, "tag", "--list", "v*", "--sort=version:refname").split()[:-1]

    def lost_paths(self, **answers: object) -> dict[str, set[str]]:
        """By release, the paths that the newest one does not emit any more."""
        now = set(self.render(**answers).tree)
        then = {version: self.at(version).render(**answers) for version in self.releases}
        lost = {version: set(project.tree) - now for version, project in then.items()}
        return {version: paths for version, paths in lost.items() if paths}

    def at(self, version: str) -> "Template":
        """The same template, which renders that release."""
        older = copy(self)
        older._version = version
        return older

    def choices(self, question: str) -> list[str]:
        """What a question may be answered with, in order; nothing where anything may be."""
        choices = self.questions[question].get("choices", {})
        # The driver's choices are templated from the table. One with a validator is a mapping.
        rows: Iterable[Any] = DRIVERS if isinstance(choices, str) else choices.values()
        return [row["value"] if isinstance(row, Mapping) else row for row in rows]

    def ask(self, into: Path | None = None, /, **answers: object) -> Answers:
        """Answer the questions, the rest by default, and render nothing."""
        self._check(answers)
        worker = run_copy(
            str(self._questions),
            into or self._new(),
            dict(answers),
            settings=Settings(),
            pretend=True,
            defaults=True,
            quiet=True,
        )
        return _answers(worker.answers.combined, worker.answers.hidden)

    def tell(self, into: Path, /, **answers: object) -> str:
        """What a copy with these answers prints."""
        self._check(answers)
        printed = StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            run_copy(
                str(self._questions),
                into,
                dict(answers),
                settings=Settings(),
                pretend=True,
                defaults=True,
            )
        return printed.getvalue()

    def render(self, into: Path | None = None, /, **answers: object) -> Project:
        """A project of its own, called Shop unless it is said otherwise."""
        if into is not None:
            return self._render(into, ANSWERS, answers)
        key = (self._version, repr(sorted(answers.items())))
        if key not in self._rendered:
            self._rendered[key] = self._render(self._new(), ANSWERS, answers)
        original = self._rendered[key]
        return Project(shutil.copytree(original.root, self._new()), original.answers)

    def render_beside(self, into: Path, /, **answers: object) -> Project:
        """A project that has another template's answers: ours lie in a file beside them."""
        return self._render(into, ANSWERS_BESIDE, answers)

    def _render(self, into: Path, answers_file: str, answers: Mapping[str, object]) -> Project:
        answers = {"project_name": "Shop", **answers}
        self._check(answers)
        worker = run_copy(
            str(self.repository),
            into,
            answers,
            answers_file=answers_file,
            vcs_ref=self._version,
            settings=Settings(),
            defaults=True,
            overwrite=True,
            quiet=True,
        )
        answered = _answers(worker.answers.combined, worker.answers.hidden)
        return Project(into, answered, answers_file)

    def _check(self, answers: Mapping[str, object]) -> None:
        # Copier ignores an answer to no question: the test would vary nothing, and pass.
        asked = {name for name, row in self.questions.items() if row.get("when") is not False}
        unknown = sorted(answers.keys() - asked)
        if unknown:
            raise ValueError(f"no such question: {', '.join(unknown)}; there are {sorted(asked)}")

    def _new(self) -> Path:
        return self._scratch / str(next(_numbers))


def _release(repository: Path, version: str) -> None:
    git(repository, "add", "--all")
    # Empty where nothing is uncommitted: a commit bears one tag, and it may be a release already.
    git(repository, "commit", "--quiet", "--allow-empty", "--message", version)
    git(repository, "tag", version)


def _answers(combined: Mapping[str, Any], hidden: set[str]) -> Answers:
    # Copier's own values begin with an underscore, but for two functions that it still carries.
    values = {
        name: value
        for name, value in combined.items()
        if not name.startswith("_") and not callable(value)
    }
    stored = {name: value for name, value in values.items() if name not in hidden}
    return Answers(stored=stored, values=values)
