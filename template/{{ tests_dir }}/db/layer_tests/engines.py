"""Find engines that a project makes when it is imported, by itself or through its own functions."""

import ast
from collections.abc import Iterable, Iterator, Mapping

ENGINES = {"create_engine", "create_async_engine", "engine_from_config", "async_engine_from_config"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def engines_at_import(sources: Mapping[str, ast.Module]) -> Iterator[tuple[str, int]]:
    """Return the module and the line of each call that makes an engine at import.

    Args:
        sources: The modules, by their paths from the folder that they are imported from.
    """
    names = _Names(sources)
    for path, tree in sources.items():
        for call in calls(_run_at_import(tree)):
            if names.makes_an_engine(names.resolve(_dotted(path), call.func)):
                yield path, call.lineno


def calls(nodes: Iterable[ast.AST]) -> Iterator[ast.Call]:
    """Return the calls among these nodes."""
    return (node for node in nodes if isinstance(node, ast.Call))


def last_word(node: ast.expr) -> str:
    """Return the last word of `a.b.name` or `name[Something]`."""
    return ast.unparse(node).partition("[")[0].rpartition(".")[2]


class _Names:
    """Names and their meaning: `make()` in shop.app may call `shop.helpers.make_engine`."""

    def __init__(self, sources: Mapping[str, ast.Module]) -> None:
        self._meanings: dict[str, str] = {}
        # Each with the scope that its own names belong to: its module or its class.
        self._functions: dict[str, tuple[str, ast.FunctionDef]] = {}
        for path, tree in sources.items():
            module = _dotted(path)
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom | ast.Import):
                    self._note_import(module, node, is_package=path.endswith("/__init__.py"))
            for node in tree.body:
                if isinstance(node, ast.FunctionDef):
                    self._functions[f"{module}.{node.name}"] = (module, node)
                elif isinstance(node, ast.ClassDef):
                    self._note_methods(f"{module}.{node.name}", node)
                elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    self._note_assignment(f"{module}.", node.targets[0].id, node.value)

    def _note_import(
        self, module: str, node: ast.ImportFrom | ast.Import, *, is_package: bool
    ) -> None:
        source = ""
        if isinstance(node, ast.ImportFrom):
            parents = module.split(".")
            parents = parents[: len(parents) - node.level + is_package] if node.level else []
            source = "".join(f"{x}." for x in [*parents, node.module] if x)
        for alias in node.names:
            # `import a.b` binds `a`.
            bound = alias.name if source or alias.asname else alias.name.partition(".")[0]
            self._meanings[f"{module}.{alias.asname or bound}"] = f"{source}{bound}"

    def _note_methods(self, owner: str, node: ast.ClassDef) -> None:
        for method in node.body:
            if isinstance(method, ast.FunctionDef):
                name = f"{owner}.{method.name}".removesuffix(".__init__")
                self._functions[name] = (owner, method)
        for own in ("self", "cls"):
            self._meanings[f"{owner}.{own}"] = owner

    def _note_assignment(self, scope: str, name: str, value: ast.expr) -> None:
        if isinstance(value, ast.Call):
            # `make = partial(create_engine, ...)`, or an object of a class.
            value = value.args[0] if last_word(value.func) == "partial" else value.func
        if isinstance(value, ast.Name | ast.Attribute):
            self._meanings[scope + name] = scope + ast.unparse(value)

    def resolve(self, scope: str, name: ast.expr) -> str:
        """Return what a name in a module or a class means, as far as the sources tell."""
        word = ast.unparse(name).partition("[")[0]
        if scope + ".self" in self._meanings and word.partition(".")[0] not in ("self", "cls"):
            scope = scope.rpartition(".")[0]
        full = f"{scope}.{word}"
        for _ in range(20):  # An import may lead to another one.
            parts = full.split(".")
            starts = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
            start = next((start for start in starts if start in self._meanings), None)
            if start is None or full in self._functions:
                break
            full = self._meanings[start] + full[len(start) :]
        return full

    def makes_an_engine(self, name: str, seen: frozenset[str] = frozenset()) -> bool:
        """Return whether a call of this name makes an engine, by itself or by other functions."""
        if name.rpartition(".")[2] in ENGINES:
            return True
        if name in seen or name not in self._functions:
            return False
        scope, function = self._functions[name]
        return any(
            self.makes_an_engine(self.resolve(scope, call.func), seen | {name})
            for call in calls(_run_at_import(function))
        )


def _dotted(path: str) -> str:
    """Return the name of a module by its path: shop.models of shop/models.py."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Return the parts that run with a module or a function: no function in it, and no script."""
    for child in ast.iter_child_nodes(node):
        script = isinstance(child, ast.If) and "__main__" in ast.unparse(child.test)
        if not script and not isinstance(child, FUNCTIONS):
            yield child
            yield from _run_at_import(child)
