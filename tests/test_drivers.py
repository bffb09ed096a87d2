"""A driver is a row of a table and a module, and nothing else: held here, with one made up."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from harness import DRIVERS, FIRST_DRIVERS, Project, Template, is_ours, tiered

Render = Callable[..., Project]

# The folder beside the layer that holds the modules of each kind, and the table of their rows.
KINDS = {"_drivers": "drivers", "_databases": "databases"}

ROW = """\
    made_up:
      database: sqlite
      choice: "SQLite by a driver that was made up: for this test"
      requirements: ["aiosqlite>=0.22"]
"""
# SQLAlchemy has to know it by this name: here it is another one's.
ALIAS = """
from sqlalchemy.dialects import registry

registry.register("sqlite.made_up", "sqlalchemy.dialects.sqlite.aiosqlite", "dialect")
"""


def gaps(repository: Path) -> list[str]:
    """What the tables or the modules lack, each in a sentence that says what to write."""
    found: list[str] = []
    tables = yaml.safe_load((repository / "copier.yml").read_text("utf-8"))
    for folder, table in KINDS.items():
        rows = set(tables[table]["default"])
        modules = sorted((repository / "template" / folder).iterdir())
        offers = {module.stem: _offers_of(module) for module in modules}
        ending = "" if folder == "_databases" else ".py"
        found += [
            f"write template/{folder}/{row}{ending}, for the row" for row in rows - offers.keys()
        ]
        found += [
            f"write a row {module} in the table `{table}` of copier.yml, for the module"
            for module in offers.keys() - rows
        ]
        # What only drivers of one database offer, as COPY, is asked of that database's alone.
        group = {x: tables[table]["default"].get(x, {}).get("database", folder) for x in offers}
        for module, offered in offers.items():
            found += [
                f"write {what or name} in template/{folder}/{module}{ending}, as its neighbours do"
                for name, what in _expected(offers, group, module).items()
                if offered.get(name) != what
            ]
    databases, tested = tables["databases"]["default"], tables["tested"]["default"]
    for name, row in tables["drivers"]["default"].items():
        lacking = {"database", "choice", "requirements"} - row.keys()
        found += [f"write `{field}` in the row {name} of copier.yml" for field in sorted(lacking)]
        packages = {re.split(r"[^a-z-]", x)[0] for x in row.get("requirements", [])}
        found += [
            f"write the version of {package} that was tested in the table `tested` of copier.yml"
            for package in sorted(packages - tested.keys())
        ]
        if row.get("database") not in databases:
            found.append(f"the row {name} names no database of the table: {row.get('database')}")
    return found


def test_every_row_has_its_module_and_every_module_all_that_its_neighbours_offer(
    template: Template,
) -> None:
    assert gaps(template.repository) == []


def test_few_modules_tell_the_drivers_apart(render: Render) -> None:
    layers = [
        {path: text for path, text in render(driver=driver).contents().items() if is_ours(path)}
        for driver in DRIVERS
    ]
    paths = {path for layer in layers for path in layer}
    different = {path for path in paths if len({layer.get(path) for layer in layers}) > 1}
    # squawk reads the SQL of PostgreSQL. The handbook is for one driver, and the manifest differs
    # with all of these.
    handbook = {f"src/shop/db/{name}.md" for name in ("README", "RECIPES", "MIGRATIONS")}
    assert different == handbook | {
        "src/shop/db/manifest.sha256",
        "tests/db/layer_tests/test_squawk.py",
    } | {
        f"src/shop/db/{name}.py"
        for name in (
            "engine/dialect",
            "engine/driver",
            # Several hosts in a URL, indexes that are built concurrently and COPY are PostgreSQL's.
            "engine/hosts",
            "concurrent_index",
            "repository/copy",
            "repository/repository",
            "settings",
            "testing/databases",
            "testing/servers",
            "versions",
        )
    }


def test_a_driver_that_is_made_up_takes_one_row_and_one_module(template: Template) -> None:
    def add(repository: Path) -> None:
        _write_row(repository)
        _write_module(repository, more=ALIAS)

    extended = template.release("v9999.1.0", add)
    assert gaps(extended.repository) == []
    project = extended.render(driver="made_up")
    assert project.answers["url"] == "sqlite+made_up:///shop.db"
    project.run("alembic", "upgrade", "head")
    project.run("python", "-m", "pytest", "-q", "-n0", "tests/test_models.py")


def test_a_row_whose_module_is_absent_is_named(template: Template) -> None:
    (gap,) = gaps(template.release("v9999.1.0", _write_row).repository)
    assert gap == "write template/_drivers/made_up.py, for the row"


def test_a_module_whose_row_is_absent_is_named(template: Template) -> None:
    (gap,) = gaps(template.release("v9999.1.0", _write_module).repository)
    assert gap == "write a row made_up in the table `drivers` of copier.yml, for the module"


def test_a_function_that_a_module_lacks_is_named_with_what_it_takes(template: Template) -> None:
    def forget(repository: Path) -> None:
        module = repository / "template" / "_drivers" / "asyncpg.py"
        module.write_text(module.read_text("utf-8").replace("def error_code(", "def code("))

    assert (
        "write def error_code(error: BaseException) -> str | None"
        " in template/_drivers/asyncpg.py, as its neighbours do"
    ) in gaps(template.release("v9999.1.0", forget).repository)


def _write_row(repository: Path) -> None:
    file = repository / "copier.yml"
    text = file.read_text("utf-8")
    before = "\n# A database is a row here"
    assert text.count(before) == 1
    file.write_text(text.replace(before, ROW + before), "utf-8")


def _write_module(repository: Path, more: str = "") -> None:
    folder = repository / "template" / "_drivers"
    source = (folder / "aiosqlite.py").read_text("utf-8")
    (folder / "made_up.py").write_text(source + more, "utf-8")


def _expected(
    offers: dict[str, dict[str, str]], group: dict[str, str], module: str
) -> dict[str, str]:
    """What modules of the same group offer, or modules of several groups."""
    groups: dict[str, set[str]] = {}
    for neighbour, offered in offers.items():
        for name in offered:
            groups.setdefault(name, set()).add(group[neighbour])
    return {
        name: what
        for neighbour, offered in offers.items()
        for name, what in offered.items()
        if len(groups[name]) > 1 or groups[name] == {group[module]}
        if group[neighbour] == group[module] or len(groups[name]) > 1
    }


def _offers_of(place: Path) -> dict[str, str]:
    """The public names of a driver's module, or of the modules in a database's folder."""
    files = sorted(place.glob("*.py")) if place.is_dir() else [place]
    return {name: what for file in files for name, what in _offers(file.read_text()).items()}


def _offers(source: str) -> dict[str, str]:
    """The public names of a module: functions with what they take, all else by name."""
    offered: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            returns = ast.unparse(node.returns) if node.returns else ""
            kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
            offered[node.name] = f"{kind} {node.name}({ast.unparse(node.args)}) -> {returns}"
        elif isinstance(node, ast.ClassDef):
            offered[node.name] = f"class {node.name}"
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            offered |= {target.id: "" for target in targets if isinstance(target, ast.Name)}
    return {name: what for name, what in offered.items() if not name.startswith("_")}


@pytest.mark.server
@pytest.mark.parametrize("driver", tiered(DRIVERS, *FIRST_DRIVERS))
def test_a_migration_that_is_written_for_a_new_column_needs_nothing_of_the_service(
    render: Render, driver: str
) -> None:
    project = render(driver=driver)
    models = project["src/shop/models.py"].replace(
        "from enum", "from datetime import datetime\nfrom enum"
    )
    tag = "    name: Mapped[str] = mapped_column(sa.String(50), unique=True)\n"
    assert tag in models
    project["src/shop/models.py"] = models.replace(
        tag, f"{tag}    seen_at: Mapped[datetime | None]\n"
    )
    revise = "alembic revision --autogenerate --rev-id 0002 -m seen"
    project.run_on_a_database(
        "alembic upgrade head", revise, "alembic upgrade head", "alembic check"
    )
    (path,) = [path for path in project.tree if path.endswith("_0002_seen.py")]
    assert "seen_at" in project[path]
    # It outlives the code that it was made from.
    assert "shop" not in project[path]
