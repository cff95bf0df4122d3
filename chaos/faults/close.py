"""`close {at, after}`: the peer closes in an orderly way, with a FIN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.effect import Effect
from chaos.faults._acting import due, listener_that
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.faults._seen import no_fin
from chaos.fields import After, NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class Close(OfOurListener):
    """Our listener closes the connection (FIN) once it has accepted it, or read data, or so many bytes.

    Wire: a FIN from the server; the client acknowledges it, and still may send.
    By hand: `sock.close()` in the server, once it has read all that came
    Linux: connect() succeeds; recv returns 0 bytes, the end of the stream, and no errno.
    Imitates: a graceful shutdown; an idle time-out of a load balancer; a server that is over its limit of connections.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    at: NodeName
    after: After = "accept"

    def effect(self, setting: Setting) -> Effect:
        """Ours to an established connection."""
        says = f"once it has {due(self.after)}, the listener at {self.at} closes the connection (a FIN)"
        return Effect(says, self.at, peer="close", after=self.after)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        with listener_that(lab, "close", no_fin(self.at), self.after) as touching:
            yield touching
