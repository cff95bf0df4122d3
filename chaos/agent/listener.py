"""Operation `listener`: the real listener of a lab, healthy or misbehaving in one exact way.

A child of its own per listener, blocking as an ordinary server is: a thread in accept(2), one for each connection, and
one for the agent's questions. What it does to a connection is recorded before it is done.

    do              the connection
    serve           accepted and answered (echo, or one HTTP response); what a healthy network needs
    never-accept    completes its handshake and waits in the accept queue
    silent          accepted, read and never answered
    close           closed (FIN)                                                    `after` accept, data or BYTES
    abort           closed with SO_LINGER 0 (RST): socket(7)                        `after` accept, data or BYTES
    forget          closed under TCP_REPAIR: the kernel forgets it, no FIN, no RST  `after` accept, data or BYTES
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Any

from chaos.agent import diag
from chaos.agent.serve import Agent, Pipe

RESPONSE = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n{path}"


def run(
    agent: Agent, *, do: str, address: str, port: int, backlog: int, speaks: str, after: str | int, fill: int
) -> int:
    """Start it; returns the child's number, whose first event is {"ready": true} once it listens.

    `fill` connections are made to it from inside the node (a full accept queue needs backlog + 1).
    Told {"report": true} it answers {"report": {"accepts": [...], "acted": n}};
    told {"forget": true} it forgets its connections silently and answers {"forgotten": n}.
    """
    return agent.thread(lambda pipe: Listener(do, speaks, after, pipe).listen(address, port, backlog, fill))


class Listener:
    """The listening socket and the connections that it has accepted."""

    def __init__(self, do: str, speaks: str, after: str | int, pipe: Pipe) -> None:
        self._do, self._speaks, self._after, self._pipe = do, speaks, after, pipe
        self._accepts: list[dict[str, Any]] = []
        self._acted = 0
        self._open: set[socket.socket] = set()
        self._fillers: list[socket.socket] = []
        self._ended = False
        self._lock = threading.Lock()

    def listen(self, address: str, port: int, backlog: int, fill: int) -> None:
        """Listen, and serve until the agent ends us."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, port))
        listener.listen(backlog)
        for _ in range(fill):
            self._fillers.append(socket.create_connection((address, port)))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        self._pipe.write({"ready": True})
        try:
            while True:
                self._answer(self._pipe.next())
        finally:
            self._end_all(listener)

    def _end_all(self, listener: socket.socket) -> None:
        """Leave nothing open: shutdown(2) wakes the thread that is in accept(2), and close(2) alone would not."""
        with self._lock:
            self._ended = True
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            for sock in (*self._open, *self._fillers):
                diag.forget(sock)

    def _answer(self, question: dict[str, Any]) -> None:
        with self._lock:
            if "report" in question:
                report = {"accepts": self._accepts, "acted": self._acted}
                self._pipe.write({"report": report})
            else:
                for connection in self._open:
                    diag.forget(connection)
                self._pipe.write({"forgotten": len(self._open)})
                self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        if self._do == "never-accept":
            return
        while True:
            entered_ns = time.time_ns()
            try:
                connection, peer = listener.accept()
            except OSError:
                if self._ended:
                    return
                raise
            returned_ns = time.time_ns()
            with self._lock:
                self._open.add(connection)
                self._accepts.append(
                    {
                        "entered_ns": entered_ns,
                        "returned_ns": returned_ns,
                        "fd": connection.fileno(),
                        "listener_fd": listener.fileno(),
                        "peer": list(peer[:2]),
                    }
                )
            threading.Thread(target=self._treat, args=(connection,), daemon=True).start()

    def _treat(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the peer may end it at any time; that is what we are here for
            if self._do == "serve":
                self._serve(connection)
            elif self._do == "silent":
                self._act(connection)
                while connection.recv(1 << 16):
                    pass
            else:
                self._read_until_due(connection)
                self._act(connection)

    def _serve(self, connection: socket.socket) -> None:
        if self._speaks == "http":
            self._serve_http(connection)
        else:
            while data := connection.recv(1 << 16):
                connection.sendall(data)
        self._end(connection)

    def _serve_http(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(1 << 16)
            if not data:
                return
            head += data
        path = head.split(b" ", 2)[1].decode("ascii", "replace")
        connection.sendall(RESPONSE.format(size=len(path), path=path).encode())

    def _read_until_due(self, connection: socket.socket) -> None:
        wanted = {"accept": 0, "data": 1}.get(str(self._after)) if isinstance(self._after, str) else self._after
        got = 0
        while got < (wanted or 0):
            data = connection.recv(1 << 16)
            if not data:
                return
            got += len(data)

    def _act(self, connection: socket.socket) -> None:
        with self._lock:
            self._acted += 1
            if self._do == "abort":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if self._do in ("abort", "close"):
                self._open.discard(connection)
                connection.close()
            elif self._do == "forget":
                self._open.discard(connection)
                diag.forget(connection)
        self._pipe.write({"acted": self._do})

    def _end(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)
            connection.close()
