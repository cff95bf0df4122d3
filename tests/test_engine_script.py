"""`scripts/engine`: an engine of our own that is nowhere on the host's network, and ends with its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import leftovers
from tests.source import ROOT
from tests.throwaway import NONE, throwaway

NOBODY = 65534
ENDS = 20.0
"""Seconds in which dockerd has ended and its folder is gone; it has 15 to do so by itself."""


def gone(pid: int, state: Path) -> bool:
    """Whether the process has ended and the folder is removed, in time."""
    end = time.monotonic() + ENDS
    while time.monotonic() < end:
        if not (Path("/proc") / str(pid)).exists() and not state.exists():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.slow("starts engines")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_owner_and_the_host_is_as_before(number: signal.Signals) -> None:
    before = leftovers.host()
    with throwaway() as other:
        assert leftovers.differences(before, leftovers.host()) == []
        assert (Path("/proc") / str(other.pid)).exists()
        os.kill(other.script, number)
        assert gone(other.pid, other.state)
    assert leftovers.differences(before, leftovers.host()) == []


@pytest.mark.slow("starts engines")
def test_what_a_watcher_that_was_killed_has_left_is_removed_by_the_next() -> None:
    with throwaway() as dead:
        os.kill(dead.watcher, signal.SIGKILL)
        end = time.monotonic() + ENDS
        while (Path("/proc") / str(dead.pid)).exists():
            assert time.monotonic() < end, "the kernel ends its pid namespace"
            time.sleep(0.01)
        assert dead.state.exists()
    with throwaway() as alive:
        assert not dead.state.exists()
        with throwaway():
            assert alive.state.exists(), "its lock is held"


def test_where_there_can_be_none_nothing_is_installed_and_the_command_runs_without() -> None:
    argv = [sys.executable, str(ROOT / "scripts" / "engine"), "sh", "-c", "echo ran; exit 3"]
    env = {**os.environ, "DOCKER_HOST": NONE}
    user = NOBODY if os.geteuid() == 0 else None
    done = subprocess.run(argv, capture_output=True, text=True, env=env, user=user, check=False)
    assert (done.returncode, done.stdout) == (3, "ran\n"), done.stderr
    assert done.stderr == "engine: none answers, and none is started: that takes root on Linux\n"
