"""The processes of a netns session that are labs, or rest between two (chaos/agent/lab.py), from the host.

Each is known by the socket on which it is asked for labs. A process that has ended a lab says when it is at rest; one
that does not come to rest ends, and a new one is forked by the zygote.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from chaos.backends.channel import readable
from chaos.errors import LabError

START = 10.0
"""Seconds within which a lab is built."""
SPARE, REST = 3, 0.05
"""Processes that may be ending labs while one more is forked; with more of them, seconds to wait for the first."""


class Processes:
    """Thread-safe. `zygote` is the socket of the process that forks."""

    def __init__(self, zygote: socket.socket) -> None:
        self._zygote = zygote
        self._asking = threading.Lock()
        self._ending: list[socket.socket] = []
        self._forkservers: dict[tuple[str, ...], list[socket.socket]] = {}
        self._closed = False

    def close(self) -> None:
        """Hang up on all that are in no lab, and on the zygote; of a lab that ends later on its process, too."""
        self._closed = True
        for sock in (self._zygote, *(sock for each in self._forkservers.values() for sock in each)):
            sock.close()
        self._hang_up()

    def _hang_up(self) -> None:
        while self._ending:
            self._ending.pop().close()

    def take(self) -> socket.socket:
        """One that is at rest, or a new one."""
        with self._asking:
            return self._rested() or self._forked()

    def give_back(self, status: socket.socket) -> None:
        """Its lab has ended: the host has hung up on the agents."""
        self._ending.append(status)
        if self._closed:
            self._hang_up()

    def _rested(self) -> socket.socket | None:
        """One that says that it is at rest; who has died is forgotten.

        With many of them on their way it is better to wait for a moment than to fork one more.
        """
        while self._ending and self._one_speaks():
            for status in [status for status in self._ending if readable([status.fileno()], 0.0)][:1]:
                self._ending.remove(status)
                said = heard(status)
                if said is not None and "rest" in said:
                    return status
                status.close()
        return None

    def _one_speaks(self) -> bool:
        patience = REST if len(self._ending) > SPARE else 0.0
        return readable([status.fileno() for status in self._ending], patience)

    def forkserver(self, libraries: Sequence[str]) -> int:
        """The descriptor of the session's forkserver with these libraries (chaos/agent/forkserver.py), a new one if the
        last has died; whoever was told of that one may still be about to use it.
        """
        with self._asking:
            all_of_them = self._forkservers.setdefault(tuple(libraries), [])
            if not all_of_them or readable([all_of_them[-1].fileno()], 0.0):  # it says nothing while it lives
                asked = {"python": sys.executable, "libraries": libraries}
                all_of_them.append(self._started(json.dumps(asked).encode()))
            return all_of_them[-1].fileno()

    def _forked(self) -> socket.socket:
        return self._started(b"lab")

    def _started(self, request: bytes) -> socket.socket:
        """Our end of a new process's socket."""
        status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                socket.send_fds(self._zygote, [request], [theirs.fileno()])
            except OSError as error:
                status.close()
                raise LabError(f"the netns session is gone: {error}") from error
        return status


def build(status: socket.socket, spec: Mapping[str, Any], line: int) -> Mapping[str, Any] | None:
    """Have a process build a lab, with its end of a line to us; what it says then, or None when it has died."""
    try:
        socket.send_fds(status, [json.dumps(spec).encode()], [line])
        return heard(status)
    except OSError:
        return None


def heard(status: socket.socket) -> Mapping[str, Any] | None:
    """What a process says next; None when it has died. LabError when it takes too long."""
    if not readable([status.fileno()], START):
        raise LabError(f"a lab was not ready within {START:g} s")
    try:
        answer = status.recv(4096)
    except ConnectionResetError:
        answer = b""
    found: Mapping[str, Any] | None = json.loads(answer) if answer else None
    return found
