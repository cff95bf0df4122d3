"""Operation `crossing`: dial a client that is about to dial us, so that two SYNs cross (RFC 9293, section 3.5)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence

from chaos.agent import diag, endpoint
from chaos.agent.serve import Agent, Pipe


def run(agent: Agent, *, here: Sequence[object], there: Sequence[object]) -> int:
    """Dial from [address, port] to [address, port] until somebody there dials too; echo what comes then.

    A client that is not there yet refuses, one round trip later, and is dialled again. In between there is nobody here,
    so the wire holds its SYN until ours comes by (chaos/agent/actions.py, Meet). First event: {"ready": true}. Told
    {"opened": true} the child answers {"opened": connections}; told {"forget": true} it forgets them without a word to
    the peer and answers {"forgotten": n}.
    """
    return agent.fork(lambda pipe: Crossing(pipe).dial(tuple(here), tuple(there)))


class Crossing:
    """One end of a simultaneous open."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._open: list[socket.socket] = []

    def dial(self, here: tuple[object, ...], there: tuple[object, ...]) -> None:
        """Dial in a thread of its own; answer questions until the agent ends us."""
        threading.Thread(target=self._dial, args=(here, there), daemon=True).start()
        self._pipe.write({"ready": True})
        while True:
            question = self._pipe.next()
            if "forget" in question:
                for sock in self._open:
                    diag.forget(sock)
            self._pipe.write({"forgotten" if "forget" in question else "opened": len(self._open)})

    def _dial(self, here: tuple[object, ...], there: tuple[object, ...]) -> None:
        while not self._open:
            sock = endpoint.make(endpoint.family_of(str(here[0])), "stream")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(here)
            with sock, contextlib.suppress(ConnectionRefusedError, ConnectionResetError, TimeoutError):
                sock.connect(there)
                self._open.append(sock)
                while data := sock.recv(1 << 16):
                    sock.sendall(data)
