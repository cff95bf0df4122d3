"""Somebody else's test suite with our plugin installed: the time beyond a run without it, and what it imports."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, children_s

TESTS, TIMES = 2000, 9
HEAVY = ("yaml", "pydantic", "docker", "chaos.agent", "chaos.scenario", "chaos.run", "chaos.live")
SUITE = "import pytest\n\n@pytest.mark.parametrize('number', range({tests}))\ndef test_it(number): assert number >= 0\n"
CONFTEST = """
import json, sys
def pytest_unconfigure():
    with open("modules.json", "w") as file:
        json.dump(sorted(sys.modules), file)
"""


def rows() -> Iterator[Row]:
    """Processor time: of pairs taken in turns, so that the machine's moods meet both alike, the median difference."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_foreign.py").write_text(SUITE.format(tests=TESTS))
        (folder / "conftest.py").write_text(CONFTEST)
        _suite(folder, "-p", "no:connect-chaos")  # the first one compiles
        pairs = [_pair(folder, ours_first=bool(number % 2)) for number in range(TIMES)]
        _suite(folder)
        modules = set(json.loads((folder / "modules.json").read_text()))
    without = statistics.median(plain for _, plain in pairs)
    more = statistics.median(ours - plain for ours, plain in pairs)
    note = f"{TESTS} tests, processor time {without:.2f} s without"
    yield Row("foreign suite: slower by", more / without * 100, "%", 1, note)
    yield Row("foreign suite: more", more * 1000, "ms")
    imported = [name for name in HEAVY if name in modules]
    yield Row("foreign suite: heavy modules imported", len(imported), "", 0, ", ".join(imported))


def _pair(folder: Path, *, ours_first: bool) -> tuple[float, float]:
    """With the plugin, and without it."""
    if ours_first:
        return _suite(folder), _suite(folder, "-p", "no:connect-chaos")
    plain = _suite(folder, "-p", "no:connect-chaos")
    return _suite(folder), plain


def _suite(folder: Path, *more: str) -> float:
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *more]
    before = children_s()
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert f"{TESTS} passed" in done.stdout, done.stdout[-2000:]
    return children_s() - before
