"""The processes of a netns session that are labs, or rest between two (chaos/agent/lab.py), from the host.

Each is known by the socket on which it is asked for labs. A new process is dear, and a lab that waits for the kernel
needs none: so a process whose labs are all waiting is given one more. When the first of them has ended it gets no
other; with its last lab it comes to rest, and says so. One that does not come to rest ends, and the zygote forks
another one.
"""

from __future__ import annotations

import json
import math
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from chaos.backends.channel import readable
from chaos.errors import LabError

START = 10.0
"""Seconds within which a lab is built."""
TOGETHER, AWHILE = 8, 0.1
"""Labs of one process; and seconds for which all of them have waited when it gets one more, which keeps it busy for a
hundredth of a second: what waits for so long is in no hurry."""
SPARE, REST = 3, 0.05
"""Processes that may be ending labs while one more is forked; with more of them, seconds to wait for the first."""


class Process:
    """A process of the session's; `status` is the socket on which it is asked for labs."""

    def __init__(self, status: socket.socket) -> None:
        self.status = status
        self.tenants: list[Tenant] = []

    @property
    def speaks(self) -> bool:
        """Whether it has said something, or has died."""
        return readable([self.status.fileno()], 0.0)

    @property
    def has_room(self) -> bool:
        """Whether one more lab would be in nobody's way."""
        return len(self.tenants) < TOGETHER and all(tenant.waits for tenant in self.tenants) and not self.speaks


class Tenant:
    """A lab's place in a process."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._since = math.inf

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, this lab is asked for nothing: its client waits."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = math.inf

    @property
    def waits(self) -> bool:
        """Whether it has been waiting for a while."""
        return time.monotonic() - self._since > AWHILE


class Processes:
    """Thread-safe. `zygote` is the socket of the process that forks."""

    def __init__(self, zygote: socket.socket) -> None:
        self._zygote = zygote
        self._asking = threading.Lock()
        self._filling: list[Process] = []
        self._ending: list[Process] = []
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
            self._ending.pop().status.close()

    def take(self, *, shares: bool) -> Tenant:
        """A place for one more lab: beside others if it shares, in a process that is at rest, or in a new one."""
        with self._asking:
            process = next((process for process in self._filling if process.has_room), None) if shares else None
            if process is None:
                process = self._rested() or Process(self._started(b"lab"))
                self._filling.append(process)
            tenant = Tenant(process)
            process.tenants.append(tenant)
            return tenant

    def give_back(self, tenant: Tenant) -> None:
        """Its lab has ended: the host has hung up on the agents."""
        process = tenant.process
        with self._asking:
            process.tenants.remove(tenant)
            if process in self._filling:
                self._filling.remove(process)
            if not process.tenants:
                self._ending.append(process)
        if self._closed:
            self._hang_up()

    def _rested(self) -> Process | None:
        """One that says that it is at rest; who has died is forgotten.

        With many of them on their way it is better to wait for a moment than to fork one more.
        """
        while self._ending and self._one_speaks():
            process = next(process for process in self._ending if process.speaks)
            self._ending.remove(process)
            said = heard(process.status)
            if said is not None and "rest" in said:
                return process
            process.status.close()
        return None

    def _one_speaks(self) -> bool:
        patience = REST if len(self._ending) > SPARE else 0.0
        return readable([process.status.fileno() for process in self._ending], patience)

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
        while (said := heard(status)) is not None and "rest" in said:
            pass  # it was asked when its last lab had just ended
        return said
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
