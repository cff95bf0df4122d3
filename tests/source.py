"""This checkout's own source, as the tests about its shape read it: files, modules, syntax trees, imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Import:
    """One imported module of one import statement.

    `typing`: under `if TYPE_CHECKING`, so that it never runs; `lazy`: inside a function, when that is called.
    """

    module: str
    line: int
    typing: bool = False
    lazy: bool = False


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, by dotted name; a package by its own name, not `__init__`."""
    return {module_name(path): path for path in sorted((ROOT / "chaos").rglob("*.py"))}


def module_name(path: Path) -> str:
    """`chaos.agent.wire` for .../chaos/agent/wire.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def everything() -> list[Path]:
    """Every Python file that the project holds, tests and benchmarks too."""
    folders = ("chaos", "tests", "scenarios", "benchmarks", "scripts", "docs")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@cache
def imports(module: str) -> list[Import]:
    """What a module of the package imports; `from chaos import model` counts as chaos.model."""
    path = modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return [found for node in tree(path).body for found in _imports(node, package, typing=False, lazy=False)]


def _imports(node: ast.AST, package: str, *, typing: bool, lazy: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, typing, lazy) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (Import(name, node.lineno, typing, lazy) for name in _from(node, package))
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        yield from (found for child in node.body for found in _imports(child, package, typing=True, lazy=lazy))
        yield from (found for child in node.orelse for found in _imports(child, package, typing=typing, lazy=lazy))
    else:
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from _imports(child, package, typing=typing, lazy=inside)


def _from(node: ast.ImportFrom, package: str) -> Iterator[str]:
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
    origin = ".".join(filter(None, (base, node.module)))
    for alias in node.names:
        inner = f"{origin}.{alias.name}"
        yield inner if inner in modules() else origin
