"""`frozen {at, backlog?}`: the server's process is stopped, and its kernel goes on answering for it (signal(7))."""

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
class Frozen(OfOurListener):
    """Our listener is stopped (SIGSTOP): connections are established, and wait in the accept queue until it goes on.

    Wire: the handshake, and data is acknowledged; nothing else ever comes.
    By hand: `kill -STOP $LISTENER`, and afterwards `kill -CONT $LISTENER`
    Linux: connect() and send() succeed; recv() waits for ever, or until the client's own time-out.
    Imitates: a process in a debugger, a paused container or virtual machine, a long garbage collection, a full disk.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    at: NodeName
    backlog: Backlog = 128

    def effect(self, setting: Setting) -> Effect:
        """The kernel alone answers."""
        says = f"the listener at {self.at} is stopped: its kernel establishes connections and keeps their data"
        return Effect(says, self.at, peer="never-accept")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        with lab.listening(do="serve", backlog=self.backlog, process=True) as listener:
            assert listener is not None
            with listener.frozen():

                def hits() -> int:
                    queue = lab.nodes[self.at].call("queue", port=lab.setting.listen.port)
                    return int(queue["accept"]) if queue else 0

                yield Touching(hits)
