"""Every use of a dependency's private API is marked at its line, and listed with its reason."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import DRIVERS, REPOSITORY, Project

Render = Callable[..., Project]
# The package, the name, and the module that uses it.
Use = tuple[str, str, str]

LAYER = Path("src/shop/db")

# This is only ever lowered, or raised by a decision record: the last are 0010 and 0011.
MOST = 43

MARK = re.compile(r"# PRIVATE: (\S+) (\S+): \S")
ROW = re.compile(r"\| (\S+) \| `(\S+)` \| `(\S+)` \| (\S.*) \| (\S.*) \|")


def marked() -> Iterator[Use]:
    """Return the uses that comments in the template name."""
    root = REPOSITORY / "template"
    for file in sorted(root.rglob("*.*")):
        if file.is_file() and ".py" in file.suffixes:
            module = file.relative_to(root).as_posix().removeprefix("{{ package_dir }}/")
            for package, name in MARK.findall(file.read_text("utf-8")):
                yield package, name, module.removesuffix(".jinja")


def listed() -> Iterator[Use]:
    """Return the uses that the table names."""
    text = (REPOSITORY / "docs" / "private-api.md").read_text("utf-8")
    for package, name, module, _, _ in ROW.findall(text):
        yield package, name, module


def test_every_private_use_in_the_template_stands_in_the_table_and_no_other() -> None:
    assert sorted(marked()) == sorted(listed())


def test_every_row_of_the_table_is_complete() -> None:
    text = (REPOSITORY / "docs" / "private-api.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row for row in rows[1:] if not ROW.fullmatch(row)] == []


def test_every_mark_has_the_form_that_is_counted() -> None:
    files = [x for x in (REPOSITORY / "template").rglob("*.*") if x.suffix in (".py", ".jinja")]
    lines = [line for x in files for line in x.read_text("utf-8").splitlines() if "PRIVATE" in line]
    assert [line for line in lines if not MARK.search(line)] == []


def test_there_are_no_more_private_uses_than_before() -> None:
    assert len([*listed()]) <= MOST


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_name_with_an_underscore_is_the_layers_own_or_marked(
    render: Render, driver: str
) -> None:
    files = [*(render(driver=driver, web="fastapi").root / LAYER).rglob("*.py")]
    trees = {file: ast.parse(file.read_text("utf-8")) for file in files}
    own = {name for tree in trees.values() for name in _defined(tree)}
    # Documented, in spite of its underscore: https://docs.python.org/3/library/collections.html
    own.add("_asdict")
    unmarked = [
        f"{file.name}: {name}"
        for file, tree in trees.items()
        for name in _read(tree) - own
        if not re.search(rf"# PRIVATE: \S+ \S*\b{name}:", file.read_text("utf-8"))
    ]
    assert unmarked == []


def _read(tree: ast.Module) -> set[str]:
    """Return the names with an underscore that a module reads of objects, or imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name):
                names.add(name)
            # As in getattr(result, "_result", None).
            case ast.Call(args=[_, ast.Constant(value=str(name)), *_]):
                names.add(name)
            case ast.ImportFrom(names=imported):
                names.update(alias.name for alias in imported)
            case _:
                pass
    return {name for name in names if re.fullmatch(r"_[a-z]\w*", name)}


def _defined(tree: ast.Module) -> Iterator[str]:
    """Return the names that a module defines, and the attributes that it sets on `self`."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name
            case _:
                pass
