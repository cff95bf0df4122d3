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


class Spawned:
    """A program that runs. `ended` is a descriptor that can be read when it has ended (pidfd_open(2))."""

    def __init__(self, argv: Sequence[str], stdin: str = "") -> None:
        """Fails as {"kind": "missing", "tool"}."""
        self._argv, self._late = [*argv], False
        self._files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        os.pwrite(self._files[0], stdin.encode(), 0)
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(self._files)]
        try:
            self._pid = os.posix_spawnp(argv[0], self._argv, os.environ, file_actions=actions, setsigdef=IGNORED)
        except FileNotFoundError:
            self._close()
            raise OperationFailed(kind=MISSING, tool=argv[0]) from None
        self.ended = os.pidfd_open(self._pid)

    def kill(self) -> None:
        """It has had its time."""
        self._late = True
        os.kill(self._pid, signal.SIGKILL)

    def output(self) -> str:
        """What it has printed, once it has ended. Fails as {"kind": "failed", "argv", "status", "stderr"}."""
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        os.close(self.ended)
        said, complaint = (_text(fd) for fd in self._files[1:])
        self._close()
        if self._late:
            complaint = f"still running after {TIMEOUT:g} s, killed"
        if status:
            raise OperationFailed(kind=FAILED, argv=self._argv, status=status, stderr=complaint)
        return said

    def _close(self) -> None:
        for fd in self._files:
            os.close(fd)


def output(argv: Sequence[str], stdin: str = "") -> str:
    """What a program prints, and wait for it: nothing else happens meanwhile. Fails as `Spawned` does."""
    program = Spawned(argv, stdin)
    if not select.select([program.ended], [], [], TIMEOUT)[0]:
        program.kill()
    return program.output()


def _text(fd: int) -> str:
    return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace")
