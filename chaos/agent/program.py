"""Operation `program`: a program that belongs to its node and goes on until the lab ends, such as Toxiproxy.

A child watches it: it says when the program serves, and when it has ended, how, and what it said last.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import subprocess
import time
from typing import IO, Any

from chaos.agent import kernel
from chaos.agent.attempt import environment
from chaos.agent.serve import MISSING, Agent, OperationFailed, Pipe

LOOPBACK = "127.0.0.1"
START = 5.0
"""Seconds within which it must serve."""
POLL = 0.002
LAST = 400
"""Characters of its output that a message quotes."""


def run(agent: Agent, *, argv: list[str], port: int | None) -> int:
    """Start it; returns the child's number, whose first event is {"ready": true} once the port on loopback accepts.

    Of a program that listens nowhere, `port` is null, and it is ready when it has been started.

    The next event is an error: the program has ended. One also comes when the port is taken: a server that cannot
    have it may go on without it and say so only in its log, as Toxiproxy does.
    """
    return agent.fork(lambda pipe: Program(agent.node, argv, port).watch(pipe))


class Program:
    """The process, and the end of what it has printed."""

    def __init__(self, node: str, argv: list[str], port: int | None) -> None:
        self._node, self._argv, self._port = node, argv, port
        self._name = os.path.basename(argv[0])
        self._said = b""

    def watch(self, pipe: Pipe) -> None:
        """Start it, tell when it serves, and fail when it has ended."""
        if self._port is not None:
            self._port_is_free(self._port)
        try:
            process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(os.environ),
                preexec_fn=kernel.die_with_parent,  # noqa: PLW1509 (a forked child of one thread)
            )
        except FileNotFoundError:
            raise OperationFailed(kind=MISSING, tool=self._name) from None
        assert process.stdout is not None
        if self._port is None or self._await_port(process.stdout, self._port):
            pipe.write({"ready": True})
            while self._listen(process.stdout, None):
                pass
        raise self._ended(process.wait())

    def _port_is_free(self, port: int) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
                probe.listen()
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise self._failure(f"cannot serve: port {port} on {LOOPBACK} is taken") from None
                raise

    def _await_port(self, output: IO[bytes], port: int) -> bool:
        """Whether it serves; False when it has ended instead."""
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection((LOOPBACK, port), START):
                return True
            if not self._listen(output, POLL):
                return False
        raise self._failure(f"does not serve on port {port} within {START:g} s")

    def _listen(self, output: IO[bytes], timeout: float | None) -> bool:
        """Take in what it prints; False at the end of its output, which is its own."""
        if not select.select([output], [], [], timeout)[0]:
            return True
        data = os.read(output.fileno(), 1 << 16)
        self._said = (self._said + data)[-LAST:]
        return bool(data)

    def _ended(self, status: int) -> OperationFailed:
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return self._failure(how)

    def _failure(self, what: str) -> OperationFailed:
        said: Any = self._said.decode("utf-8", "replace").strip().rpartition("\n")[2]
        text = f"{self._name} {what}" + (f"; it said last: {said}" if said else "")
        return OperationFailed(kind="error", message=text)
