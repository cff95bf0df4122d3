"""The netns sessions of this machine, and which of them outlived the process that started them.

By design none does: the kernel ends them (chaos/agent/zygote.py). A session is known by the line that started it, which
ends in its owner's pid; all of its processes have that line. Its keeper lives in our pid namespace. An owner is dead
when no process has its pid, or only one that began after the session did. A zygote whose keeper has gone is a leftover
too. What belongs to another pid namespace (a container) is nobody's business here.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
MARK: Final = b"from chaos.agent.zygote import main; main()"
GRACE: Final = 5.0
"""Seconds within which a killed process disappears."""


@dataclass(frozen=True)
class Process:
    """One process of a session.

    began: clock ticks since boot. pids: its pids, from our pid namespace inwards.
    """

    pid: int
    parent: int
    began: int
    owner: int
    pids: tuple[int, ...]


def found() -> dict[int, Process]:
    """Every process of every session that /proc shows."""
    processes = (_process(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit())
    return {process.pid: process for process in processes if process is not None}


def orphans(processes: Mapping[int, Process]) -> list[Process]:
    """The keepers whose owner is dead, and the zygotes whose keeper is."""
    return [one for one in processes.values() if _abandoned(one, processes)]


def end(process: Process) -> str | None:
    """Kill it, if it still is what it was; why that was not possible, or None when it is gone."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    try:
        now = _process(process.pid)
        if now is None or now.began != process.began:
            return None
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        ended = select.select([fd], [], [], GRACE)[0]
    except ProcessLookupError:
        return None
    except PermissionError:
        return "it belongs to another user"
    finally:
        os.close(fd)
    return None if ended else f"still there {GRACE:g} s after SIGKILL"


def _abandoned(process: Process, processes: Mapping[int, Process]) -> bool:
    if len(process.pids) == 1:
        owner = _began(process.owner)
        return process.parent not in processes and (owner is None or owner > process.began)
    return len(process.pids) == 2 and process.pids[1] == 1 and process.parent not in processes


def _process(pid: int) -> Process | None:
    """The process if it is one of a session's, else None."""
    with suppress(OSError, ValueError, IndexError):
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        if len(words) < 8 or words[3] != b"-c" or not words[4].endswith(MARK):
            return None
        stat = _stat(pid)
        pids = next(line for line in (PROC / str(pid) / "status").read_text().splitlines() if line.startswith("NSpid:"))
        return Process(pid, int(stat[1]), int(stat[19]), int(words[7]), tuple(map(int, pids.split()[1:])))
    return None


def _began(pid: int) -> int | None:
    with suppress(OSError, IndexError):
        stat = _stat(pid)
        return None if stat[0] in "ZX" else int(stat[19])
    return None


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat behind the command's name: state, parent, ..., and at 19 the start time (proc(5))."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
