"""The processes that descend from a client, found and ended: also those that called setsid(2) or forked twice.

PR_SET_CHILD_SUBREAPER makes orphans our children, and /proc/PID/stat tells whose child is whose; everything is ended by
pid, never by a pattern. All functions are about the calling process, which is to have one thread.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator

from chaos.agent import kernel

GRACE = 2.0
"""Seconds for killed processes to disappear."""


def adopt() -> frozenset[int]:
    """Become the parent of orphans to come; returns the pids of the children there are, which `end` leaves alone."""
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    return frozenset(_children_of().get(os.getpid(), ()))


def end(bystanders: frozenset[int] = frozenset()) -> list[int]:
    """Kill and reap all that descends from this process, until nothing is left; returns what would not go in time.

    Bystanders and what descends from them stay.
    """
    deadline = time.monotonic() + GRACE
    left = _left(bystanders)
    while left and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            _reap(pid, deadline)
        left = _left(bystanders)  # a killed parent leaves its children to us
    return left


def any_child() -> bool:
    """Whether this process has a child, living or not yet waited for; without one it has no descendants."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _left(bystanders: frozenset[int]) -> list[int]:
    if not any_child():
        return []
    # One whose parent ends while /proc is read can be missing from the first look; then it is ours in the second.
    return list(_descendants(bystanders)) or list(_descendants(bystanders))


def _reap(pid: int, deadline: float) -> None:
    """Wait for a killed process to end; one that is not (or not yet) our child is somebody else's to wait for."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
    finally:
        os.close(fd)


def _descendants(bystanders: frozenset[int]) -> Iterator[int]:
    children = _children_of()
    level = [pid for pid in children.get(os.getpid(), ()) if pid not in bystanders]
    while level:
        yield from level
        level = [child for pid in level for child in children.get(pid, ())]


def _children_of() -> dict[int, list[int]]:
    """Every process of this pid namespace under its parent, from /proc/PID/stat (proc(5)): pid (comm) state ppid."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(name))
    return children
