"""Operation `marked`: end the processes that carry a mark in their environment.

A client that runs by exec in its own container is not our child. The sidecar shares that container's pid namespace,
and the client and what it started have inherited a variable with a value that nobody else has.
"""

from __future__ import annotations

import contextlib
import os
import signal

from chaos.agent.serve import Agent


def run(agent: Agent, *, mark: str) -> int:
    """Kill every process whose environment holds `mark` (NAME=value); how many there were."""
    ended, entry = 0, mark.encode()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/environ", "rb") as file:
                carries = entry in file.read().split(b"\0")
            if carries and int(name) != os.getpid():
                os.kill(int(name), signal.SIGKILL)
                ended += 1
    return ended
