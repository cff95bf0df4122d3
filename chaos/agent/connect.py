"""Operation `connect`: the `socket` client, Python's own sockets, step by step.

Three ways of waiting, as programs have them: `blocking` (the kernel's timers alone), `timeout` (settimeout), and
`nonblocking` (connect_ex, poll, SO_ERROR). When the steps are done the sockets stay open, so that closing them adds
nothing to the conversation; told {"release": true} the child forgets them silently.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from typing import Any

from chaos.agent import diag
from chaos.agent.descriptors import take_descriptors
from chaos.agent.serve import Agent, Pipe


def run(agent: Agent, **job: Any) -> int:
    """Start an attempt; returns the child's number.

    job: host, port, family, mode, timeout (None: none), bind (port or None), steps, request, expects (base64 is not
    needed: text). Events: {"waiting": text, "step": n} (told {"go": true} it goes on), {"holding": n} likewise, and
    at the end {"outcome": {"error", "phase", "step", "chain", "started_ns", "returned_ns", "waited_ns", "local"}}.
    """
    agent.state["attempts"] = agent.state.get("attempts", 0) + 1
    return agent.fork(lambda pipe: Attempt(job, pipe, agent.state.get("descriptors")).play())


class Failed(Exception):
    """An error that is no exception of Python's: `error` is its name."""

    def __init__(self, error: str, message: str) -> None:
        self.error = error
        super().__init__(message)


class Attempt:
    """One run of the steps. `phase` and `step` say where it is; `exhausted`, before what it has no descriptor left."""

    def __init__(self, job: dict[str, Any], pipe: Pipe, exhausted: str | None = None) -> None:
        self._job, self._pipe, self._exhausted = job, pipe, exhausted
        self._socket: socket.socket | None = None
        self._phase: str | None = "resolve"
        self._step = 0
        self._waited_ns = 0
        self._local: list[Any] | None = None

    def play(self) -> None:
        """Run all steps, report, and wait to be released."""
        started_ns = time.time_ns()
        outcome: dict[str, Any] = {"error": "ok", "phase": None, "step": None, "chain": []}
        try:
            for number, step in enumerate(self._job["steps"], 1):
                self._step = number
                self._perform(step)
        except Exception as error:
            outcome = {"error": name_of(error), "phase": self._phase, "step": self._step, "chain": [surfaced(error)]}
        times = {"started_ns": started_ns, "returned_ns": time.time_ns(), "waited_ns": self._waited_ns}
        outcome |= {**times, "local": self._local}
        self._pipe.write({"outcome": outcome})
        while "release" not in self._pipe.next():
            pass
        if self._socket is not None:
            diag.forget(self._socket)
        self._pipe.write({"released": True})

    def _perform(self, step: str | dict[str, str]) -> None:
        if isinstance(step, dict):
            self._wait({"waiting": step["wait"], "step": self._step})
        elif step == "hold":
            self._wait({"holding": self._step})
        else:
            {"connect": self._connect, "send": self._send, "recv": self._receive}[step]()

    def _wait(self, event: dict[str, Any]) -> None:
        began_ns = time.time_ns()
        self._pipe.write(event)
        self._pipe.next()
        self._waited_ns += time.time_ns() - began_ns

    def _connect(self) -> None:
        self._phase = "resolve"
        self._descriptors_before("resolve")
        family = socket.AF_INET6 if self._job["family"] == "ipv6" else socket.AF_INET
        found = socket.getaddrinfo(self._job["host"], self._job["port"], family, socket.SOCK_STREAM)
        self._phase = "connect"
        self._descriptors_before("socket")
        self._socket = sock = socket.socket(family, socket.SOCK_STREAM)
        if self._job["bind"] is not None:
            sock.bind(("", self._job["bind"]))
        if self._job["mode"] == "timeout":
            sock.settimeout(self._job["timeout"])
        elif self._job["mode"] == "nonblocking":
            sock.setblocking(False)
        try:
            self._connect_to(sock, found[0][4])
        finally:
            self._local = list(sock.getsockname()[:2])

    def _descriptors_before(self, call: str) -> None:
        if self._exhausted == call:
            take_descriptors()

    def _connect_to(self, sock: socket.socket, address: Any) -> None:
        if self._job["mode"] != "nonblocking":
            sock.connect(address)
            return
        number = sock.connect_ex(address)
        if number == errno.EINPROGRESS:
            self._poll(select.POLLOUT)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))

    def _poll(self, events: int) -> None:
        poll = select.poll()
        assert self._socket is not None
        poll.register(self._socket, events)
        timeout = self._job["timeout"]
        if not poll.poll(None if timeout is None else timeout * 1000):
            raise TimeoutError("timed out")

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise Failed("ENOTCONN", "a step sends or receives before `connect`")
        return self._socket

    def _send(self) -> None:
        self._phase = "send"
        sock = self._connected()
        if self._job["mode"] == "nonblocking":
            self._poll(select.POLLOUT)
        sock.sendall(self._job["request"].encode())

    def _receive(self) -> None:
        self._phase = "receive"
        sock, wanted, got = self._connected(), self._job["expects"].encode(), b""
        while wanted not in got:
            if self._job["mode"] == "nonblocking":
                self._poll(select.POLLIN)
            data = sock.recv(1 << 16)
            if not data:
                raise Failed("eof", f"end of stream after {len(got)} bytes")
            got += data


def name_of(error: Exception) -> str:
    """The name of an error: an errno's, an EAI_ name, `timeout`, `eof`."""
    if isinstance(error, Failed):
        return error.error
    if isinstance(error, socket.gaierror):
        names = [name for name in dir(socket) if name.startswith("EAI_") and getattr(socket, name) == error.errno]
        return names[0] if names else "EAI_FAIL"
    if isinstance(error, OSError) and (name := errno.errorcode.get(error.errno or 0)):
        return name
    if isinstance(error, TimeoutError):
        return "timeout"
    raise error


def surfaced(error: Exception) -> dict[str, str | None]:
    """What a program that catches it sees."""
    name = None
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror):
        name = errno.errorcode.get(error.errno or 0)
    return {"type": type(error).__qualname__, "message": str(error), "errno": name}
