"""`abort {at, after}`: the peer aborts an established connection with a RST (RFC 9293, 3.10.7.4; socket(7), SO_LINGER)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chaos.faults._acting import listener_that
from chaos.faults._armed import Touching
from chaos.faults._listener import not_ours
from chaos.faults._seen import no_reset
from chaos.fields import After, NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class Abort:
    """Our listener aborts the connection (SO_LINGER 0: a RST) once it has accepted it, or read data, or so many bytes."""

    at: NodeName
    after: After = "accept"

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """It acts on our listener."""
        return not_ours(setting, self.at, "abort")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        with listener_that(lab, "abort", no_reset, self.after) as touching:
            yield touching
