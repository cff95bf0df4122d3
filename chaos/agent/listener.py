"""Operation `listener`: the real listener of a lab, healthy or misbehaving in one exact way.

A child of its own per listener, blocking as an ordinary server is: a thread in accept(2), one for each connection, and
one for the agent's questions. What it does to a connection is recorded before it is done.

    do              the connection
    serve           accepted and answered (echo, or one HTTP response); what a healthy network needs
    never-accept    completes its handshake and waits in the accept queue
    no-descriptors  likewise: accept(2) fails with EMFILE, as the process has used up its file descriptors
    silent          accepted, read and never answered
    close           closed (FIN)                                                    `after` accept, data or BYTES
    abort           closed with SO_LINGER 0 (RST): socket(7)                        `after` accept, data or BYTES
    forget          closed under TCP_REPAIR: the kernel forgets it, no FIN, no RST  `after` accept, data or BYTES
    vanish          hears and says nothing any more, as a host without power        `after` accept, data or BYTES
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import threading
import time
from functools import partial
from typing import Any, NoReturn

from chaos.agent import diag, endpoint
from chaos.agent.datagrams import Echo
from chaos.agent.descriptors import take_descriptors
from chaos.agent.serve import PATIENCE, Agent, Pipe
from chaos.agent.threads import Thread

BACK_OFF = 0.1
"""Seconds between two tries of a server whose accept(2) fails: a connection that waits makes it fail at once."""
RESPONSE = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n{path}"


def run(
    agent: Agent,
    *,
    do: str,
    address: str,
    port: int,
    backlog: int,
    speaks: str,
    after: str | int,
    fill: int,
    kind: str = "stream",
    process: bool = False,
) -> int:
    """Start it; returns the child's number, whose first event is {"ready": true} once it listens.

    `address` may be a path (unix(7)), and `kind` another type of socket: see endpoint.py and datagrams.py. `process`:
    in a process of its own, that can be stopped; a limit of descriptors is a process's, too.

    `fill` connections are made to it from inside the node (a full accept queue needs backlog + 1).
    Told {"report": true} it answers {"report": {"accepts": [...], "acted": n}};
    told {"forget": true} it forgets its connections silently and answers {"forgotten": n}.
    """
    if kind != "stream":
        return agent.fork(lambda pipe: Echo(do, pipe).serve(address, port, kind))
    start = agent.fork if process or do == "no-descriptors" else agent.thread
    return start(lambda pipe: Listener(do, speaks, after, pipe).listen(address, port, backlog, fill), "others")


class Listener:
    """The listening socket and the connections that it has accepted."""

    def __init__(self, do: str, speaks: str, after: str | int, pipe: Pipe) -> None:
        self._do, self._speaks, self._after, self._pipe = do, speaks, after, pipe
        self._accepts: list[dict[str, Any]] = []
        self._acted = 0
        self._open: dict[socket.socket, Thread] = {}
        self._fillers: list[socket.socket] = []
        self._ended = False
        self._lock = threading.Lock()

    def listen(self, address: str, port: int, backlog: int, fill: int) -> None:
        """Listen, and serve until the agent ends us."""
        listener = endpoint.bound(address, port, "stream")
        listener.listen(backlog)
        for _ in range(fill):
            self._fillers.append(endpoint.make(endpoint.family_of(address), "stream"))
            self._fillers[-1].connect(endpoint.name(address, port))
        accepting = Thread(lambda: self._accept(listener))
        self._pipe.write({"ready": True})
        try:
            while True:
                self._answer(self._pipe.next())
        finally:
            self._end_all(listener, accepting)

    def _end_all(self, listener: socket.socket, accepting: Thread) -> None:
        """Leave nothing open. The socket lives as long as a thread is in accept(2), which shutdown(2) wakes."""
        with self._lock:
            self._ended = True
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            for sock in (*self._open, *self._fillers):
                diag.forget(sock)
        accepting.ended()

    def _answer(self, question: dict[str, Any]) -> None:
        if "report" in question:
            with self._lock:
                self._pipe.write({"report": {"accepts": self._accepts, "acted": self._acted}})
        else:
            self._pipe.write({"forgotten": self._forget()})

    def _forget(self) -> int:
        """How many. A connection lives until the thread that is in recv(2) of it has come back, which is waited for."""
        with self._lock:
            gone, self._open = self._open, {}
            for connection in gone:
                diag.forget(connection)
        for thread in gone.values():
            thread.ended(PATIENCE)
        return len(gone)

    def _accept(self, listener: socket.socket) -> None:
        if self._do == "never-accept":
            return
        if self._do == "no-descriptors":
            self._fail_to_accept(listener)
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
                self._accepts.append(
                    {
                        "entered_ns": entered_ns,
                        "returned_ns": returned_ns,
                        "fd": connection.fileno(),
                        "listener_fd": listener.fileno(),
                        "peer": list(peer[:2]) if isinstance(peer, tuple) else [peer, 0],
                    }
                )
                self._open[connection] = Thread(partial(self._treat, connection))

    def _fail_to_accept(self, listener: socket.socket) -> NoReturn:
        """accept(2) with no descriptor left, again and again, as servers do.

        It wants one before it looks for a connection (net/socket.c, __sys_accept4()), so that is poll's to tell.
        """
        take_descriptors()
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while True:
            poll.poll()
            try:
                listener.accept()
            except OSError as error:
                if error.errno != errno.EMFILE:
                    raise
                with self._lock:
                    self._acted += 1
            time.sleep(BACK_OFF)

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
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):  # until the client has closed: whoever closes first may reset what it sends
            pass

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
                self._open.pop(connection, None)
                connection.close()
            elif self._do == "forget":
                self._open.pop(connection, None)
                diag.forget(connection)
            elif self._do == "vanish":
                diag.deafen(connection)
        self._pipe.write({"acted": self._do})

    def _end(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.pop(connection, None)
            connection.close()
