"""What the operation `listener` is for datagrams: one socket, which sends back what it receives.

do        the datagram
serve     sent back to its sender
silent    received, and not answered
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from chaos.agent import endpoint
from chaos.agent.serve import Pipe


class Echo:
    """A datagram server; it answers the agent's questions as the listener of connections does."""

    def __init__(self, do: str, pipe: Pipe) -> None:
        self._do, self._pipe = do, pipe
        self._acted = 0

    def serve(self, address: str, port: int, kind: str) -> None:
        """Serve until the agent ends us."""
        sock = endpoint.bound(address, port, kind)
        headed = kind == "raw" and endpoint.family_of(address) == "ipv4"
        threading.Thread(target=self._answer_all, args=(sock, headed), daemon=True).start()
        self._pipe.write({"ready": True})
        while True:
            report: dict[str, Any] = {"accepts": [], "acted": self._acted}
            self._pipe.write({"report": report} if "report" in self._pipe.next() else {"forgotten": 0})

    def _answer_all(self, sock: Any, headed: bool) -> None:
        while True:
            data, sender = sock.recvfrom(1 << 16)
            if headed:  # a raw IPv4 socket gets the IP header too: raw(7)
                data = data[(data[0] & 15) * 4 :]
            if self._do == "serve":
                with contextlib.suppress(OSError):  # who has gone meanwhile gets no answer
                    sock.sendto(data, sender)
            else:
                self._acted += 1
                self._pipe.write({"acted": self._do})
