"""An engine beside the one that answers, for tests that end it: `scripts/engine`, with our image copied into it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from chaos.backends import engine, image
from tests import engines
from tests.source import ROOT

SAYS = 'echo "$DOCKER_HOST"; exec cat'
NONE = f"unix://{os.devnull}"


@dataclass(frozen=True)
class Throwaway:
    """`host` is its DOCKER_HOST; pids, as we see them: the script, the watcher and the dockerd that descend from it."""

    host: str
    script: int
    watcher: int
    pid: int

    @property
    def state(self) -> Path:
        """Its folder, which is removed when it ends."""
        return Path(self.host.removeprefix("unix://")).parent


@contextmanager
def throwaway() -> Iterator[Throwaway]:
    """One that has started. Where there can be none the test is skipped; in continuous integration that fails it."""
    if os.geteuid() or not shutil.which("dockerd"):
        engines.lacks("a second engine takes root, and dockerd (scripts/engine installs it)")
    argv = [str(ROOT / "scripts" / "engine"), "sh", "-c", SAYS]
    environment = {**os.environ, "DOCKER_HOST": NONE}
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as script:
        assert script.stdin is not None
        assert script.stdout is not None
        try:
            host = script.stdout.readline().strip()
            assert host != NONE, "dockerd did not start"
            watcher, *_, dockerd = _line(script.pid)
            yield Throwaway(host, script.pid, watcher, dockerd)
        finally:
            script.stdin.close()


def with_our_image(host: str, *more: str) -> None:
    """Copy the image of our nodes into the engine at this address; it has these other names there as well."""
    here, there = engine.api(), docker.APIClient(host, version=engine.OLDEST, timeout=120)
    try:
        for _ in there.load_image(here.get_image(image.tag())):  # type: ignore[no-untyped-call]
            pass
        for name in more:
            repository, _, tag = name.partition(":")
            there.tag(image.tag(), repository, tag)
    finally:
        there.close()
        here.close()


def _line(ancestor: int) -> list[int]:
    """The processes from a child of this one to the dockerd that descends from it: only these are ours to end."""
    for child in _children(ancestor):
        if (Path("/proc") / str(child) / "comm").read_text() == "dockerd\n":
            return [child]
        if found := _line(child):
            return [child, *found]
    return []


def _children(pid: int) -> list[int]:
    """proc_pid_task_children(5) of a process whose threads start none."""
    return [int(word) for word in (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()]
