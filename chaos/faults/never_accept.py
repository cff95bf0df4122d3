"""`never-accept {at, backlog}`: the kernel establishes connections that nobody accepts (listen(2))."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chaos.effect import Effect
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.fields import Backlog, NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class NeverAccept(OfOurListener):
    """Our listener listens and never calls accept(2); connections wait in the accept queue."""

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
