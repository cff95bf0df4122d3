"""Operation `connect`: the `socket` client, Python's own sockets, step by step.

Three ways of waiting, as programs have them: `blocking` (the kernel's timers alone), `timeout` (settimeout), and
`nonblocking` (connect_ex, poll, SO_ERROR). When the steps are done the sockets stay open, so that closing them adds
nothing to the conversation; hung up on, the child forgets them silently and ends.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any

from chaos.agent import diag, privileges
from chaos.agent.dialling import Dialling
from chaos.agent.said import Failed, name_of, surfaced
from chaos.agent.serve import Agent, Pipe


def run(agent: Agent, **job: Any) -> int:
    """Start an attempt; returns the child's number.

    job: host, port, path (of a `local` target), family, type, mode, timeout (None: none), options, privileged,
    bind (None, or [address or "", port]), own (this node's address), stranger (an address of the other family), steps,
    request, expects (text). A step is {name: argument or None}.
    Events: {"waiting": text, "step": n} (told {"go": true} it goes on), {"holding": n} likewise, and at the end
    {"outcome": {"error", "phase", "step", "chain", "calls", "started_ns", "returned_ns", "waited_ns", "local",
    "peer"}}.
    """
    agent.state["attempts"] = agent.state.get("attempts", 0) + 1
    exhausted = agent.state.get("descriptors")
    start = agent.fork if exhausted or of_its_own(job) else agent.thread
    return start(lambda pipe: Attempt(job, pipe, exhausted).play(), "its-own")


def of_its_own(job: Mapping[str, Any]) -> bool:
    """Whether it needs a process: privileges are to be dropped, or a signal must arrive in the middle of a call."""
    return not job["privileged"] or any("interrupt" in step for step in job["steps"])


class Attempt(Dialling):
    """One run of the steps; `step` says at which of them it is, from 1."""

    def __init__(self, job: dict[str, Any], pipe: Pipe, exhausted: str | None = None) -> None:
        super().__init__(job, exhausted)
        self._pipe = pipe
        self._step = 0
        self._waited_ns = 0

    def play(self) -> None:
        """Run all steps, report, and hold the connection until the agent hangs up."""
        started_ns = time.time_ns()
        outcome: dict[str, Any] = {"error": "ok", "phase": None, "step": None, "chain": []}
        try:
            with contextlib.nullcontext() if self._job["privileged"] else privileges.dropped():
                for number, step in enumerate(self._job["steps"], 1):
                    self._step = number
                    self._perform(*step.popitem())
        except Exception as error:
            outcome = {"error": name_of(error), "phase": self._phase, "step": self._step, "chain": [surfaced(error)]}
        times = {"started_ns": started_ns, "returned_ns": time.time_ns(), "waited_ns": self._waited_ns}
        outcome |= {**times, **self._ends, "calls": self._calls}
        try:
            self._pipe.write({"outcome": outcome})
            self._pipe.next()
        finally:
            if self._socket is not None:
                diag.forget(self._socket)

    def _perform(self, step: str, argument: Any) -> None:
        if step == "wait":
            self._wait({"waiting": argument, "step": self._step})
        elif step == "hold":
            self._wait({"holding": self._step})
        elif step == "interrupt":
            self._as_c_does = True
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.setitimer(signal.ITIMER_REAL, argument)
        elif step in ("connect", "start"):
            self._connect(argument or "target", once=step == "start")
        else:
            {"send": self._send, "recv": self._receive, "shutdown": self._shut_down, "eof": self._drain}[step]()

    def _wait(self, event: dict[str, Any]) -> None:
        began_ns = time.time_ns()
        self._pipe.write(event)
        self._pipe.next()
        self._waited_ns += time.time_ns() - began_ns

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise Failed("ENOTCONN", "a step sends or receives before `connect`")
        return self._socket

    def _send(self) -> None:
        self._phase = "send"
        sock = self._connected()
        if self._job["mode"] == "nonblocking":
            self._poll(select.POLLOUT)
        self._called("send", lambda: sock.sendall(self._job["request"].encode()))

    def _shut_down(self) -> None:
        self._phase = "send"
        self._called("shutdown", lambda: self._connected().shutdown(socket.SHUT_WR))

    def _receive(self) -> None:
        self._called("recv", lambda: self._read(self._job["expects"].encode()))

    def _drain(self) -> None:
        """Read to the end of the stream, which is no failure here."""
        with contextlib.suppress(Failed):
            self._called("recv", lambda: self._read(None))

    def _read(self, wanted: bytes | None) -> None:
        """Read until these bytes have come; None: for ever. Raises Failed at the end of the stream."""
        self._phase = "receive"
        sock, got = self._connected(), b""
        while wanted is None or wanted not in got:
            if self._job["mode"] == "nonblocking":
                self._poll(select.POLLIN)
            data = sock.recv(1 << 16)
            if not data:
                raise Failed("eof", f"end of stream after {len(got)} bytes")
            got += data
