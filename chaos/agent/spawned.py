"""A short program that is run in the node, as a person would, at little cost: its input and output are files in memory.

One system call starts it and one waits for it; nobody has to stand between it and a pipe.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Sequence

from chaos.agent.serve import FAILED, MISSING, OperationFailed

TIMEOUT = 20.0
IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""What Python ignores, and nothing that it starts should."""


def output(argv: Sequence[str], stdin: str = "") -> str:
    """What it prints. Fails as {"kind": "missing", "tool"} or {"kind": "failed", "argv", "status", "stderr"}."""
    files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    try:
        os.pwrite(files[0], stdin.encode(), 0)
        status = _status(argv, files)
        said = [_text(fd) for fd in files[1:]]
    finally:
        for fd in files:
            os.close(fd)
    if status is None:
        text = f"still running after {TIMEOUT:g} s, killed"
        raise OperationFailed(kind=FAILED, argv=[*argv], status=-signal.SIGKILL, stderr=text)
    if status:
        raise OperationFailed(kind=FAILED, argv=[*argv], status=status, stderr=said[1])
    return said[0]


def _status(argv: Sequence[str], files: Sequence[int]) -> int | None:
    """Its exit status; None when it had to be killed."""
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(files)]
    try:
        pid = os.posix_spawnp(argv[0], [*argv], os.environ, file_actions=actions, setsigdef=IGNORED)
    except FileNotFoundError:
        raise OperationFailed(kind=MISSING, tool=argv[0]) from None
    ended = os.pidfd_open(pid)
    try:
        in_time = bool(select.select([ended], [], [], TIMEOUT)[0])
        if not in_time:
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(ended)
    return status if in_time else None


def _text(fd: int) -> str:
    return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace")
