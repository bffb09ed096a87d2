"""The template as it lies here, rendered: a service for each driver."""

import os
import shutil
import subprocess
from pathlib import Path

from copier import run_copy

REPOSITORY = Path(__file__).parents[1]
BUILD = Path(os.environ.get("BENCHMARK_BUILD", REPOSITORY / "build" / "benchmarks"))
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Benchmarks",
    "GIT_AUTHOR_EMAIL": "benchmarks@example.org",
    "GIT_COMMITTER_NAME": "Benchmarks",
    "GIT_COMMITTER_EMAIL": "benchmarks@example.org",
}


def snapshot() -> Path:
    """The working tree, as a release in a repository of its own."""
    shutil.rmtree(BUILD, ignore_errors=True)
    template = BUILD / "template"
    listed = git(REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for path in filter(None, listed.split("\0")):
        if (REPOSITORY / path).is_file():
            (template / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / path, template / path)
    release(template)
    return template


def release(repository: Path) -> None:
    """Make a directory a repository with one release."""
    git(repository, "init", "--quiet")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "Release")
    git(repository, "tag", "v9999.0.0")


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env=os.environ | GIT,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    return done.stdout


def service(template: Path, driver: str) -> Path:
    """A service for a driver: its directory."""
    name = f"bench_{driver}"
    directory = BUILD / name
    answers = {"project_name": name, "package": name, "driver": driver}
    run_copy(str(template), directory, answers, defaults=True, quiet=True)
    return directory
