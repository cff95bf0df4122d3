"""Whose a container or a network is: labels that say which process made it, and whether that process still lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

RUN: Final = "connect-chaos.run"
LAB: Final = "connect-chaos.lab"
BOOT_ID: Final = "kernel/random/boot_id"
OWNER: Final = "connect-chaos.owner"
_STARTED: Final = "connect-chaos.started"
_BOOT: Final = "connect-chaos.boot"
_MACHINE: Final = "connect-chaos.machine"
_PROC: Final = Path("/proc")


def labels(run: str) -> dict[str, str]:
    """What everything of this process's run is labelled with."""
    pid = os.getpid()
    return {RUN: run, OWNER: str(pid), _STARTED: str(_started(pid)), _BOOT: _boot(), _MACHINE: _machine()}


def dead(found: Mapping[str, str]) -> bool:
    """Whether the owner is known to be dead. An owner on another machine, or in another pid namespace, is not."""
    if found.get(_MACHINE) != _machine():
        return False
    if found.get(_BOOT) != _boot():
        return True
    started = _started(int(found[OWNER]))
    return started is None or str(started) != found[_STARTED]


def _boot() -> str:
    with suppress(OSError):
        return (_PROC / "sys" / BOOT_ID).read_text().strip()
    return "unknown"


def is_ours(sysctls: Mapping[str, str]) -> bool:
    """Whether what an agent has read (BOOT_ID) says that its kernel is ours."""
    return sysctls.get(BOOT_ID) == _boot()


def _machine() -> str:
    """The machine and our pid namespace on it: pids mean nothing outside."""
    with suppress(OSError):
        return f"{socket.gethostname()}/{(_PROC / 'self/ns/pid').readlink()}"
    return socket.gethostname()


def _started(pid: int) -> int | None:
    """When a process began, in clock ticks since boot (proc(5)); None when it has ended."""
    with suppress(OSError, IndexError):
        words = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return None if words[0] in "ZX" else int(words[19])
    return None
