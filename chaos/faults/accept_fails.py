"""`accept-fails {at}`: the server has no file descriptor left, so that accept(2) fails with EMFILE."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._acting import listener_that
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.fields import NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class AcceptFails(OfOurListener):
    """Our listener has used up its file descriptors: accept() fails with EMFILE, and connections wait in the queue.

    Wire: the handshake, and data is acknowledged; nothing else ever comes.
    By hand: `prlimit --pid $LISTENER --nofile=$(ls /proc/$LISTENER/fd | wc -l)`
    Linux: connect() and send() succeed; recv() waits for ever, or until the client's own time-out.
    Imitates: a server that leaks descriptors, or whose `ulimit -n` is too low for its load.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    at: NodeName

    def effect(self, setting: Setting) -> Effect:
        """The kernel alone answers."""
        says = f"at {self.at} accept() fails with EMFILE: its kernel establishes connections and keeps their data"
        return Effect(says, self.at, peer="never-accept")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        with listener_that(lab, "no-descriptors", _accepted) as touching:
            yield touching


def _accepted(evidence: Evidence) -> str | None:
    return f"accept() returned {len(evidence.accepts)} connections all the same" if evidence.accepts else None
