"""The emitted layer stays readable: its imports point one way, and its size only shrinks."""

import ast
import io
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import DRIVERS, SERVER_DRIVERS, Project

Render = Callable[..., Project]

LAYER = Path("src/shop/db")

# Each group imports from the groups above it, and within itself.
ORDER = (
    {"settings", "errors", "tls", "versions"},
    {"engine"},
    {"models"},
    {"session"},
    {"repository"},
    {"database"},
    {"migrate", "concurrent_index", "testing", "doctor", "analysis", "__main__"}
    | {"fastapi", "fastapi_lists", "replicas"},
)
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}

# Code lines by driver: neither blank, comment nor docstring. These are only ever lowered. To raise
# one takes a decision record in docs/decisions that says what the lines buy.
PRODUCTION = {
    "aiosqlite": 3818,
    "asyncpg": 4232,
    "psycopg": 4297,
    "asyncmy": 3853,
    "aiomysql": 3875,
}
TESTING = 585
FASTAPI = 267
REPLICAS = 80
# Lines of a module, comments and all. A module that outgrows this has two subjects.
LENGTH = {"repository/repository.py": 743, "engine/dialect.py": 460}
USUAL_LENGTH = 365


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_imports_point_one_way(render: Render, driver: str) -> None:
    root = _render_all(render, driver)
    upward = [
        f"{file.relative_to(root)} imports {target}"
        for file in root.rglob("*.py")
        for target in _imports(file, root)
        if file.parent != root or file.stem != "__init__"
        if RANK[target] > RANK[_group(file, root)]
    ]
    assert upward == []


def test_modules_of_the_layer_import_each_other_in_no_circle(render: Render, driver: str) -> None:
    root = _render_all(render, driver)
    arrows = {_name(file, root): _modules(file, root) for file in root.rglob("*.py")}
    seen: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in seen:
            for target in sorted(arrows.get(module, ())):
                visit(target, (*path, module))
            seen.add(module)

    for module in sorted(arrows):
        visit(module, ())


def test_no_import_is_hidden_in_a_function(render: Render, driver: str) -> None:
    root = _render_all(render, driver)
    hidden = [
        f"{file.relative_to(root)}:{statement.lineno}"
        for file in root.rglob("*.py")
        for function in ast.walk(ast.parse(file.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in ast.walk(function)
        if isinstance(statement, ast.ImportFrom) and statement.level
    ]
    assert hidden == []


def test_the_layer_is_no_larger_than_it_was(render: Render, driver: str) -> None:
    root = _render_all(render, driver)
    lines = {file.relative_to(root): code_lines(file) for file in root.rglob("*.py")}
    testing = sum(x for path, x in lines.items() if path.parts[0] == "testing")
    fastapi = sum(lines.pop(Path(f"{name}.py")) for name in ("fastapi", "fastapi_lists"))
    replicas = lines.pop(Path("replicas.py"), 0)
    production = sum(lines.values()) - testing
    assert production <= PRODUCTION[driver]
    assert testing <= TESTING
    assert fastapi <= FASTAPI
    assert replicas <= REPLICAS


@pytest.mark.parametrize("extra", ["fastapi", "replicas"])
def test_no_module_of_the_core_imports_an_extra(render: Render, extra: str) -> None:
    root = _render_all(render, "asyncpg")
    assert [
        str(file.relative_to(root))
        for file in root.rglob("*.py")
        if not file.stem.startswith(extra) and extra in _imports(file, root)
    ] == []


def test_every_module_has_the_length_of_one_subject(render: Render, driver: str) -> None:
    root = _render_all(render, driver)
    lengths = {
        str(file.relative_to(root)): len(file.read_text().splitlines())
        for file in root.rglob("*.py")
    }
    assert {x: n for x, n in lengths.items() if n > LENGTH.get(x, USUAL_LENGTH)} == {}
    folders = [root, *(folder for folder in root.iterdir() if folder.is_dir())]
    assert [x.name for x in folders if x != root and len(list(x.glob("*.py"))) > 9] == []


def _render_all(render: Render, driver: str) -> Path:
    """Render the layer with everything that it can have."""
    extras = ["replicas"] if driver in SERVER_DRIVERS else []
    return render(driver=driver, web="fastapi", extras=extras).root / LAYER


def code_lines(file: Path) -> int:
    """Count the lines of a module that are neither blank, comment nor docstring."""
    text = file.read_text("utf-8")
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(ast.Constant(str())) as first, *_]:
                    docstrings.update(range(first.lineno, (first.end_lineno or 0) + 1))
                case _:
                    pass
    layout = {
        *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
        *(tokenize.ENDMARKER, tokenize.ENCODING),
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in layout:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def _group(file: Path, root: Path) -> str:
    return file.relative_to(root).parts[0].removesuffix(".py")


def _name(file: Path, root: Path) -> str:
    return ".".join(file.relative_to(root).with_suffix("").parts)


def _targets(file: Path, root: Path) -> Iterator[Path]:
    """The modules and packages that a module imports, as paths without suffix."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for alias in node.names:
                inner = base / alias.name
                is_module = inner.with_suffix(".py").exists() or inner.is_dir()
                yield inner if is_module else base


def _imports(file: Path, root: Path) -> set[str]:
    return {x.relative_to(root).parts[0] for x in _targets(file, root) if x != root}


def _modules(file: Path, root: Path) -> set[str]:
    """The modules that one imports; a package stands for its `__init__`."""
    targets = (x / "__init__" if x.is_dir() else x for x in _targets(file, root))
    return {".".join(x.relative_to(root).parts) for x in targets}
