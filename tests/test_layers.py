"""The layers of ARCHITECTURE.md, and the few things that no file may do, read from the syntax trees.

    plugin, cli -> {pool, items, ...} -> run -> {the middle} -> {command, model} -> errors

A module that is not named here is in the middle, which is where a fault, a client, a backend and most else belong.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.source import ROOT, Import, everything, imports, modules, tree

LAYERS = {
    "errors": 0,
    "command": 1,
    "model": 1,
    "run": 3,
    "spread": 5,
    "plugin": 5,
    "cli": 5,
    "commands": 5,
    "__main__": 5,
}
LAYERS |= dict.fromkeys(("artifacts", "cliff", "fixture", "items", "live", "play", "pool", "shared", "summary"), 4)
MIDDLE = 2
NAMES = ["errors", "command and model", "the middle", "run", "what the faces share", "plugin and cli"]

SIBLINGS = {"faults", "clients", "backends"}
PROTOCOLS_ONLY = {"faults", "clients"}
BEYOND_PROTOCOLS = {"agent", "check", "command", "kinds", "scenario", "topology"}

LIBRARIES = {"chaos.agent.toxiproxy": "toxiproxy", "chaos.agent.resolver": "dnslib"}
"""What an operation imports when it is asked for."""

HEAVY = ["yaml", "pydantic", "docker", "dnslib", "toxiproxy", "requests", "httpx", "chaos.agent", "chaos.scenario"]

STARTS_PROCESSES = {"subprocess", "multiprocessing", "concurrent.futures.process", "pty"}
STARTING_CALL = re.compile(r"(os\.(fork|exec|spawn|posix_spawn|system|popen)\w*|\w+\.create_subprocess_\w+)$")
FORBIDDEN_CLASS = re.compile(r"(Manager|Handler|Registry|Context|Engine)$")


def part(module: str) -> str:
    """`faults` of `chaos.faults.drop`; empty for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def ours(module: str) -> list[Import]:
    """What a module imports of this package, itself and its own sub-package left out."""
    found = [one for one in imports(module) if one.module.split(".")[0] == "chaos"]
    return [one for one in found if part(one.module)]


def upwards(module: str) -> Iterator[str]:
    """Imports that climb. Imports for types alone never run, and a contract may name what it is about."""
    mine = LAYERS.get(part(module), MIDDLE)
    for one in ours(module):
        theirs = LAYERS.get(part(one.module), MIDDLE)
        if theirs > mine and not one.typing:
            yield f"{module}:{one.line} imports {one.module}: {NAMES[mine]} may not know {NAMES[theirs]}"


def across(module: str) -> Iterator[str]:
    """Faults, clients and backends that know one another, or more of a lab than the protocols of model.py."""
    mine = part(module)
    if mine not in SIBLINGS:
        return
    barred = (SIBLINGS - {mine}) | (BEYOND_PROTOCOLS if mine in PROTOCOLS_ONLY else set())
    for one in ours(module):
        if part(one.module) in barred:
            yield f"{module}:{one.line} imports {one.module}: {mine} know the protocols of chaos.model only"


def agent_strangers(module: str) -> Iterator[str]:
    """What runs inside a node finds the standard library and itself; two operations, when asked, a library each."""
    if part(module) != "agent":
        return
    for one in imports(module):
        at_home = one.module == "chaos.agent" or one.module.startswith("chaos.agent.")
        at_home = at_home or (one.lazy and LIBRARIES.get(module) == one.module.split(".")[0])
        if not at_home and one.module.split(".")[0] not in sys.stdlib_module_names:
            yield f"{module}:{one.line} imports {one.module}: the agent has the standard library only"


def process_starts(module: str) -> Iterator[str]:
    """Processes started elsewhere than in chaos/command.py and inside nodes."""
    if module == "chaos.command" or part(module) == "agent":
        return
    for one in imports(module):
        if one.module in STARTS_PROCESSES and not one.typing:
            yield f"{module}:{one.line} imports {one.module}: chaos/command.py starts processes"
    for node in ast.walk(tree(modules()[module])):
        if isinstance(node, ast.Call) and STARTING_CALL.match(ast.unparse(node.func)):
            yield f"{module}:{node.lineno} calls {ast.unparse(node.func)}: chaos/command.py starts processes"


@pytest.mark.slow("parses the whole package")
@pytest.mark.parametrize("rule", [upwards, across, agent_strangers, process_starts])
def test_every_module_keeps(rule: Callable[[str], Iterator[str]]) -> None:
    assert [broken for module in modules() for broken in rule(module)] == []


def shells(path: Path) -> Iterator[int]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.keyword) and node.arg == "shell" and ast.unparse(node.value) != "False":
            yield node.value.lineno


def misnamed(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef) and FORBIDDEN_CLASS.search(node.name):
            yield node.name


@pytest.mark.slow("parses every file of the project")
def test_no_command_goes_through_a_shell() -> None:
    assert [f"{path.relative_to(ROOT)}:{line}" for path in everything() for line in shells(path)] == []


def test_classes_are_named_for_what_they_are() -> None:
    assert [f"{path.relative_to(ROOT)}: {name}" for path in everything() for name in misnamed(path)] == []


def test_no_import_cycles() -> None:
    graph = {module: {one.module for one in ours(module) if not one.typing} & modules().keys() for module in modules()}
    assert cycle(graph) is None


def cycle(graph: dict[str, set[str]]) -> list[str] | None:
    """One cycle of an import graph, as the modules on it, or None: leaves are taken away until none is left."""
    graph = {module: needs - {module} for module, needs in graph.items()}
    while leaves := {module for module, needs in graph.items() if not needs}:
        graph = {module: needs - leaves for module, needs in graph.items() if module not in leaves}
    if not graph:
        return None
    path = [min(graph)]
    while path[-1] not in path[:-1]:
        path.append(min(graph[path[-1]]))
    return path[path.index(path[-1]) :]


def test_the_cycle_finder_finds_one() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == ["b", "c", "b"]


HEAVY_AFTER = f"import sys; sys.exit(' '.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, *arguments]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow("starts an interpreter")
@pytest.mark.parametrize("module", ["chaos", "chaos.plugin", "chaos.cli", "chaos.model"])
def test_importing_brings_nothing_heavy(module: str, tmp_path: Path) -> None:
    done = python("-c", f"import {module}; {HEAVY_AFTER}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow("runs pytest in a project of its own")
def test_a_project_without_scenarios_pays_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text("def test_theirs(): pass\n")
    loaded = "import sys; assert 'chaos.plugin' in sys.modules"
    (tmp_path / "conftest.py").write_text(f"def pytest_unconfigure(): {loaded}; {HEAVY_AFTER}\n")
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_the_reader_of_imports_sees_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules are only as good as what reads the imports: one of each kind, with what it must be read as."""
    (tmp_path / "probe.py").write_text(
        "import os.path\n"
        "from chaos import model\n"
        "if TYPE_CHECKING:\n    from chaos.errors import ChaosError\n"
        "def late():\n    from . import errors\n"
    )
    known = {**modules(), "chaos.probe": tmp_path / "probe.py"}
    monkeypatch.setattr("tests.source.modules", lambda: known)
    assert imports("chaos.probe") == [
        Import("os.path", 1),
        Import("chaos.model", 2),
        Import("chaos.errors", 4, typing=True),
        Import("chaos.errors", 6, lazy=True),
    ]
