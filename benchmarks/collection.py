"""A thousand scenario files collected by pytest, against a thousand files whose one item means nothing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, children_s

FILES, TIMES = 1000, 5
SCENARIO = """# Number {number}.
faults: [{{drop: {{at: server, segment: syn}}}}]
expect: {{error: ETIMEDOUT, phase: connect, elapsed: kernel, wire: ["> syn x2"]}}
"""
NOTHING = """
import pytest

class Item(pytest.Item):
    def runtest(self): pass

class File(pytest.File):
    def collect(self):
        self.path.read_text()
        yield Item.from_parent(self, name="default")

def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".plain":
        return File.from_parent(parent, path=file_path)
"""


def rows() -> Iterator[Row]:
    """Processor time an item, the best of several; the interpreter's start and all imports are in it on both sides."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")
        for base, ending in ((ours, "chaos.yaml"), (theirs, "plain")):
            base.mkdir()
            (base / "pytest.ini").write_text("[pytest]\n")
            for number in range(FILES):
                (base / f"s{number:04}.{ending}").write_text(SCENARIO.format(number=number))
        (theirs / "conftest.py").write_text(NOTHING)
        times = [(_collect(ours), _collect(theirs)) for _ in range(TIMES)]
    own, plain = (min(each) for each in zip(*times, strict=True))
    yield Row(f"collection of {FILES}: ms an item", own / FILES * 1000, "ms")
    yield Row(
        f"collection of {FILES}: beyond pytest's own", (own - plain) / FILES * 1000, "ms", 0.7, f"pytest: {plain:.2f} s"
    )


def _collect(folder: Path) -> float:
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", str(folder)]
    before = children_s()
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert f"{FILES} tests collected" in done.stdout, done.stdout[-2000:] + done.stderr
    return children_s() - before
