"""`never-accept {at, backlog}`: the kernel establishes connections that nobody accepts (listen(2))."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.effect import Effect
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.fields import Backlog, NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class NeverAccept(OfOurListener):
    """Our listener listens and never calls accept(2); connections wait in the accept queue.

    Wire: a whole handshake, and ACKs for the data, all by the server's kernel; no data comes back.
    By hand: `python3 -c "import socket, time; s = socket.create_server(('', 8080)); time.sleep(600)"`
    Linux: connect() and send succeed; recv waits until the client's own time-out, or for ever.
    Imitates: an event loop that is stuck; a process stopped by a debugger or SIGSTOP; a pool of workers that is full.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    at: NodeName
    backlog: Backlog = 128

    def effect(self, setting: Setting) -> Effect:
        """The kernel alone answers."""
        says = (
            f"the listener at {self.at} never calls accept(): its kernel establishes connections and keeps their data"
        )
        return Effect(says, self.at, peer="never-accept")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        with lab.listening(do="never-accept", backlog=self.backlog):

            def hits() -> int:
                queue = lab.nodes[self.at].call("queue", port=lab.setting.listen.port)
                return int(queue["accept"]) if queue else 0

            yield Touching(hits)
