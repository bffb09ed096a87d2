"""Generate a service with the default answers, migrate it, and show its data layer at work.

Run by `make demo`. The service stays in build/demo, to look at and to play with.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from copier import run_copy

ROOT = Path(__file__).parents[1]
SERVICE = ROOT / "build" / "demo"
BOLD, DIM, GREEN, PLAIN = (
    ("\033[1m", "\033[2m", "\033[32m", "\033[0m") if sys.stdout.isatty() else ("",) * 4
)


def main() -> None:
    step(1, "generate a service, every answer the default")
    show("copier copy --defaults <this template> build/demo")
    shutil.rmtree(SERVICE, ignore_errors=True)
    run_copy(str(ROOT), SERVICE, defaults=True, quiet=True, vcs_ref="HEAD", unsafe=False)
    files = [file for file in SERVICE.rglob("*") if file.is_file()]
    layer = SERVICE / "src" / "my_service" / "db"
    print(f"   {len(files)} files. The data layer is in src/my_service/db:")
    print("   " + ", ".join(sorted(x.stem for x in layer.iterdir() if x.suffix != ".toml")))

    step(2, "migrate its database, a SQLite file")
    show("alembic upgrade head")
    run("alembic", "upgrade", "head")

    step(3, "use it")
    run("python", str(ROOT / "docs" / "demo_service.py"))

    step(4, "run its tests, on a database of their own")
    show("pytest")
    run("pytest", "-q")

    print(f"\n{GREEN}The service is in build/demo.{PLAIN} Where to look next:")
    print("   src/my_service/models.py          the tables, to change and to replace")
    print("   src/my_service/db/database.py     sessions and transactions; a page to read")
    print("   src/my_service/db/repository/     find, page, create, update, delete")
    print("   README.md                         what to do with it; whose file is whose")
    print("\nA service of your own:  copier copy <this template> my-service")


def step(number: int, title: str) -> None:
    print(f"\n{BOLD}{number}. {title}{PLAIN}", flush=True)


def show(command: str) -> None:
    print(f"   {DIM}$ {command}{PLAIN}", flush=True)


def run(program: str, *arguments: str) -> None:
    """Run a program of this environment in the service, which is not installed for that."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DATABASE_")}
    environment |= {"PYTHONPATH": "src", "DEMO_COLOUR": "1" if sys.stdout.isatty() else ""}
    command = [str(Path(sys.executable).parent / program), *arguments]
    done = subprocess.run(
        command,
        cwd=SERVICE,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    print("".join(f"   {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
    if done.returncode:
        sys.exit(f"`{program}` failed; the service is as it was then, in build/demo")


if __name__ == "__main__":
    main()
