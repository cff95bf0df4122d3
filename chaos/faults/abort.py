"""`abort {at, after}`: the peer aborts an established connection with a RST (RFC 9293, 3.10.5; socket(7))."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.effect import Effect
from chaos.faults._acting import due, listener_that
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.faults._seen import no_reset
from chaos.fields import After, NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class Abort(OfOurListener):
    """Our listener aborts the connection (SO_LINGER 0: RST) once it has accepted it, or read data, or so many bytes.

    Wire: a RST from the server on an established connection, and nothing after it.
    By hand: `sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0)); sock.close()` in the server
    Linux: connect() succeeds; the next send or recv fails with ECONNRESET, a later send with EPIPE.
    Imitates: a server that crashed or shed load; a proxy that gave up; a process killed with unread data in its socket.
    """

    requires: ClassVar[tuple[str, ...]] = ()

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
