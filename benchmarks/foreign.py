"""Somebody else's test suite with our plugin installed: the time beyond a run without it, and what it imports."""

from __future__ import annotations

import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, children_s

TESTS, TIMES = 2000, 9
WITHOUT = ("-p", "no:connect-chaos")
HEAVY = ("yaml", "pydantic", "docker", "chaos.agent", "chaos.scenario", "chaos.run", "chaos.live")
SUITE = "import pytest\n\n@pytest.mark.parametrize('number', range({tests}))\ndef test_it(number): assert number >= 0\n"
CONFTEST = """
import json, sys
def pytest_unconfigure():
    with open("modules.json", "w") as file:
        json.dump(sorted(sys.modules), file)
"""


def rows() -> Iterator[Row]:
    """Two measures of the same. Processor time is of pairs taken in turns, the median difference: within a few per
    cent, as the machine's moods are. The calls of functions that the interpreter makes are the same in every run.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_foreign.py").write_text(SUITE.format(tests=TESTS))
        (folder / "conftest.py").write_text(CONFTEST)
        _suite(folder, *WITHOUT)  # the first one compiles
        pairs = [_pair(folder, ours_first=bool(number % 2)) for number in range(TIMES)]
        plain, ours = _calls(folder, *WITHOUT), _calls(folder)
        modules = set(json.loads((folder / "modules.json").read_text()))
    without = statistics.median(plain for _, plain in pairs)
    more = statistics.median(ours - plain for ours, plain in pairs)
    note = f"{TESTS} tests, processor time {without:.2f} s without"
    yield Row("foreign suite: more function calls", (ours - plain) / plain * 100, "%", 1, f"{plain} without")
    yield Row("foreign suite: slower by", more / without * 100, "%", 1, note)
    imported = [name for name in HEAVY if name in modules]
    yield Row("foreign suite: heavy modules imported", len(imported), "", 0, ", ".join(imported))


def _pair(folder: Path, *, ours_first: bool) -> tuple[float, float]:
    """With the plugin, and without it."""
    if ours_first:
        return _suite(folder), _suite(folder, *WITHOUT)
    plain = _suite(folder, *WITHOUT)
    return _suite(folder), plain


def _suite(folder: Path, *more: str) -> float:
    """Processor seconds."""
    before = children_s()
    _run(folder, ["-m", "pytest", *more])
    return children_s() - before


def _calls(folder: Path, *more: str) -> int:
    """Calls of functions, Python's own and builtin."""
    profile = folder / "calls.profile"
    _run(folder, ["-m", "cProfile", "-o", str(profile), "-m", "pytest", *more])
    return int(pstats.Stats(str(profile)).total_calls)  # type: ignore[attr-defined]  # not in its stubs


def _run(folder: Path, arguments: list[str]) -> None:
    argv = [sys.executable, *arguments, "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert f"{TESTS} passed" in done.stdout, done.stdout[-2000:]
