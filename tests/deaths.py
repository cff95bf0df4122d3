"""Killing what a lab consists of, as tests of what is then said want it: by pid, and only what the lab has."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.model import Lab, Node


@dataclass(frozen=True)
class Doing:
    """A fault that does something to the lab when it is armed, and claims to have acted."""

    deed: Callable[[], object]

    def inject(self, lab: Lab) -> Any:
        return self._done()

    @contextmanager
    def _done(self) -> Iterator[Any]:
        self.deed()
        yield self

    def hits(self) -> int:
        return 1

    def unproven(self, evidence: object) -> None:
        return None


def kill_lab(lab: Lab, node: str, after: float = 0.0) -> None:
    """SIGKILL, now or later, to the process that is the agent of this node (and of all others) of a netns lab."""
    pid = lab_process(lab.nodes[node])
    if after:
        threading.Timer(after, os.kill, (pid, signal.SIGKILL)).start()
    else:
        os.kill(pid, signal.SIGKILL)


def lab_process(node: Node) -> int:
    """Our pid of the first process of the lab's pid namespace: it was in this node when it ran a command there."""
    network = node.call("command", argv=["readlink", "/proc/self/ns/net"]).strip()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and is_first_in(entry, network):
            return int(entry.name)
    raise AssertionError(f"no process 1 in {network}")


def is_first_in(process: Path, network: str) -> bool:
    try:
        pids = next(line for line in (process / "status").read_text().splitlines() if line.startswith("NSpid:"))
        return pids.split()[-1] == "1" and str((process / "ns/net").readlink()) == network
    except (OSError, StopIteration):
        return False  # it has ended, or it is not ours to look at
