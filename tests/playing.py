"""`connect-chaos up` and `shell` as a person has them: processes of their own, with a terminal or without one."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.source import ROOT

PATIENCE = 30.0
CHAOS = [sys.executable, "-B", "-m", "chaos"]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the control socket that is nobody else's; a socket's path may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="up-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        yield Path(folder)


class Up:
    """A running `connect-chaos up`, with what it said."""

    def __init__(self, *argv: str, env: Mapping[str, str] | None = None) -> None:
        argv = (*CHAOS, "up", "--json", *argv)
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        assert self.process.stdout is not None
        self.told = json.loads(self.process.stdout.readline() or "{}")


@contextlib.contextmanager
def up(*argv: str, env: Mapping[str, str] | None = None) -> Iterator[Up]:
    running = Up(*argv, env=env)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate(timeout=PATIENCE)


def shell(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    whole = [*CHAOS, "shell", *argv]
    return subprocess.run(whole, input=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE)


def on_a_terminal(*argv: str, typed: bytes) -> tuple[int, str]:
    """(exit status, what was seen) of a command on a terminal into which this is typed."""
    pid, master = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*CHAOS, *argv])
    seen, rest = b"", typed
    with contextlib.suppress(OSError):  # EIO: the end
        while data := os.read(master, 1 << 16):
            seen += data
            if rest and b"ready" in seen:
                rest = rest[os.write(master, rest) :]
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()
