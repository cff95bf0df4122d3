"""How the `socket` client comes by its socket and dials: Python's calls, and libc's where Python would smooth over.

libc's connect, by ctypes, is called for a connect() that a signal may interrupt, which Python would wait on for
(PEP 475), and for an address of another family than the socket's, which Python would not let pass.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from chaos.agent import endpoint
from chaos.agent.descriptors import take_descriptors
from chaos.agent.kernel import connect as libc_connect
from chaos.agent.said import name_of

T = TypeVar("T")
UNSCOPED = "fe80::1"
"""A link-local address, which is an address only together with a link (RFC 4007)."""


class Dialling:
    """A socket on its way to being connected. `phase` says where it is, `calls` what each system call came to.

    exhausted: before what there is no descriptor left: `resolve` or `socket`.
    """

    def __init__(self, job: dict[str, Any], exhausted: str | None = None) -> None:
        self._job, self._exhausted = job, exhausted
        self._socket: socket.socket | None = None
        self._phase: str | None = "resolve"
        self._ends: dict[str, Any] = {"local": None, "peer": None}
        self._calls: list[str] = []
        self._as_c_does = False

    def _called(self, name: str, call: Callable[[], T]) -> T:
        """Make a system call, and note what it came to: its name, and behind it the error's."""
        try:
            result = call()
        except Exception as error:
            self._calls.append(f"{name} {name_of(error)}")
            raise
        self._calls.append(name)
        return result

    def _connect(self, where: str, *, once: bool) -> None:
        self._phase = "resolve"
        self._descriptors_before("resolve")
        address: Any = self._target() if where == "target" else None
        self._phase = "connect"
        self._descriptors_before("socket")
        sock = self._socket or self._open()
        try:
            if where == "itself":
                if self._job["bind"] is None:
                    self._called("bind", lambda: sock.bind((self._job["own"], 0)))
                self._connect_to(sock, sock.getsockname(), once)
            elif where in ("other-family", "unscoped"):
                there = self._job["stranger"] if where == "other-family" else UNSCOPED
                self._raw(sock, endpoint.sockaddr(there, self._job["port"]))
            elif self._as_c_does:
                self._raw(sock, endpoint.sockaddr(*address[:2]))
            else:
                self._connect_to(sock, address, once)
        finally:
            self._look(sock)

    def _descriptors_before(self, call: str) -> None:
        if self._exhausted == call:
            if call == "resolve":  # libc keeps nsswitch.conf and resolv.conf, and another lab's client had its own ones
                socket.getaddrinfo("localhost", None)
            take_descriptors()

    def _target(self) -> Any:
        if self._job["family"] == "local":
            return self._job["path"]
        port = 0 if self._job["type"] == "raw" else self._job["port"]
        # Which type it is asked for makes no difference to the address; without one it is told three times.
        found = socket.getaddrinfo(self._job["host"], port, endpoint.FAMILIES[self._job["family"]], socket.SOCK_DGRAM)
        return found[0][4]

    def _open(self) -> socket.socket:
        """A socket, with its options, bound if it is to be, in its mode."""
        family, kind = self._job["family"], self._job["type"]
        self._socket = sock = self._called("socket", lambda: endpoint.make(family, kind))
        if self._job["options"]:
            self._called("setsockopt", lambda: endpoint.set_options(sock, self._job["options"]))
        if self._job["bind"] is not None:
            self._called("bind", lambda: sock.bind(tuple(self._job["bind"])))
        elif family == "local" and kind != "stream":
            self._called("bind", lambda: sock.bind(""))  # an answer needs an address: the kernel's choice (unix(7))
        if self._job["mode"] == "timeout":
            sock.settimeout(self._job["timeout"])
        elif self._job["mode"] == "nonblocking":
            sock.setblocking(False)
        return sock

    def _connect_to(self, sock: socket.socket, address: Any, once: bool) -> None:
        if self._job["mode"] != "nonblocking":
            self._called("connect", lambda: sock.connect(address))
            return
        try:
            self._called("connect", lambda: sock.connect(address))
        except BlockingIOError as error:
            if error.errno != errno.EINPROGRESS:
                raise
            if not once:
                self._called("poll", lambda: self._poll(select.POLLOUT))
                self._called("getsockopt", lambda: _raise(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))

    def _raw(self, sock: socket.socket, address: bytes) -> None:
        """One call of libc's."""
        self._called("connect", lambda: libc_connect(sock.fileno(), address))

    def _look(self, sock: socket.socket) -> None:
        """Both ends as the kernel knows them now; a peer there is only of a connected socket."""
        self._ends["local"] = _ends(sock.getsockname())
        with contextlib.suppress(OSError):
            self._ends["peer"] = _ends(sock.getpeername())

    def _poll(self, events: int) -> None:
        poll = select.poll()
        assert self._socket is not None
        poll.register(self._socket, events)
        timeout = self._job["timeout"]
        if not poll.poll(None if timeout is None else timeout * 1000):
            raise TimeoutError("timed out")


def _raise(number: int) -> None:
    if number:
        raise OSError(number, os.strerror(number))


def _ends(address: Any) -> list[Any] | None:
    """[address, port] of an Internet socket; a local one's name is a path, or nothing."""
    return list(address[:2]) if isinstance(address, tuple) else None
