"""Where children are forked that have libraries loaded: forkservers (forkserver.py), how they are started and asked."""

from __future__ import annotations

import json
import os
import select
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from chaos.agent import kernel
from chaos.agent.attempt import FOLDER, environment

BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from chaos.agent.forkserver import main; main()"

_own: dict[tuple[str, ...], socket.socket] = {}
"""Those of this process, by libraries."""


def command(python: str, fd: int, libraries: Sequence[str]) -> list[str]:
    """What starts one, with its end of a SOCK_SEQPACKET pair as this descriptor."""
    return [python, "-c", BOOT, FOLDER, str(fd), *libraries]


def own(libraries: Sequence[str]) -> socket.socket:
    """The socket of this process's own forkserver with these libraries, which is started when it is first wanted.

    Its children become this process's when they have been forked (PR_SET_CHILD_SUBREAPER).
    """
    key = tuple(libraries)
    if key not in _own or select.select([_own[key]], [], [], 0)[0]:  # it says nothing while it lives
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        if key in _own:
            _own[key].close()
        _own[key], theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            theirs.set_inheritable(True)
            argv = command(sys.executable, theirs.fileno(), libraries)
            os.posix_spawn(argv[0], argv, environment(os.environ))
    return _own[key]


def ask(server: socket.socket, request: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Have a child forked; `fds` are its socket and its namespaces. OSError when the forkserver has ended."""
    socket.send_fds(server, [json.dumps(request).encode()], fds)
