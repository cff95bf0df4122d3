"""Lint, format and types are tests: what fails here fails everywhere, with the tool's own words."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.source import ROOT

# mypy must write its cache; a user to whom the checkout does not belong goes without one.
MYPY_CACHE = ROOT / ".mypy_cache"
MINE = os.access(MYPY_CACHE if MYPY_CACHE.exists() else ROOT, os.W_OK)

TOOLS = {
    "ruff check": ["ruff", "check", "--no-cache", "."],
    "ruff format": ["ruff", "format", "--check", "--diff", "--no-cache", "."],
    "mypy": ["mypy", "--strict", "--cache-dir", str(MYPY_CACHE) if MINE else os.devnull, "chaos", "tests"],
    "workflows": ["check_jsonschema", "--builtin-schema", "vendor.github-workflows", ".github/workflows/chaos.yml"],
}


@pytest.mark.slow("reads the whole project")
@pytest.mark.parametrize("tool", TOOLS)
def test_finds_nothing(tool: str) -> None:
    argv = [sys.executable, "-m", *TOOLS[tool]]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
