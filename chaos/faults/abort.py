"""`abort {at, after}`: the peer aborts an established connection with a RST (RFC 9293, 3.10.5; socket(7))."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chaos.effect import Effect
from chaos.faults._acting import due, listener_that
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.faults._seen import no_reset
from chaos.fields import After, NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class Abort(OfOurListener):
    """Our listener aborts the connection (SO_LINGER 0: RST) once it has accepted it, or read data, or so many bytes."""

    at: NodeName
    after: After = "accept"

    def effect(self, setting: Setting) -> Effect:
        """Ours to an established connection."""
        says = f"once it has {due(self.after)}, the listener at {self.at} aborts the connection (SO_LINGER 0: a RST)"
        return Effect(says, self.at, peer="abort", after=self.after)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        with listener_that(lab, "abort", no_reset(self.at), self.after) as touching:
            yield touching
